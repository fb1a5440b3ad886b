"""How steep a curve is, and how steep it should be: straight lines in log-log through the upper half of its points.

A cost that grows as x^s has the slope s. What is expected is constant + scale x work: the work is counted, the scale is
fitted to the same points. The constant is 0 for time; for memory it is that of a process which has done the same job at
its smallest, and slopes are those of what is above it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .stored import Measured

TOLERANCE = 0.2  # of a slope: over a tenfold growth, a cost that is off by a factor of 1.6
TIME, MEMORY = "time", "peak memory"
PAGE = 4096  # bytes: less is not seen


@dataclass(frozen=True)
class Fit:
    """A curve, and what was expected of it.

    x, y, expected (n,): in seconds or bytes, the constant included. upper (n,) bool: the points that slopes are fitted
    to. wanted, slope: the expected and the measured slope; spread: the standard deviation of the latter over the
    rounds, None where there are none. scale: seconds or bytes for each unit of work.
    """

    axis: str
    job: str
    cost: str
    x: np.ndarray
    y: np.ndarray
    expected: np.ndarray
    upper: np.ndarray
    wanted: float
    slope: float
    spread: float | None
    scale: float

    @property
    def deviation(self) -> float:
        """Measured minus expected slope."""
        return self.slope - self.wanted

    @property
    def verdict(self) -> str:
        """ "steeper" or "flatter" than expected, "" within TOLERANCE."""
        if abs(self.deviation) <= TOLERANCE:
            return ""
        return "steeper" if self.deviation > 0 else "flatter"


def time_of(points: Sequence[Measured]) -> Fit | None:
    """Seconds along a curve, medians over the rounds. None for fewer than two points."""
    if len(points) < 2:
        return None
    rounds = np.array([p.seconds for p in points])  # (n, rounds)
    x, work = (np.array([getattr(p, name) for p in points], float) for name in ("x", "work"))
    each = [slope(x, row) for row in rounds.T]
    spread = float(np.std(each, ddof=1)) if len(each) > 1 else None
    return _fit(points[0], TIME, x, np.median(rounds, axis=1), work, np.zeros(len(x)), spread)


def memory_of(points: Sequence[Measured]) -> Fit | None:
    """Bytes along a curve. None for fewer than two points."""
    if len(points) < 2:
        return None
    x, size, start, peak = (np.array([getattr(p, n) for p in points], float) for n in ("x", "size", "start", "peak"))
    return _fit(points[0], MEMORY, x, peak, size, start, None)


def upper_half(x: np.ndarray) -> np.ndarray:
    """The points of the upper half of a range in logarithms, at least two.   x (n,) rising -> (n,) bool"""
    chosen = x >= np.sqrt(x[0] * x[-1]) * (1 - 1e-9)
    chosen[-2:] = True
    return chosen


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """d log y / d log x over the upper half, by least squares.   x, y (n,) above 0"""
    chosen = upper_half(x)
    return float(np.polyfit(np.log(x[chosen]), np.log(y[chosen]), 1)[0])


def _fit(point, cost, x, y, work, constant, spread):
    chosen = upper_half(x)
    own = np.maximum(y - constant, PAGE) if cost == MEMORY else y
    scale = float(own[chosen].sum() / work[chosen].sum())  # the largest points have most of both
    expected = constant + scale * work
    return Fit(point.axis, point.job, cost, x, y, expected, chosen, slope(x, work), slope(x, own), spread, scale)
