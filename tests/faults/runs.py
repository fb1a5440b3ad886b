"""One small training run, and whether another ended in the same weights."""

import os
import re
from pathlib import Path

import numpy as np

from minast.checkpoint import load, load_state

FLAGS = ["--depth", "1", "--epochs", "3", "--batch", "4", "--lr", "1e-3", "--threads", "1", "--frames", "32"]
FLAGS += ["--roll", "4", "--mixup", "0.5"]  # randomness that must go on where it stopped
SENTENCE = re.compile(r"(\n|note: [^\n]+\n|minast: [^\n]+\n)*")


def begin(data: Path, out: Path) -> list:
    """The command line of the run."""
    return [data, "--out", out, *FLAGS]


def go_on(server, data: Path, out: Path) -> tuple[int, str, str]:
    """What a user does after a fault: --resume, or the same command if nothing was saved."""
    saved = (out / "last.npz").exists()
    return server.run("train", ["--resume", out] if saved else begin(data, out))


def weights(out: Path) -> dict:
    """All that a run's two checkpoints hold, but the times."""
    found = {}
    for name in ("best.npz", "last.npz"):
        model, info = load(out / name, "numpy")
        found[name, "weights"] = model.w.flat.copy()
        found[name, "history"] = [{k: v for k, v in row.items() if k != "seconds"} for row in info.history]
    state = load_state(out / "last.npz")
    found |= {name: state[name] for name in ("m", "v", "counters")}
    return found


def same(one: dict, other: dict) -> bool:
    """Whether two runs ended alike, bit for bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def complete(out: Path) -> None:
    """Assert that a finished run's folder has all its files, and no other."""
    expected = {"best.npz", "last.npz", "history.csv", "curves.png", "confusion.png", "scores.npz"}
    expected |= {"report.json", "report.html"}
    assert set(os.listdir(out)) == expected
    assert len((out / "history.csv").read_text().splitlines()) == 4


def in_a_sentence(status: int, err: str) -> None:
    """Assert that a command refused in one sentence."""
    assert status == 2 and err.startswith(("minast: ", "note: ")) and SENTENCE.fullmatch(err), (status, err)
