"""What the process of a point does: jobs of the model, and by their names all jobs."""

from collections.abc import Callable

import numpy as np

from ...config import ModelConfig
from ...model import AST
from ..cpu.models import training_step
from . import data_jobs


def forward(model: dict, batch: int, folder: str = "") -> Callable[[], object]:
    """A forward pass of a batch.   model: fields of ModelConfig"""
    made, x, _ = setting(model, batch)
    return lambda: made.forward(x)


def step(model: dict, batch: int, folder: str = "") -> Callable[[], object]:
    """A training step: forward, backward, Adam.   model: fields of ModelConfig"""
    return training_step(*setting(model, batch))


def setting(model: dict, batch: int) -> tuple[AST, np.ndarray, np.ndarray]:
    """A float32 model on the backend `fast` and made-up data.   -> model, x (B, T, F), y (B, K)"""
    config, rng = ModelConfig(**model), np.random.default_rng(0)
    x = rng.standard_normal((batch, config.frames, config.mel_bins), np.float32)
    x /= 2
    return AST(config, backend="fast"), x, (rng.random((batch, config.classes)) < 0.01).astype(np.float32)


# Each is called with a folder for its files, and returns the function that is timed.
JOBS = {
    "forward": forward,
    "step": step,
    "manifest": data_jobs.manifest,
    "prepare": data_jobs.prepare,
    "batches": data_jobs.batches,
}

# The arguments of each at its smallest: what a process needs for the job itself, whatever the size.
MODEL, CLIPS = {"model": {"dim": 16, "heads": 1, "depth": 2, "frames": 16}, "batch": 1}, {"clips": 40}
LEAST = {"forward": MODEL, "step": MODEL, "manifest": CLIPS, "prepare": CLIPS, "batches": CLIPS}
