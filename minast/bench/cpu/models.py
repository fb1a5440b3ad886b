"""A forward pass and training steps against PyTorch; how near the products come to what the processor can do."""

import time

import numpy as np

from ... import threads
from ...config import ModelConfig
from ...model import AST
from ...optim import Adam
from .. import twin
from ..table import Row, Skip, close, compare, interleaved

TORCH = "transformers, SDPA"


def setting(preset, frames, batch, classes=527):
    """-> (minast model, x (B, T, F), y (B, K))"""
    config = ModelConfig.preset(
        preset, frames=frames, classes=classes, prefix_tokens=2, encoder_eps=1e-12, head_eps=1e-12
    )  # transformers' eps
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, frames, config.mel_bins), np.float32) / 2
    y = (rng.random((batch, classes)) < 0.01).astype(np.float32)
    return AST(config, backend="fast"), x, y


def forward(rounds):
    model, x, _ = setting("base", 1024, 1)
    name, goal = "base, 10 s, forward, batch 1", "1.25x"
    try:
        torch, theirs = twin.torch(), twin.twin(model).eval()
    except Skip as reason:
        return [alone(name, lambda: model.forward(x), rounds, goal, reason)]
    inputs = torch.from_numpy(x)

    def reference():
        with torch.no_grad():
            return theirs(inputs).logits

    close(model.forward(x), reference(), 1e-4, name)
    return [compare(name, lambda: model.forward(x), reference, rounds, TORCH, goal)]


def training(preset, frames, batch, seconds, goal):
    """A row function: forward, backward and Adam."""
    name = f"{preset}, {seconds} s, training step, batch {batch}"

    def row(rounds):
        model, x, y = setting(preset, frames, batch)
        step = minast_step(model, x, y)
        try:
            torch, theirs = twin.torch(), twin.twin(model)
        except Skip as reason:
            return [alone(name, step, rounds, goal, reason)]
        reference = torch_step(torch, theirs, x, y)
        close(model.loss_and_grad(x, y)[0], twin_loss(torch, theirs, x, y).item(), 1e-4, name)
        return [compare(name, step, reference, rounds, TORCH, goal)]

    return row


def minast_step(model, x, y):
    adam = Adam(model.w.flat)

    def step():
        model.zero_grad()
        model.loss_and_grad(x, y)
        adam.step(model.dw.flat, 1e-5)

    return step


def torch_step(torch, theirs, x, y):
    adam = torch.optim.Adam(theirs.parameters(), 1e-5)

    def step():
        adam.zero_grad()
        twin_loss(torch, theirs, x, y).backward()
        adam.step()

    return step


def twin_loss(torch, theirs, x, y):
    logits = theirs(torch.from_numpy(x)).logits
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(y))


def alone(name, function, rounds, goal, reason):
    times = interleaved([function], rounds)[0]
    return Row(name, float(np.median(times)), goal=goal, note=f"no comparison: {reason}")


# -- share of the peak -----------------------------------------------------------------------------------------


def share_of_peak(rounds):
    """The forward pass's arithmetic a second, against that of its largest product alone, in turns."""
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


def flops(c):
    """Multiplications and additions in the products of one clip's forward pass, the last block pruned."""
    T, P, D = c.tokens, c.prefix_tokens, c.dim
    block = 2 * T * 12 * D * D + 4 * T * T * D
    last = 2 * T * 2 * D * D + 2 * P * 10 * D * D + 4 * P * T * D
    return 2 * (T - P) * 256 * D + (c.depth - 1) * block + last


class Timed:
    """A backend's functions, with the time spent in each."""

    def __init__(self, ops):
        self.ops, self.spent = ops, {}

    def __getattr__(self, name):
        value = getattr(self.ops, name)
        if not callable(value):
            return value

        def call(*arguments):
            began = time.perf_counter()
            result = value(*arguments)
            self.spent[name] = self.spent.get(name, 0) + time.perf_counter() - began
            return result

        return call


def profile(rounds):
    """Where a base forward pass and a nano training step spend their time, function by function."""
    rows = []
    for preset, frames, batch, what in (("base", 1024, 1, "forward"), ("nano", 98, 32, "training step")):
        model, x, y = setting(preset, frames, batch)
        step = minast_step(model, x, y) if what == "training step" else lambda model=model, x=x: model.forward(x)
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


ROWS = {
    "forward": forward,
    "base": training("base", 1024, 2, 10, "1.3x"),
    "small": training("small", 500, 16, 5, "1.2x"),
    "nano": training("nano", 98, 32, 1, "1.5x"),
    "peak": share_of_peak,
    "profile": profile,
}
