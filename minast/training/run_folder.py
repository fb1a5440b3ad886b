"""A training run's folder: what is kept in it, how it is found again."""

import contextlib
import csv
import hashlib
import io
import os
import signal
import time

from ..checkpoint import load_state, save
from ..errors import Error
from ..files import atomic, writable_folder

LAST, BEST = "last.npz", "best.npz"


def new_folder(out, default, leaving):
    """Make the output folder. `out` None: runs/<default>, or runs/<default>-2, -3 ..., whichever is free.

    leaving: an ExitStack. When it is left, a folder that was made here goes again if nothing came into it.
    """
    if out is None:
        out, n = os.path.join("runs", default), 2
        while os.path.exists(out):
            out, n = os.path.join("runs", f"{default}-{n}"), n + 1
    elif os.path.exists(os.path.join(out, BEST)) and not os.path.exists(os.path.join(out, LAST)):
        raise Error(f"{out} holds a {BEST} and no {LAST} to go on from: move it away, or choose another --out.")
    elif os.path.exists(os.path.join(out, LAST)):
        raise Error(f"{out} already holds a training run: go on with --resume {out}, or choose another --out.")
    if not os.path.exists(out):
        leaving.callback(remove_empty, out)
    return writable_folder(out)


def remove_empty(folder):
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def save_last(job, step, sums):
    """What a run needs to go on bit for bit: weights, moments, where it stands, the settings it began with."""
    counters = {"step": step, "sums": list(sums), "scale": job.scale.state()}
    _save(job, LAST, {**job.optimizer.state(), "settings": job.settings, "counters": counters})
    job.saved = step


def save_best(job):
    _save(job, BEST, None)


def load_state_of(out):
    """The `state` of a run that stopped, or minast.Error."""
    path = os.path.join(out, LAST)
    if not os.path.isdir(out):
        raise Error(f"--resume {out}: there is no such folder.")
    if not os.path.exists(path):
        raise Error(f"--resume {out}: there is no {LAST} in it, so nothing to go on from: start anew.")
    state = load_state(path)
    if "settings" not in state or "m" not in state:
        raise Error(f"{path}: this checkpoint has no optimizer state: it was not written by a training run.")
    return state


def write_history(out, history):
    """history.csv: one line an epoch, for other programs."""
    text = io.StringIO()
    table = csv.DictWriter(text, history[0].keys(), lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    with atomic(os.path.join(out, "history.csv")) as f:
        f.write(text.getvalue().encode())


def fingerprint(dataset):
    """A short text that changes when the clips, their labels or their splits do, but not when their folder moves.

    Of each file, its name, its size and its last 64 KB count.
    """
    digest = hashlib.sha256(repr(dataset.labels).encode())
    for clip in dataset.clips:
        digest.update(repr((os.path.basename(clip.name), clip.labels, clip.split)).encode())
        if clip.path is not None:
            with open(clip.path, "rb") as f:
                size = f.seek(0, os.SEEK_END)
                f.seek(max(0, size - 2**16))
                digest.update(size.to_bytes(8, "little") + f.read())
    return digest.hexdigest()[:16]


def _save(job, name, state):
    info = job.info
    save(os.path.join(job.out, name), job.model, info.labels, info.features, info.loss, info.history, info.notes, state)


class Clock:
    """Time and speed of a run; the time before it was resumed counts, the speed is of this session."""

    def __init__(self, history):
        self.before, self.began, self.clips = (history[-1]["seconds"] if history else 0.0), time.perf_counter(), 0

    @property
    def seconds(self):
        return self.before + self.session

    @property
    def session(self):
        """Seconds since this session began, more than 0."""
        return max(time.perf_counter() - self.began, 1e-9)

    @property
    def speed(self):
        """Clips a second."""
        return self.clips / self.session


@contextlib.contextmanager
def sigterm_is_ctrl_c():
    """While it lasts SIGTERM raises KeyboardInterrupt, as Ctrl-C does; inside it a Stopper may be gentler."""

    def stop(number, frame):
        raise KeyboardInterrupt

    with contextlib.ExitStack() as after:
        with contextlib.suppress(ValueError):  # not in the main thread: signals stay as they are
            after.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, stop))
        yield


class Stopper:
    """Ctrl-C (or SIGTERM) sets `asked`; the loop ends its step, saves and leaves. A second one stops at once."""

    def __enter__(self):
        self.asked, self._old = False, {}
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not in the main thread: Ctrl-C stays as it is
                self._old[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, b"\nfinishing this step; again to stop at once\n")  # print is not safe in a handler

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)
