"""A whole forward pass and a whole training step on each backend: clips a second, and times the reference's.

All at one size, nano on 1 s; on a GPU base on 10 s as well, also in 16 bits beside float32; the emulator at a toy size,
beside the reference there.
"""

import numpy as np

from .. import emulator_build
from ..backend import to_numpy, why_no_gpu
from ..config import ModelConfig
from ..errors import Error
from ..model import AST, NARROW
from ..optim import Adam
from .device import CPU, EMULATED, Place, check, row
from .table import Skip

TOY = ModelConfig.preset("nano", dim=32, heads=2, depth=2, mel_bins=32, frames=46, classes=5)
NANO = ModelConfig.preset("nano", frames=98, classes=35)
BASE = ModelConfig.preset("base")
GPU = ("cupy", "cuda")
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


class Cpu(Place):
    def __init__(self):
        super().__init__(gpu=False)
        self.name = CPU


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
        self.adam = getattr(self.model.ops, "Adam", Adam)(self.model.w.flat)

    def forward(self):
        return self.model.forward(self.x)

    def gradient(self):
        self.model.zero_grad()
        return self.model.loss_and_grad(self.x, self.y)[0]

    def step(self):
        self.gradient()
        copy = {"copy": self.model.copy_to_update()} if self.model.encoder else {}
        self.adam.step(self.model.dw.flat, 1e-5, **copy)


def compare(names, reference, config, batch, rounds, label):
    """Two rows for each backend in `names`, all checked against `reference` and timed beside it."""
    first = Side(reference, config, batch)
    want = to_numpy(first.forward()), first.gradient()
    gradients = {part: to_numpy(dw.copy()) for part, dw in first.model.dw.items()}
    times = [where(reference).seconds(call, rounds) for call in (first.forward, first.step)]
    del first
    done = []
    for name in names:
        place = where(name)
        if name == reference:
            taken = times
        else:
            side = Side(name, config, batch)
            what = f"{name}, {label}"
            check(to_numpy(side.forward()), want[0], 1e-4, f"{what}, logits")
            loss = side.gradient()
            if not abs(loss - want[1]) <= 1e-5 * abs(want[1]):
                raise Error(f"{what}: the loss is {loss}, the reference's {want[1]}: nothing was timed.")
            for part, dw in side.model.dw.items():  # each by its own scale: biases' are small beside matrices'
                check(to_numpy(dw), gradients[part], 1e-3, f"{what}, gradient of {part}")
            taken = [place.seconds(call, rounds) for call in (side.forward, side.step)]
            del side
        for job, mine, theirs in zip(("forward", "training step"), taken, times, strict=True):
            beside = {} if name == reference else {reference: theirs}
            title = f"{name}: {label}, {job}, batch {batch}"
            done.append(row(place, title, "float32", mine, batch, "clips/s", libraries=beside))
    return done


def narrow(backend, config, batch, rounds, label):
    """The same rows in 16 bits, checked against float32 on the same backend and timed beside it."""
    place, first = where(backend), Side(backend, config, batch)
    logits, loss = to_numpy(first.forward()), first.gradient()
    gradients = {part: to_numpy(dw.copy()) for part, dw in first.model.dw.items()}
    times = [place.seconds(call, rounds) for call in (first.forward, first.step)]
    del first
    done = []
    for dtype in NARROW:
        side, what = Side(backend, config, batch, dtype), f"{backend}, {label}, {dtype}"
        check(to_numpy(side.forward()), logits, 0.05, f"{what}, logits")
        if not abs((mine := side.gradient()) - loss) <= 0.02 * abs(loss):
            raise Error(f"{what}: the loss is {mine}, in float32 {loss}: nothing was timed.")
        for part, dw in side.model.dw.items():
            gap = np.linalg.norm(to_numpy(dw) - gradients[part]) / np.linalg.norm(gradients[part])
            if not gap <= 0.1:
                raise Error(f"{what}, gradient of {part}: off by {gap:.1%} from float32: nothing was timed.")
        taken = [place.seconds(call, rounds) for call in (side.forward, side.step)]
        del side
        for job, mine, theirs in zip(("forward", "training step"), taken, times, strict=True):
            title, beside = f"{backend}: {label}, {job}, batch {batch}, {dtype}", {f"{backend}, float32": theirs}
            done.append(row(place, title, dtype, mine, batch, "clips/s", libraries=beside))
    return done


def backends(rounds, backend=None):
    if backend in GPU and why_no_gpu():
        raise Skip("no GPU here")
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
