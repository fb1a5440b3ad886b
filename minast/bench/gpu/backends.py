"""A forward pass and a training step of the whole model on each backend, in clips per second.

All run nano on 1 s, compared with the reference. Those of a GPU also run base on 10 s, and there `cuda` in TF32
and 16 bits compared with float32. The emulator, or a stand-in for a GPU, runs a toy, compared with the reference,
and in the same types.
"""

import numpy as np

from ...backend import GPU, KERNELS_ONLY, to_numpy, why_no_gpu
from ...config import ModelConfig
from ...emulator import build as emulator_build
from ...errors import Error
from ...model import AST
from ..checks import check, check_model
from ..row import Skip
from .device import EMULATED, Device, Processor, why_not
from .rows import DeviceRow, row

TOY = ModelConfig.preset("nano", dim=32, heads=2, depth=2, mel_bins=32, frames=46, classes=5)
NANO = ModelConfig.preset("nano", frames=98, classes=35)
BASE = ModelConfig.preset("base")
MEMORY = 3 * 2**30  # bytes for a clip of base: the backward pass and the reference's temporaries


def available() -> list[str]:
    """The names of the backends that this machine can run."""
    names = ["numpy", "fast"]
    try:
        emulator_build.runtime()
        names.append("emulator")
    except Error:  # no compiler, or an unknown processor
        pass
    return names + ([] if why_no_gpu() else list(GPU))


def device_of(backend: str) -> Device:
    """The Device whose clock times a backend."""
    if backend in GPU:
        return Device(gpu=True)
    return Device(gpu=False) if backend == EMULATED else Processor()


class Side:
    """One backend's model, with its input x (B, T, F), targets y (B, K) and optimizer; equal weights on all of them."""

    def __init__(self, backend: str, config: ModelConfig, batch: int, dtype: str = "float32"):
        self.model = AST(config, backend=backend, dtype=dtype)  # the same seed: the same weights everywhere
        host = Processor()
        self.x = self.model.xp.asarray(host.normal(batch, config.frames, config.mel_bins) / 2)
        self.y = self.model.xp.asarray((host.normal(batch, config.classes, seed=1) > 1).astype("float32"))
        self.adam = self.model.backend.Adam(self.model.w.flat)

    def forward(self):
        """-> logits (B, K)"""
        return self.model.forward(self.x)

    def gradient(self) -> float:
        """-> loss; the gradients are in model.dw"""
        return self.model.loss_and_grad(self.x, self.y, add=False)[0]

    def step(self) -> None:
        """Forward, backward and Adam."""
        self.gradient()
        self.adam.clipped_step(self.model.dw.flat, 1e-5, 0.0, self.model.copy_to_update())

    def results(self) -> tuple[np.ndarray, float, dict[str, np.ndarray]]:
        """-> logits (B, K), loss, {name: gradient}: copies on the host"""
        logits, loss = to_numpy(self.forward()), self.gradient()
        return logits, loss, {name: to_numpy(dw.copy()) for name, dw in self.model.dw.items()}


JOBS = "forward", "training step"


def compare(
    names: list[str], reference: str, config: ModelConfig, batch: int, rounds: int, label: str
) -> list[DeviceRow]:
    """Two rows for each backend in `names`, each checked against the backend `reference` and timed in turn with it."""
    first = Side(reference, config, batch)
    logits, loss, gradients = first.results()
    done = []
    for name in names:
        side, what = first, f"{name}, {label}"
        if name != reference:
            side = Side(name, config, batch)
            check(to_numpy(side.forward()), logits, 1e-4, f"{what}, logits")
            own = side.gradient()
            if not abs(own - loss) <= 1e-5 * abs(loss):
                raise Error(f"{what}: the loss is {own}, the reference's {loss}: nothing was timed.")
            for part, dw in side.model.dw.items():  # each on its own scale: those of biases are small
                check(to_numpy(dw), gradients[part], 1e-3, f"{what}, gradient of {part}")
        done += in_turn(device_of(name), side, first, "float32", reference, rounds, label, name)
    return done


def narrow(backend: str, config: ModelConfig, batch: int, rounds: int, label: str) -> list[DeviceRow]:
    """The same rows in TF32 and 16 bits, checked against float32 on the same backend and timed in turn with it."""
    device, first = device_of(backend), Side(backend, config, batch)
    wanted = first.results()
    done = []
    for dtype in KERNELS_ONLY:
        side = Side(backend, config, batch, dtype)
        check_model((side.forward(), side.gradient(), side.model.dw), wanted, f"{backend}, {label}, {dtype}")
        done += in_turn(device, side, first, dtype, f"{backend}, float32", rounds, label, backend)
    return done


def in_turn(
    device: Device, side: Side, first: Side, dtype: str, reference: str, rounds: int, label: str, name: str
) -> list[DeviceRow]:
    """Two rows of a side, forward and training step, timed in turn with `first` unless it is `first` itself."""
    batch, apart, done = len(side.x), side.model.config is BASE, []  # two models of base hardly fit at once
    for job, call, other in zip(JOBS, (side.forward, side.step), (first.forward, first.step), strict=True):
        ours, *theirs = device.interleaved([call] if side is first else [call, other], rounds, apart=apart)
        beside = dict(zip([reference], theirs, strict=False))
        title = f"{name}: {label}, {job}, batch {batch}" + (f", {dtype}" if dtype in KERNELS_ONLY else "")
        done.append(row(device, title, dtype, ours, batch, "clips/s", libraries=beside))
    return done


def backends(rounds: int, backend: str | None = None) -> list[DeviceRow]:
    """Rows of one backend, or of all that this machine can run. Raises Skip without a GPU for a GPU's backend."""
    if backend in GPU and (why := why_not("cuda")):
        raise Skip(why)
    names = [backend] if backend else available()
    toys = [name for name in names if name == EMULATED or (name in GPU and device_of(name).toy)]
    plain, done = [name for name in names if name not in toys], []
    if plain:
        done += compare(plain, "numpy", NANO, 32, rounds, "nano, 1 s")
    if on_gpu := [name for name in plain if name in GPU]:
        batch = Device(gpu=True).fitting(32, MEMORY)
        done += compare(on_gpu, "cupy", BASE, batch, rounds, "base, 10 s")  # cupy: the reference's code, on the GPU
        if "cuda" in on_gpu:
            done += narrow("cuda", BASE, batch, rounds, "base, 10 s")
    if toys:
        done += compare(toys, "numpy", TOY, 2, rounds, "toy")
    for name in toys:
        done += [] if name == "cupy" else narrow(name, TOY, 2, rounds, "toy")
    return done
