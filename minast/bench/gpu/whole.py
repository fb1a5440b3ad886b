"""The whole model in bfloat16: what our side and transformers' are given, our side of it, and the check of both.

On a GPU the model is base on 10 s; in the emulator a toy, with PyTorch on the CPU: every line here runs, and the times
mean nothing. Each side is compared with our own model in float32: logits, loss and every gradient. Ours must agree. A
library that does not, is missing, cannot compile or runs out of memory is not timed, and its cell says why.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from ...backend import to_numpy
from ...config import ModelConfig
from ..checks import check_model, model_difference
from ..pytorch.model import Trainer
from ..pytorch.twin import SETTINGS
from ..row import Skip
from .backends import TOY as SMALL
from .backends import Side
from .device import Device

REAL = ModelConfig.preset("base", classes=527, **SETTINGS)
TOY = replace(SMALL, **SETTINGS)


@dataclass
class Job:
    """The input on the host, and the results of our float32 model.

    x (B, T, F), y (B, K), w: weights by name; logits (B, K), loss, gradients: flat, by name.
    """

    config: ModelConfig
    x: np.ndarray
    y: np.ndarray
    w: dict
    logits: np.ndarray
    loss: float = 0.0
    gradients: dict = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How a row's name begins."""
        return "base, 10 s" if self.config is REAL else "toy"


def make_job(device: Device, batch: int, backward: bool = True) -> Job:
    """The job for a device. batch: clips on a GPU, at most 2 of a toy. backward: with loss and gradients."""
    config, batch = (TOY, min(batch, 2)) if device.toy else (REAL, batch)
    side = Side("cuda" if device.gpu else "numpy", config, batch)
    x, y, w = to_numpy(side.x), to_numpy(side.y), {name: to_numpy(a) for name, a in side.model.w.items()}
    job = Job(config, x, y, {name: a.copy() for name, a in w.items()}, to_numpy(side.forward()))
    if backward:
        job.loss = side.model.loss_and_grad(side.x, side.y, parts=min(batch, 8))[0]
        job.gradients = {name: to_numpy(dw).ravel().copy() for name, dw in side.model.dw.items()}
    return job


class Ours(Side):
    """Our bfloat16 model with the job's weights (by the same seed) and input. Like train's, it replays CUDA graphs."""

    def __init__(self, device: Device, job: Job):
        super().__init__("cuda" if device.gpu else "emulator", job.config, len(job.x), "bfloat16")
        self.model.cuda_graphs = True

    def step(self) -> None:
        """A training step as train runs it: nothing waits for the GPU before all is queued."""
        self.model.loss_and_grad(self.x, self.y, wait=False, add=False)
        self.adam.clipped_step(self.model.dw.flat, 1e-5, 0.0, copy=self.model.copy_to_update())

    def results(self) -> tuple[np.ndarray, float, dict[str, np.ndarray]]:
        """-> logits (B, K), loss, {name: flat gradient} on the host"""
        self.model.zero_grad()
        loss, logits = self.model.loss_and_grad(self.x, self.y)
        return logits, loss, {name: to_numpy(dw).ravel() for name, dw in self.model.dw.items()}


def wanted(job: Job) -> tuple[np.ndarray, float, dict[str, np.ndarray]]:
    """What both sides are compared with: (logits, loss, {name: gradient}) in float32."""
    return job.logits, job.loss, job.gradients


def check_ours(what: str, ours: Ours, job: Job) -> None:
    """Raise Error unless our side agrees, three times: as a plain pass, recorded as a CUDA graph, and replayed."""
    for _ in range(3):
        check_model(ours.results(), wanted(job), what)


def checked_trainer(device: Device, job: Job, name: str, how: dict, without: dict[str, str]) -> Trainer | None:
    """A Trainer with the settings `how` that agrees, or None and the reason as without[name]."""
    device.release()
    try:
        trainer = Trainer(device, job, **how)
        reason = model_difference(trainer.results(), wanted(job))
    except Skip as skipped:
        reason = str(skipped)
    if reason:
        without[name] = reason
        return None
    return trainer
