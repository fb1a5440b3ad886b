"""Forward passes and training steps against other libraries; where the time goes."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ...config import ModelConfig, TrainConfig
from ...model import AST
from ...optim import Adam
from ...training.batches import patches_kept
from ..pytorch import model as theirs
from ..pytorch.twin import SETTINGS
from ..row import Row
from ..runtimes import ONNX, OPENVINO, Exported
from ..sides import ROUNDED, Side, compared
from ..timing import compare

TORCH, COMPILED = "transformers, SDPA", "transformers, torch.compile"
AUTOCAST = "transformers, autocast to bfloat16 (another precision)"


def setting(preset: str, frames: int, batch: int, classes: int = 527) -> tuple[AST, np.ndarray, np.ndarray]:
    """A float32 model on the backend `fast` and its data.   -> model, x (B, T, F), y (B, K)"""
    config = ModelConfig.preset(preset, frames=frames, classes=classes, **SETTINGS)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, frames, config.mel_bins), np.float32) / 2
    y = (rng.random((batch, classes)) < 0.01).astype(np.float32)
    return AST(config, backend="fast"), x, y


def forward(preset: str, frames: int, seconds: int) -> Callable[[int], Iterator[Row]]:
    """A row function: a forward pass of one clip, beside every library that is here. seconds: of the clip."""
    name = f"{preset}, {seconds} s, forward, batch 1"

    def rows(rounds):
        model, x, _ = setting(preset, frames, 1)
        torch, exported = theirs.OnProcessor(model), Exported(model, x)
        in_bfloat16 = partial(exported.in_openvino, "bfloat16")
        sides = [
            Side(TORCH, partial(torch.forward, x), "1.25x" if preset == "base" else ""),
            Side(ONNX, exported.in_onnx_runtime),
            Side(OPENVINO, exported.in_openvino, "1.2x"),
            Side(COMPILED, partial(torch.forward, x, compiled=True)),
            Side(AUTOCAST, partial(torch.forward, x, autocast=True), tolerance=ROUNDED),
            Side(f"{OPENVINO}, bfloat16 (another precision)", in_bfloat16, tolerance=ROUNDED),
        ]
        return compared(name, lambda: model.forward(x), model.forward(x), sides, rounds)

    return rows


def training(preset: str, frames: int, batch: int, seconds: int, goal: str) -> Callable[[int], Iterator[Row]]:
    """A row function: a training step of forward, backward and Adam. seconds: of a clip of so many frames."""
    name = f"{preset}, {seconds} s, training step, batch {batch}"

    def rows(rounds):
        model, x, y = setting(preset, frames, batch)
        torch, loss = theirs.OnProcessor(model), np.asarray(model.loss_and_grad(x, y)[0])
        sides = [
            Side(TORCH, partial(torch.training_step, x, y), goal),
            Side(COMPILED, partial(torch.training_step, x, y, compiled=True)),
            Side(AUTOCAST, partial(torch.training_step, x, y, autocast=True), tolerance=ROUNDED),
        ]
        return compared(name, training_step(model, x, y), loss, sides, rounds)

    return rows


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


JOBS = (  # preset, frames, batch, what: each has a row in the table
    *((preset, frames, 1, "forward") for preset, frames in (("base", 1024), ("small", 500), ("nano", 98))),
    *(("base", 1024, 2, "training step"), ("small", 500, 16, "training step"), ("nano", 98, 32, "training step")),
)


def profile(rounds: int) -> list[Row]:
    """Rows of forward passes and training steps: the nine functions that take longest, and the whole."""
    rows = []
    for preset, frames, batch, what in JOBS:
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
