"""Made-up measurements of the bench's growth, for its tests."""

import numpy as np

from minast.bench.growth import plan, stored

ABOUT = {"processor": "made up", "threads": 2, "load": 0.1, "kernels": "Haswell", "torch": "2.13"}


def curve(x, y, work=None, size=None, axis="clips", job="prepare", start=1000, peak=None, noise=0.0):
    """Points of a made-up curve: y seconds at x in five rounds; work and size as given, else x."""
    made = np.random.default_rng(0).normal(1, noise, (len(x), 5)) if noise else np.ones((len(x), 5))
    columns = zip(x, work or x, size or x, [list(b * row) for b, row in zip(y, made, strict=True)], strict=True)
    peaks = peak or [start + 8 * int(n) for n in x]
    return [stored.Measured(axis, job, *each, start, p) for each, p in zip(columns, peaks, strict=True)]


def whole(exponent=1.0, unit=1e-10, sizes=plan.FULL):
    """A run in which time is unit (counted work)^exponent, and memory what is counted."""
    found = stored.Found(ABOUT, sizes.said)
    for p in plan.points(sizes):
        y = unit * p.work**exponent
        peak = int(4e7 + p.size * (100 if p.axis == "clips" else 1))
        found.points.append(
            stored.Measured(p.axis, p.job, p.x, p.work, p.size, [y, y * 1.01, y * 0.99], int(4e7), peak)
        )
    return found
