"""Timing on the processor's clock: the functions to compare run in turn, in every round, in one process."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from .row import Row

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


def compare(name: str, ours: Callable, theirs: Callable, rounds: int, against: str, goal: str = "") -> Row:
    """A Row of two functions that do the same job: median seconds, and the median ratio theirs / ours."""
    a, b = interleaved([ours, theirs], rounds)
    ratio = float(np.median(b / a))
    return Row(name, float(np.median(a)), "s", against, float(np.median(b)), ratio, goal)


def alone(name: str, function: Callable, rounds: int, goal: str, reason: object) -> Row:
    """A Row of one function; reason: why there is nothing to compare it with."""
    times = interleaved([function], rounds)[0]
    return Row(name, float(np.median(times)), goal=goal, note=f"no comparison: {reason}")
