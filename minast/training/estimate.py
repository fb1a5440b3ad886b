"""How long an epoch will take, measured before it begins, and a coarser default where that would be too long."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..config import PRESETS, ModelConfig, TrainConfig
from ..model import AST
from ..parallel import world
from ..text import duration

TOO_LONG = 2 * 3600  # seconds that a run may take by default
COARSE = 16  # the stride at which patches no longer overlap
SCORING = 0.3  # time of a forward pass as a share of that of a training step
MEASURED = 2**20  # numbers in the tokens of a batch that is timed
BACKENDS = ("numpy", "fast")  # on a GPU a first step would compile kernels; the emulator is for tests


@dataclass(frozen=True)
class Estimate:
    """Seconds that an epoch and a whole run are expected to take."""

    epoch: float
    run: float

    def __str__(self):
        return f"one epoch takes about {duration(self.epoch)}, the run about {duration(self.run)}"


def estimate(model: ModelConfig, config: TrainConfig, backend: str, clips: int, scored: int, last: int) -> Estimate:
    """What a run with `clips` training clips takes, which scores `scored` segments an epoch and `last` at its end.

    Of several processes, which share the work, the slowest counts; what they tell each other is not counted.
    """
    each = world().gather([seconds_per_clip(model, config, backend)])
    clip = float(each.max()) / len(each)
    epoch = clip * (clips * (1 - config.patchout) + SCORING * scored)
    return Estimate(epoch, epoch * config.epochs + SCORING * clip * last)


def seconds_per_clip(model: ModelConfig, config: TrainConfig, backend: str) -> float:
    """Time of a pass, forward and backward: one block and three are timed, and the others are like the middle ones."""
    clips = int(np.clip(MEASURED // (model.tokens * model.dim), 1, config.batch))
    one, three = (pass_seconds(replace(model, depth=depth), config, backend, clips) for depth in (1, 3))
    return (one + max(0.0, three - one) / 2 * (model.depth - 1)) / clips


def pass_seconds(shape: ModelConfig, config: TrainConfig, backend: str, clips: int) -> float:
    """The shorter of two passes, forward and backward, on made-up clips, after one that is not timed."""
    model = AST(shape, backend, 0, config.dtype)
    model.activation_checkpointing = config.activation_checkpointing
    x = np.random.default_rng(0).standard_normal((clips, shape.frames, shape.mel_bins)).astype(np.float32)
    y, times = np.eye(shape.classes, dtype=np.float32)[np.zeros(clips, int)], []
    for _ in range(3):
        began = time.perf_counter()
        model.zero_grad()
        model.loss_and_grad(x, y, config.loss)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def coarser(preset: str | None, fstride: int, tstride: int) -> Iterator[tuple[str | None, int, int]]:
    """Presets and strides to try, one after another, if a default takes too long.   preset: None if it is fixed"""
    yield preset, fstride, tstride
    if (fstride, tstride) != (COARSE, COARSE):
        yield preset, COARSE, COARSE
    sizes = list(PRESETS)
    for smaller in reversed(sizes[: sizes.index(preset)] if preset in sizes else []):
        yield smaller, COARSE, COARSE
