"""One job, done by minast and by other libraries: all alternate in the same rounds, and each of them has a row."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..errors import Error
from .checks import difference
from .libraries import errors_as_skips
from .row import Row, Skip
from .timing import beside, interleaved

ROUNDED = 0.05  # of the largest value: how far a side in bfloat16 may be from float32


class Side(NamedTuple):
    """A library that does the job. name: what the table calls it; goal: of the ratio; tolerance: of its results.

    make: -> (the function that is timed, its result as an array); it may raise anything where the library cannot.
    """

    name: str
    make: Callable[[], tuple[Callable, np.ndarray]]
    goal: str = ""
    tolerance: float = 1e-4


def compared(
    name: str, ours: Callable, wanted: np.ndarray, sides: Sequence[Side], rounds: int, note: str = ""
) -> Iterator[Row]:
    """A Row for each side that works, or one of ours alone. The first one's note says which are missing, and why.

    wanted: our result, with which a side must agree to be timed. Raises Error for those that do not, after the rows of
    those that do; if none does, nothing is timed, since the fault may be ours.
    """
    calls, without, wrong = {}, {}, {}
    for side in sides:
        try:
            with errors_as_skips():
                call, got = side.make()
        except (Skip, Error) as why:
            without[side.name] = str(why).rstrip(".")
            continue
        if different := difference(np.asarray(got), wanted, side.tolerance):
            wrong[side.name] = f"the result {different}"
        else:
            calls[side.name] = call
    said = "; ".join(f"{name}, {side}: {why}" for side, why in wrong.items())
    if wrong and not calls:
        raise Error(f"{said}: nothing was timed.")
    without |= wrong
    (mine,), taken = beside([ours], calls, without, partial(interleaved, rounds=rounds))
    yield from _rows(name, mine, taken, sides, [note, missing(without, alone=not taken)])
    if wrong:
        raise Error(f"{said}: it was not timed.")


def _rows(name, mine, taken, sides, notes):
    note = "; ".join(filter(None, notes))
    if not taken:
        yield Row(name, float(np.median(mine)), goal=sides[0].goal, note=note)
    for side in sides:
        if side.name in taken:
            times = taken[side.name]
            ratio = float(np.median(times / mine))
            yield Row(name, float(np.median(mine)), "s", side.name, float(np.median(times)), ratio, side.goal, note)
            note = ""


def missing(without: dict[str, str], alone: bool) -> str:
    """Which sides are not there, and why, each reason once; "" if all are. alone: there is none to compare with."""
    by_reason = {}
    for name, why in without.items():
        by_reason.setdefault(why, []).append(name)
    if alone and len(by_reason) == 1:
        return f"no comparison: {next(iter(by_reason))}"
    listed = "; ".join(f"{' and '.join(names)} ({why})" for why, names in by_reason.items())
    return f"{'no comparison: ' * alone}without {listed}" if listed else ""
