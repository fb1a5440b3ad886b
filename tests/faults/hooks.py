"""What goes wrong in a child process, and when: called there, before the command begins."""

import builtins
import errno
import io
import os
import signal
import time

import numpy as np

from minast.storage import files


def count(path: str) -> None:
    """Write one character into a file at each fsync (f), renaming (r) and write (w), to be counted."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sync, replace = os.fsync, os.replace
    os.fsync = lambda n: (os.write(log, b"f"), sync(n))
    os.replace = lambda a, b: (os.write(log, b"r"), replace(a, b))
    _raw_writes(lambda raw, data: os.write(log, b"w") and io.FileIO.write(raw, data))


def kill_at(name: str, n: int, number: int = signal.SIGKILL) -> None:
    """The signal comes before the n-th os.fsync or os.replace, counted from 0."""
    real, left = getattr(os, name), [n]

    def deadly(*arguments):
        if left[0] == 0:
            os.kill(os.getpid(), number)
        left[0] -= 1
        return real(*arguments)

    setattr(os, name, deadly)


def full_disk(n: int) -> None:
    """The n-th write into a file that minast makes, from 0, and all after it find half the space they need."""
    left = [n]

    def write(raw, data):
        left[0] -= 1
        if left[0] < -1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return io.FileIO.write(raw, memoryview(data)[: max(1, len(data) // 2)] if left[0] == -1 else data)

    _raw_writes(write)


def _raw_writes(write):
    """Every write of `files.atomic` to the system becomes write(raw file, data)."""

    class Raw(io.FileIO):
        def write(self, data):
            return write(self, memoryview(data).cast("B"))

    def opening(path, mode="r", **options):
        if "w" not in mode:
            return builtins.open(path, mode, **options)
        buffered = io.BufferedWriter(Raw(path, "w"))
        return buffered if "b" in mode else io.TextIOWrapper(buffered, **options)

    files.open = opening


def clock_jumps(seed: int) -> None:
    """Time of day and counters of seconds jump at random: by hours, the former also backwards."""
    rng, now, counter = np.random.default_rng(seed), time.time, time.perf_counter
    ahead = [0.0]

    def jumping():
        ahead[0] += 3600 * rng.random() * (rng.random() < 0.1)
        return counter() + ahead[0]

    time.time = lambda: now() + 1e6 * rng.standard_normal()
    time.perf_counter = jumping


def no_matplotlib() -> None:
    """Drawing raises what Matplotlib raises where it has no folder to write to."""
    from matplotlib import figure

    def fails(*_, **__):
        raise OSError("Matplotlib requires access to a writable cache directory")

    figure.Figure.savefig = fails


def chdir(folder: str) -> None:
    """Work in another folder."""
    os.chdir(folder)


def slow_to_stop(began: str) -> None:
    """Measuring features takes for ever, and so does stopping. The files `began` and `stopping` tell how far it is."""
    from minast.training.feature_cache import FeatureCache

    def measured(*_, **__):
        try:
            open(began, "w").close()
            time.sleep(60)
        except KeyboardInterrupt:
            open(os.path.join(os.path.dirname(began), "stopping"), "w").close()
            time.sleep(60)

    FeatureCache.__init__ = measured
