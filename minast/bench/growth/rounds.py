"""Measuring: the points of a curve take turns, round by round, each in the process that was started for it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import groupby

import numpy as np
from tqdm import tqdm

from ...console.say import note
from ...training.clip_cache import physical_memory
from ..timing import PAUSE
from .plan import AXES, JOBS, Point
from .stored import Found, Measured
from .worker import Lost, Worker

FEW = 3  # rounds at least; as many as of a curve that takes long
LONG = 10.0  # seconds of a round from which it does
ROOM = 0.7  # share of the machine's memory that all processes of a curve together may take
ALONE = 2**27  # bytes of a process without its job, roughly


def measure(points: list[Point], rounds: int, found: Found, folder: str, save: Callable[[], None]) -> None:
    """Measure these points and add them to `found`; curves that are there already are left as they are.

    rounds: of each curve, fewer where they take long. folder: for the files of the jobs. save: called after each round.
    """
    curves = [list(of_curve) for _, of_curve in groupby(points, lambda point: point.curve)]
    curves = [each for each in curves if not found.has(each, min(rounds, FEW))]
    total = sum(len(each) * (1 + rounds) for each in curves)
    with tqdm(total=total, unit="run", disable=None, leave=False) as bar:
        for each in curves:
            bar.set_description(f"{AXES[each[0].axis][0]}, {JOBS[each[0].job][0]}")
            found.without(each[0].curve)
            _curve(each, rounds, found, folder, save, bar)


def affordable(points: list[Point], memory: float) -> list[Point]:
    """The points of a curve that fit into so many bytes of memory all together, without the largest if need be."""
    left = list(points)
    while left and sum(_size(point) + ALONE for point in left) > memory:
        left.remove(max(left, key=_size))
    return left


def _size(point):
    """Bytes that a point is expected to need; of data sets, clip by clip, that is little."""
    return point.size if point.axis != "clips" else 0


def _curve(points, rounds, found, folder, save, bar):
    """All rounds of one curve. A point whose process ends is lost, the others go on."""
    here = affordable(points, ROOM * (physical_memory() or np.inf))
    for point in points:
        if point not in here:
            _lose(found, point, "this machine has too little memory")
    bar.total -= (len(points) - len(here)) * (1 + rounds)
    with ExitStack() as processes:
        workers = {point: processes.enter_context(Worker(point, folder)) for point in here}
        times = {point: [] for point in here}
        done, wanted = -1, rounds  # a first round is not counted
        while done < wanted and times:
            began = time.perf_counter()
            answers = {}
            for point in list(times):
                time.sleep(PAUSE)
                try:
                    answers[point] = workers[point].run()
                    times[point].append(answers[point]["seconds"])
                except Lost as why:
                    _lose(found, point, str(why))
                    bar.total -= wanted - done
                    del times[point]
                bar.update()
            if done < 0 and time.perf_counter() - began > LONG and rounds > FEW:
                bar.total -= (rounds - FEW) * len(times)
                wanted = FEW
            done += 1
            _put(found, points[0].curve, times, answers)
            save()


def _put(found, curve, times, answers):
    """What is known of a curve after a round, in place of what was known before it."""
    found.points = [p for p in found.points if p.curve != curve]
    for point, seconds in times.items():
        if len(seconds) > 1:
            memory = {name: answers[point][name] for name in ("start", "peak")}
            found.points.append(Measured(point.axis, point.job, point.x, point.work, point.size, seconds[1:], **memory))


def _lose(found, point, why):
    found.lost.append((point.axis, point.job, point.x, why))
    note(f"{JOBS[point.job][0]}, {AXES[point.axis][0]} {point.x:g}: not measured: {why}.")
