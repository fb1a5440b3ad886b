"""A forward pass and training steps against PyTorch; the share of the processor's peak; where the time goes."""

import time
from collections.abc import Callable

import numpy as np

from ... import threads
from ...config import ModelConfig, TrainConfig
from ...model import AST
from ...optim import Adam
from ...training.batches import patches_kept
from ..checks import check
from ..pytorch import model as theirs
from ..pytorch import runtime
from ..pytorch.twin import SETTINGS, twin
from ..row import Row, Skip
from ..timing import alone, compare, interleaved

TORCH = "transformers, SDPA"


def setting(preset: str, frames: int, batch: int, classes: int = 527) -> tuple[AST, np.ndarray, np.ndarray]:
    """A float32 model on the backend `fast` and its data.   -> model, x (B, T, F), y (B, K)"""
    config = ModelConfig.preset(preset, frames=frames, classes=classes, **SETTINGS)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, frames, config.mel_bins), np.float32) / 2
    y = (rng.random((batch, classes)) < 0.01).astype(np.float32)
    return AST(config, backend="fast"), x, y


def forward(rounds: int) -> list[Row]:
    """The row of a forward pass of base on one clip of 10 s."""
    model, x, _ = setting("base", 1024, 1)
    name, goal = "base, 10 s, forward, batch 1", "1.25x"
    try:
        torch, module = runtime.with_transformers(), twin(model).eval()
    except Skip as reason:
        return [alone(name, lambda: model.forward(x), rounds, goal, reason)]
    inputs = torch.from_numpy(x)

    def reference():
        with torch.no_grad():
            return module(inputs).logits

    check(model.forward(x), np.asarray(reference()), 1e-4, name)
    return [compare(name, lambda: model.forward(x), reference, rounds, TORCH, goal)]


def training(preset: str, frames: int, batch: int, seconds: int, goal: str) -> Callable[[int], list[Row]]:
    """A row function: a training step of forward, backward and Adam. seconds: of a clip of so many frames."""
    name = f"{preset}, {seconds} s, training step, batch {batch}"

    def row(rounds):
        model, x, y = setting(preset, frames, batch)
        step = training_step(model, x, y)
        try:
            torch, module = runtime.with_transformers(), twin(model)
        except Skip as reason:
            return [alone(name, step, rounds, goal, reason)]
        reference = theirs.training_step(torch, module, x, y)
        loss, wanted = model.loss_and_grad(x, y)[0], theirs.loss(torch, module, x, y).item()
        check(np.asarray(loss), np.asarray(wanted), 1e-4, f"{name}, loss")
        return [compare(name, step, reference, rounds, TORCH, goal)]

    return row


def training_step(model: AST, x: np.ndarray, y: np.ndarray, keep: np.ndarray | None = None) -> Callable[[], None]:
    """A function: one step of forward, backward and Adam on the weights that are trained."""
    trained = model.trained
    adam = Adam(model.w.flat[trained])

    def step():
        model.zero_grad()
        model.loss_and_grad(x, y, keep=keep)
        adam.step(model.dw.flat[trained], 1e-5)

    return step


def fewer(rounds: int) -> list[Row]:
    """Rows of training steps of small, 16 clips of 5 s, with half of the patches or half of the blocks left out."""
    model, x, y = setting("small", 500, 16)
    frozen, _, _ = setting("small", 500, 16)
    frozen.frozen = model.config.depth // 2
    config, patches = TrainConfig(patchout=0.5), model.config.tokens - model.config.prefix_tokens
    keep, whole = patches_kept(len(x), patches, config, 0, 0), training_step(model, x, y)
    name = "small, 5 s, training step, batch 16, "
    return [
        compare(name + "patchout 0.5", training_step(model, x, y, keep), whole, rounds, "all patches"),
        compare(name + "6 blocks frozen", training_step(frozen, x, y), whole, rounds, "all weights trained"),
    ]


def share_of_peak(rounds: int) -> list[Row]:
    """The row of a forward pass's GFLOP/s over those of its largest product alone, timed in turn."""
    model, x, _ = setting("base", 1024, 1)
    c, rng = model.config, np.random.default_rng(0)
    tokens, w = rng.standard_normal((c.tokens, c.dim), np.float32), model.w["blocks.0.mlp.fc1.weight"]
    y = np.empty((c.tokens, len(w)), np.float32)

    def products():  # on all threads, each its columns, as `fast.linear_forward` does
        threads.run(lambda o: np.matmul(tokens, w[o].T, out=y[:, o]), threads.spans(len(w), 16))

    a, b = interleaved([lambda: model.forward(x), lambda: [products() for _ in range(10)]], rounds)
    done, peak = flops(c) / a / 1e9, 10 * 2 * y.size * c.dim / b / 1e9
    note = f"{np.median(done):.0f} of {np.median(peak):.0f} GFLOP/s, {flops(c) / 1e9:.0f} GFLOP in all"
    return [Row("base forward, share of the SGEMM peak", float(np.median(done / peak)), "%", goal="70 %", note=note)]


def flops(c: ModelConfig) -> int:
    """Multiplications and additions in the products of one clip's forward pass. The last block is pruned."""
    T, P, D = c.tokens, c.prefix_tokens, c.dim
    block = 2 * T * 12 * D * D + 4 * T * T * D
    last = 2 * T * 2 * D * D + 2 * P * 10 * D * D + 4 * P * T * D
    return 2 * (T - P) * 256 * D + (c.depth - 1) * block + last


# -- where the time goes ---------------------------------------------------------------------------------------------


class Timed:
    """A backend's layer functions, with the seconds spent in each, by name, in `spent`."""

    def __init__(self, layers):
        self.layers, self.spent = layers, {}

    def __getattr__(self, name):
        value = getattr(self.layers, name)
        if not callable(value):
            return value

        def call(*arguments):
            began = time.perf_counter()
            result = value(*arguments)
            self.spent[name] = self.spent.get(name, 0) + time.perf_counter() - began
            return result

        return call


def profile(rounds: int) -> list[Row]:
    """Rows of a base forward pass and a nano training step: the nine functions that take longest, and the whole."""
    rows = []
    for preset, frames, batch, what in (("base", 1024, 1, "forward"), ("nano", 98, 32, "training step")):
        model, x, y = setting(preset, frames, batch)
        step = training_step(model, x, y) if what == "training step" else lambda model=model, x=x: model.forward(x)
        step()
        timed = Timed(model.layers)
        model.layers, model.encoder = timed, model.encoder.with_layers(timed, model.dw)
        began = time.perf_counter()
        for _ in range(rounds):
            step()
        total = (time.perf_counter() - began) / rounds
        most = sorted(timed.spent.items(), key=lambda item: -item[1])[:9]
        rows += [
            Row(f"{preset} {what}: {name}", t / rounds, note=f"{t / rounds / total:.0%} of it") for name, t in most
        ]
        rows.append(Row(f"{preset} {what}: all", total))
    return rows
