"""A training run's folder: last.npz to resume from, best.npz to use, history.csv and curves.png to look at."""

import contextlib
import csv
import hashlib
import io
import os
from contextlib import ExitStack
from dataclasses import replace

from .. import plots
from ..checkpoint import load_state, save
from ..datasets import Dataset
from ..errors import Error
from ..files import atomic, writable_folder
from .run import Run

LAST, BEST = "last.npz", "best.npz"


def new_folder(out: str | os.PathLike | None, default: str, leaving: ExitStack) -> str | os.PathLike:
    """Make the output folder. `out` None: runs/<default>, or runs/<default>-2, -3 ..., whichever is free.

    leaving: when this stack is left, a folder that was made here is removed if it is still empty. Raises minast.Error
    for a folder that already holds a run or cannot be written to.
    """
    if out is None:
        out, n = os.path.join("runs", default), 2
        while os.path.exists(out):
            out, n = os.path.join("runs", f"{default}-{n}"), n + 1
    elif os.path.exists(os.path.join(out, LAST)):
        raise Error(f"{out} already holds a training run: continue it with --resume {out}, or choose another --out.")
    elif os.path.exists(os.path.join(out, BEST)):
        raise Error(f"{out} holds a {BEST} but no {LAST} to resume from: move it away, or choose another --out.")
    if not os.path.exists(out):
        leaving.callback(remove_empty, out)
    return os.fspath(writable_folder(out))


def remove_empty(folder: str) -> None:
    """Remove a folder unless there is something in it."""
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def keep(run: Run, row: dict) -> None:
    """At the end of an epoch: last.npz, best.npz if it is the best so far, history.csv, curves.png.

    row: the epoch's results, as history.csv has it.
    """
    history = [*run.info.history, row]
    run.info = replace(run.info, history=history)
    if best_epoch(history, run.measure) == len(history):
        save_checkpoint(run, BEST)
    save_last(run)
    write_history(run.out, history)
    title = f"{run.data.dataset.name}, {run.settings.preset}, seed {run.config.seed}"
    plots.learning_curves(history, os.path.join(run.out, "curves.png"), run.measure, title)


def best_epoch(history: list[dict], measure: str) -> int:
    """The epoch, from 1, with the highest measure; among equals the lowest held-out loss, then the first, wins."""
    keys = [(row[measure], -row["valid_loss"]) for row in history]
    return 1 + keys.index(max(keys))


def save_last(run: Run) -> None:
    """What a run needs to go on bit for bit: weights, moments, progress, the settings it began with."""
    counters = {**run.progress.to_save(), "scale": run.learner.scale.state()}
    state = {**run.learner.optimizer.state(), "settings": run.settings.to_save(), "counters": counters}
    save_checkpoint(run, LAST, state)
    run.progress.saved = run.progress.step


def save_checkpoint(run: Run, name: str, state: dict | None = None) -> None:
    """Write the model as it is to last.npz or best.npz.   state: as in checkpoint.save"""
    info = run.info
    path = os.path.join(run.out, name)
    save(path, run.learner.model, info.labels, info.features, info.loss, info.history, info.notes, state)


def load_state_of(out: str) -> dict:
    """The `state` of a run that stopped, or minast.Error."""
    path = os.path.join(out, LAST)
    if not os.path.isdir(out):
        raise Error(f"--resume {out}: there is no such folder.")
    if not os.path.exists(path):
        raise Error(f"--resume {out}: there is no {LAST} to resume from: start a new run.")
    state = load_state(path)
    if "settings" not in state or "m" not in state:
        raise Error(f"{path}: this checkpoint has no optimizer state: it was not written by a training run.")
    return state


def write_history(out: str, history: list[dict]) -> None:
    """history.csv: one row per epoch."""
    text = io.StringIO()
    table = csv.DictWriter(text, history[0].keys(), lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    with atomic(os.path.join(out, "history.csv")) as f:
        f.write(text.getvalue().encode())


def fingerprint(dataset: Dataset) -> str:
    """A short text that changes when the clips, their labels or their splits do, but not when their folder moves.

    Of each file, its name, its size and its last 64 KB count.
    """
    digest = hashlib.sha256(repr(dataset.labels).encode())
    for clip in dataset.clips:
        digest.update(repr((os.path.basename(clip.name), clip.labels, clip.split)).encode())
        if clip.path is not None and os.access(clip.path, os.R_OK):
            with open(clip.path, "rb") as f:
                size = f.seek(0, os.SEEK_END)
                f.seek(max(0, size - 2**16))
                digest.update(size.to_bytes(8, "little") + f.read())
    return digest.hexdigest()[:16]
