"""Timing on the processor's clock: the functions to compare run in turn, in every round, in one process."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from .row import Row, reason

PAUSE = 0.1  # seconds before each call


def interleaved(
    functions: Sequence[Callable], rounds: int, clock=time.perf_counter, pause: float = PAUSE
) -> np.ndarray:
    """Seconds of each function in each round.   -> (functions, rounds)

    The functions alternate, so that what disturbs the machine disturbs all of them; a first round is not counted. The
    pause before each call is for the thread pools of PyTorch and BLAS, which keep cores busy for a while after their
    work.
    """
    times = np.zeros((len(functions), rounds))
    for r in range(-1, rounds):
        for i, function in enumerate(functions):
            time.sleep(pause)
            began = clock()
            function()
            times[i, r] = clock() - began  # round -1 is overwritten by the last one
    return times


def beside(
    ours: Sequence[Callable],
    calls: Mapping[str, Callable],
    without: dict[str, str],
    time_all: Callable[[list[Callable]], np.ndarray],
    release: Callable[[], object] = gc.collect,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Times of ours and of other libraries' functions.   -> (ours, rounds) seconds, {name: (rounds,) seconds}

    calls: {name: function}; time_all: functions -> (functions, rounds), say `interleaved`. A library that fails, out of
    memory for example, is left out: without[name] says why, `release` frees what it held, and all others are timed
    again.
    """
    calls = dict(calls)
    while True:
        guarded = [partial(_of_library, name, call) for name, call in calls.items()]
        try:
            times = time_all([*ours, *guarded])
        except LibraryFailed as failed:
            without[failed.name] = failed.reason
            del calls[failed.name]
        else:
            return times[: len(ours)], dict(zip(calls, times[len(ours) :], strict=True))
        guarded = None  # they hold what the library has allocated
        release()


class LibraryFailed(Exception):
    """A library's call raised an exception while it was timed. name: the library's; reason: what it said."""

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


def _of_library(name, call):
    try:
        return call()
    except Exception as error:  # libraries' own errors are of many classes
        raise LibraryFailed(name, reason(error)) from None


def compare(name: str, ours: Callable, theirs: Callable, rounds: int, against: str, goal: str = "") -> Row:
    """A Row of two functions that do the same job: median seconds, and the median ratio theirs / ours."""
    a, b = interleaved([ours, theirs], rounds)
    ratio = float(np.median(b / a))
    return Row(name, float(np.median(a)), "s", against, float(np.median(b)), ratio, goal)
