"""What test_mpi.py and test_local.py want of the runs of several processes."""

import time
from pathlib import Path

import numpy as np

import minast
from minast.checkpoint import load_state

ROOT = Path(__file__).resolve().parents[2]
FIXED = ["--reduction", "fixed", "--grad-accum", "4", "--mixup", "0.5", "--roll", "4", "--patchout", "0.2"]


def state(out):
    """All that a run ends with, but the times."""
    model, info = minast.load(out / "last.npz", "numpy")
    found = load_state(out / "last.npz")
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in info.history]
    return {"w": model.w.flat, "m": found["m"], "v": found["v"], "t": found["t"]}, history


def same(one, other):
    return one[1] == other[1] and all(np.array_equal(one[0][name], other[0][name]) for name in one[0])


def until_epoch(out, epoch):
    """Wait until a run has saved so many epochs."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (out / "history.csv").exists() and len((out / "history.csv").read_text().splitlines()) > epoch:
            return
        time.sleep(0.02)
    raise AssertionError("the run does not get on")
