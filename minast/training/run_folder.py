"""A training run's folder: last.npz to resume from, best.npz to use, history.csv and curves.png to look at."""

import contextlib
import hashlib
import io
import itertools
import os
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np

from .. import cli, pages, plots
from ..checkpoint import load_state, save
from ..datasets import Dataset
from ..errors import Error
from ..parallel import world
from ..storage.files import atomic, writable_folder
from ..storage.tables import write_rows
from ..text import visible
from .alike import check_folder
from .feature_cache import LARGE
from .lock import lock
from .run import Run

RUNS = "runs"  # where runs go, and pages on several of them, unless --out says otherwise
LAST, BEST, HISTORY = "last.npz", "best.npz", "history.csv"
PLAN = "plan.json"  # of a folder with many runs: see many.py
FILES = (BEST, LAST, HISTORY, "curves.png", *plots.PER_CLASS.values(), "scores.npz", *pages.FILES)  # of a finished run
BY_NAME, SIZES = "names-", 10_000  # fingerprints of large data sets


def new_folder(out: str | os.PathLike | None, default: str, leaving: ExitStack) -> str:
    """Make and lock the output folder. `out` None: runs/<default>, or runs/<default>-2, -3 ..., whichever is free.

    leaving: when this stack is left, the lock is released, and a folder that was made here is removed if it is still
    empty. Raises minast.Error for a folder that already holds a run, that another run writes to, or that cannot be
    written to.
    """
    group = world()  # the first of several processes makes it
    own = "" if group.rank else _new_folder(out, default, leaving)
    made = group.shared(lambda: own)
    check_folder(group, made)
    return made


def _new_folder(out, default, leaving):
    made_here = out is None or not os.path.exists(out)
    out = os.fspath(writable_folder(free_folder(os.path.join(RUNS, default)) if out is None else out))
    lock(out, leaving)
    if made_here:
        leaving.callback(remove_empty, out)  # comes before the lock is released
    if any(os.path.exists(os.path.join(out, name)) for name in (LAST, PLAN)):
        raise Error(f"{out} already holds a training run: continue it with --resume {out}, or choose another --out.")
    if os.path.exists(os.path.join(out, BEST)):
        raise Error(f"{out} holds a {BEST} but no {LAST} to resume from: move it away, or choose another --out.")
    return out


def free_folder(wanted: str) -> str:
    """Make the first of `wanted`, `wanted`-2, `wanted`-3 ... that is not there yet, also if others do the same now."""
    try:
        os.makedirs(os.path.dirname(wanted), exist_ok=True)
        for n in itertools.count(1):
            folder = wanted if n == 1 else f"{wanted}-{n}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
                return folder
    except OSError as error:
        raise Error(f"the output folder {visible(wanted)} cannot be made: {error.strerror or error}.") from None


def take(out: str | os.PathLike, leaving: ExitStack) -> None:
    """Lock the folder of a run that is to be resumed. Raises minast.Error as `new_folder`; not for a missing folder."""
    if os.path.isdir(out) and not world().rank:
        writable_folder(out)
        lock(out, leaving)
    world().barrier()


def remove_empty(folder: str) -> None:
    """Remove a folder unless there is something in it."""
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def keep(run: Run, row: dict) -> None:
    """At the end of an epoch: last.npz, best.npz if this epoch is the one to use so far, history.csv, curves.png.

    row: the epoch's results, as history.csv has it. last.npz comes first: whatever is missing after it, because the
    process was killed, `complete` makes again.
    """
    run.info = replace(run.info, history=[*run.info.history, row])
    save_last(run)
    save_rest(run)


def save_rest(run: Run) -> None:
    """What an epoch leaves beside last.npz, from which it follows."""
    if run.group.rank:
        return
    history = run.info.history
    if run.averaged:
        with run.averaged.applied():
            save_checkpoint(run, BEST)
    elif run.best == len(history):
        save_checkpoint(run, BEST)
    with atomic(os.path.join(run.out, HISTORY)) as f:
        f.write(history_text(run))
    title = f"{run.data.dataset.name}, {run.settings.preset}, seed {run.config.seed}"
    picture = os.path.join(run.out, "curves.png")
    shown = None if run.averaged else run.best
    draw = partial(plots.learning_curves, history, picture, run.measure, title, run.data.split, shown)
    cli.try_to_draw(picture, draw)


def complete(run: Run) -> None:
    """Make again what a resumed run lacks because it was killed between two of the files that an epoch leaves."""
    if run.group.rank:
        return
    path = os.path.join(run.out, HISTORY)
    whole = run.progress.step and run.progress.step % run.steps_per_epoch == 0  # else later epochs have begun since
    if whole and not run.unscored:
        try:
            with open(path, "rb") as f:
                done = f.read() == history_text(run)
        except OSError:
            done = False
        if not done:  # it is written after best.npz
            save_rest(run)


def save_last(run: Run) -> None:
    """What a run needs to go on bit for bit: weights, moments, progress, the settings it began with.

    Of several processes the first one writes, but all must come here: they have parts of it.
    """
    counters = {**run.progress.to_save(), "scale": run.learner.scale.state()}
    average = run.learner.average.state() if run.learner.average else {}
    state = {**run.learner.optimizer.state(), **average, "settings": run.settings.to_save(), "counters": counters}
    run.hear()
    if not run.group.rank:
        save_checkpoint(run, LAST, state)
    run.group.barrier()  # the others go on, or end, when it is there
    run.progress.saved = run.progress.step


def save_checkpoint(run: Run, name: str, state: dict | None = None) -> None:
    """Write the model as it is to last.npz or best.npz.   state: as in checkpoint.save"""
    info, notes = run.info, run.notes
    if name == BEST and run.averaged:
        notes = {**notes, "averaged": [run.averaged.first, run.averaged.last]}
    path = os.path.join(run.out, name)
    save(path, run.learner.model, info.labels, info.features, info.loss, info.history, notes, state)


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


def history_text(run: Run) -> bytes:
    """The content of history.csv: one row per epoch. `scored` says which clips `valid_loss` and the measures are of."""
    text, history = io.StringIO(), run.info.history
    write_rows(text, [*history[0], "scored"], [[*row.values(), run.data.split] for row in history])
    return text.getvalue().encode()


def fingerprint(dataset: Dataset, like: str = "") -> str:
    """A short text that changes when the clips, their labels or their splits do, but not when their folder moves.

    Of each file, its name, its size and its last 64 KB count; of more than LARGE clips, `fingerprint_by_name`.
    like: a fingerprint to compare with; the same kind is returned.
    """
    if like.startswith(BY_NAME) if like else len(dataset.clips) > LARGE:
        return BY_NAME + fingerprint_by_name(dataset)
    digest = hashlib.sha256(repr(dataset.labels).encode())
    for clip in dataset.clips:
        digest.update(repr((os.path.basename(clip.name), clip.labels, clip.split)).encode())
        if clip.part is not None:  # its name has rounded times
            digest.update(repr(clip.part).encode())
        if clip.path is not None and os.access(clip.path, os.R_OK):
            with open(clip.path, "rb") as f:
                size = f.seek(0, os.SEEK_END)
                f.seek(max(0, size - 2**16))
                digest.update(size.to_bytes(8, "little") + f.read())
    return digest.hexdigest()[:16]


def fingerprint_by_name(dataset: Dataset) -> str:
    """Of the files' names, labels and splits, and of the sizes of about SIZES files, spread over all.

    No file is opened: of two million on a network drive even asking for all sizes would take long.
    """
    digest, clips = hashlib.sha256(repr(dataset.labels).encode()), dataset.clips
    for column in (clips.labels.lengths, clips.labels.values, clips.splits):
        digest.update(np.asarray(column, "<i8"))
    if clips.parts is not None:
        digest.update(np.ascontiguousarray(clips.parts, "<f8"))
    paths = (path or clips[i].name for i, path in enumerate(clips.paths()))
    while some := list(islice(paths, 2**16)):
        digest.update(
            "\0".join([path[path.rfind(os.sep) + 1 :] for path in some]).encode("utf-8", "surrogatepass") + b"\0"
        )
    for i in range(0, len(clips), max(1, len(clips) // SIZES)):
        with contextlib.suppress(OSError, TypeError, ValueError):  # no file: its reading says more
            digest.update(os.path.getsize(clips.path(i)).to_bytes(8, "little"))
    return digest.hexdigest()[:16]
