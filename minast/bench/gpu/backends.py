"""A whole forward pass and a whole training step on each backend: clips a second, and times the reference's.

All at one size, nano on 1 s; on a GPU base on 10 s as well, also in 16 bits beside float32; the emulator at a toy size,
beside the reference there.
"""

import numpy as np

from ...backend import GPU, HALF_DTYPES, to_numpy, why_no_gpu
from ...config import ModelConfig
from ...emulator import build as emulator_build
from ...errors import Error
from ...model import AST
from ..table import Skip
from .device import EMULATED, Cpu, Place, check, why_not
from .device_rows import row

TOY = ModelConfig.preset("nano", dim=32, heads=2, depth=2, mel_bins=32, frames=46, classes=5)
NANO = ModelConfig.preset("nano", frames=98, classes=35)
BASE = ModelConfig.preset("base")
MEMORY = 3 * 2**30  # bytes a clip of base, what the backward pass needs and the reference's temporaries


def available():
    """The backends that this machine can run."""
    names = ["numpy", "fast"]
    try:
        emulator_build.runtime()
        names.append("emulator")
    except Error:  # no compiler, or an unknown processor
        pass
    return names + ([] if why_no_gpu() else list(GPU))


def where(backend):
    """The Place whose clock times a backend."""
    if backend in GPU:
        return Place(gpu=True)
    return Place(gpu=False) if backend == EMULATED else Cpu()


class Side:
    """One backend's model, with its input and its optimizer."""

    def __init__(self, backend, config, batch, dtype="float32"):
        self.model = AST(config, backend=backend, dtype=dtype)  # the same seed: the same weights everywhere
        clock = Cpu()
        self.x = self.model.xp.asarray(clock.normal(batch, config.frames, config.mel_bins) / 2)
        self.y = self.model.xp.asarray((clock.normal(batch, config.classes, seed=1) > 1).astype("float32"))
        self.adam = self.model.backend.Adam(self.model.w.flat)

    def forward(self):
        return self.model.forward(self.x)

    def gradient(self):
        self.model.zero_grad()
        return self.model.loss_and_grad(self.x, self.y)[0]

    def step(self):
        self.gradient()
        self.adam.clipped_step(self.model.dw.flat, 1e-5, 0.0, self.model.copy_to_update())


JOBS = "forward", "training step"


def compare(names, reference, config, batch, rounds, label):
    """Two rows for each backend in `names`, all checked against `reference` and timed in turns with it."""
    first = Side(reference, config, batch)
    want = to_numpy(first.forward()), first.gradient()
    gradients = {part: to_numpy(dw.copy()) for part, dw in first.model.dw.items()}
    done = []
    for name in names:
        side, what = first, f"{name}, {label}"
        if name != reference:
            side = Side(name, config, batch)
            check(to_numpy(side.forward()), want[0], 1e-4, f"{what}, logits")
            loss = side.gradient()
            if not abs(loss - want[1]) <= 1e-5 * abs(want[1]):
                raise Error(f"{what}: the loss is {loss}, the reference's {want[1]}: nothing was timed.")
            for part, dw in side.model.dw.items():  # each by its own scale: biases' are small beside matrices'
                check(to_numpy(dw), gradients[part], 1e-3, f"{what}, gradient of {part}")
        done += in_turns(where(name), side, first, "float32", reference, rounds, label, name)
    return done


def in_turns(place, side, first, dtype, reference, rounds, label, name):
    """Two rows of a side, which takes turns with the first unless it is the first itself."""
    batch, apart, done = len(side.x), side.model.config is BASE, []  # two of base hardly fit at once
    for job, call, other in zip(JOBS, (side.forward, side.step), (first.forward, first.step), strict=True):
        ours, *theirs = place.turns([call] if side is first else [call, other], rounds, apart=apart)
        beside = dict(zip([reference], theirs, strict=False))
        title = f"{name}: {label}, {job}, batch {batch}" + (f", {dtype}" if dtype in HALF_DTYPES else "")
        done.append(row(place, title, dtype, ours, batch, "clips/s", libraries=beside))
    return done


def narrow(backend, config, batch, rounds, label):
    """The same rows in 16 bits, checked against float32 on the same backend and timed in turns with it."""
    place, first = where(backend), Side(backend, config, batch)
    logits, loss = to_numpy(first.forward()), first.gradient()
    gradients = {part: to_numpy(dw.copy()) for part, dw in first.model.dw.items()}
    done = []
    for dtype in HALF_DTYPES:
        side = Side(backend, config, batch, dtype)
        near(f"{backend}, {label}, {dtype}", side.forward(), side.gradient(), side.model.dw, (logits, loss, gradients))
        done += in_turns(place, side, first, dtype, f"{backend}, float32", rounds, label, backend)
    return done


def near(what, logits, loss, gradients, wanted):
    """An Error unless a 16-bit model's results are those of float32, to what 16 bits allow. wanted: the same three

    Logits to 5 % of the largest, the loss to 2 %, each gradient to 10 % of its length.
    """
    check(to_numpy(logits), wanted[0], 0.05, f"{what}, logits")
    if not abs(loss - wanted[1]) <= 0.02 * abs(wanted[1]):
        raise Error(f"{what}: the loss is {loss}, in float32 {wanted[1]}: nothing was timed.")
    for part, want in wanted[2].items():
        gap = np.linalg.norm(to_numpy(gradients[part]) - want) / np.linalg.norm(want)
        if not gap <= 0.1:
            raise Error(f"{what}, gradient of {part}: off by {gap:.1%} from float32: nothing was timed.")


def backends(rounds, backend=None):
    if backend in GPU and (why := why_not("cuda")):
        raise Skip(why)
    names = [backend] if backend else available()
    plain, done = [name for name in names if name != EMULATED], []
    if plain:
        done += compare(plain, "numpy", NANO, 32, rounds, "nano, 1 s")
    if on_gpu := [name for name in names if name in GPU]:
        batch, free = 32, Place(gpu=True).free()
        while batch > 1 and batch * MEMORY > free:
            batch //= 2
        done += compare(on_gpu, "cupy", BASE, batch, rounds, "base, 10 s")  # the reference's code, on the device
        if "cuda" in on_gpu:
            done += narrow("cuda", BASE, batch, rounds, "base, 10 s")
    if EMULATED in names:
        done += compare([EMULATED], "numpy", TOY, 2, rounds, "toy")
        done += narrow(EMULATED, TOY, 2, rounds, "toy")
    return done
