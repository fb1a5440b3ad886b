"""Is a hand-written gradient right? Two checks against central differences of fourth order, in float64.

    8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))
    -------------------------------------------------  ~  f'(x)     off by about h^4 f^(5) / 30 + 1e-16 |f| / h:
                          12 h                                      least for h between 1e-4 and 1e-3

`directional` moves everything at once along random directions: 4 evaluations a direction, whatever the size.
`per_entry` moves one number at a time: slow, but it says where a gradient is wrong.
What neither sees: a mistake that vanishes at the point tested. So test at random points, with non-zero biases.
"""

from dataclasses import dataclass

import numpy as np

from .errors import Error


@dataclass(frozen=True)
class Check:
    """The outcome. `error` is |analytic - numeric| relative to the larger of the two (and to `scale`, where given)."""

    name: str
    error: float
    analytic: float
    numeric: float
    index: tuple | None = None

    def __str__(self):
        where = f"{self.name}{list(self.index) if self.index is not None else ''}"
        return f"{where}: analytic {self.analytic:.12g}, numeric {self.numeric:.12g}, relative error {self.error:.1e}"


def directional(f, arrays, gradients, rng, directions=3, step=1e-5, name="all"):
    """Worst of several random directions.   f() -> float reads `arrays`, which are moved in place and put back.

    arrays, gradients: equally long lists of float64 arrays. The directional derivative sum(g * u) is compared with a
    fourth-order central difference along u, a random direction of length 1. -> Check
    """
    for a, g in zip(arrays, gradients, strict=True):
        _same_kind(name, a, g)
    worst = None
    originals = [a.copy() for a in arrays]
    for _ in range(directions):
        us = [rng.standard_normal(a.shape) for a in arrays]
        length = np.sqrt(sum((u * u).sum() for u in us))
        analytic = float(sum((g * u).sum() for g, u in zip(gradients, us, strict=True)) / length)
        h = step * max(1.0, np.sqrt(sum((a * a).sum() for a in originals)))

        def at(t, us=us, length=length):
            for a, original, u in zip(arrays, originals, us, strict=True):
                a[...] = original + t / length * u
            return float(f())

        numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        for a, original in zip(arrays, originals, strict=True):
            a[...] = original
        check = Check(name, _relative(analytic, numeric), analytic, numeric)
        worst = check if worst is None or check.error > worst.error else worst
    return worst


def per_entry(f, array, gradient, step=1e-4, name="x", entries=None, rng=None):
    """The worst entry of one array; `entries` limits the check to that many, drawn by `rng`. -> Check

    The error of an entry is relative to the largest gradient of the array: an entry near zero is rounding and no news.
    """
    _same_kind(name, array, gradient)
    chosen = np.arange(array.size)
    if entries is not None and entries < array.size:
        chosen = rng.choice(array.size, entries, replace=False)
    scale = float(np.abs(gradient).max())
    worst = None
    for k in chosen:
        index = tuple(int(i) for i in np.unravel_index(k, array.shape))
        original = float(array[index])
        values = []
        for t in (1, -1, 2, -2):
            array[index] = original + t * step
            values.append(float(f()))
        array[index] = original
        numeric = (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * step)
        analytic = float(gradient[index])
        check = Check(name, _relative(analytic, numeric, scale), analytic, numeric, index)
        worst = check if worst is None or check.error > worst.error else worst
    return worst


def _same_kind(name, array, gradient):
    """Broadcasting would hide a gradient that was never summed over the batch; float32 rounding hides anything."""
    if array.shape != gradient.shape or array.dtype != np.float64 or gradient.dtype != np.float64:
        raise Error(
            f"{name} is {array.dtype} {array.shape} and its gradient {gradient.dtype} {gradient.shape}: "
            "both must be float64 of one shape."
        )


def _relative(a, b, scale=0.0):
    gap = abs(float(a) - float(b))
    if not gap < np.inf:  # NaN too: it compares false with everything and would pass for small
        return np.inf
    return gap / max(abs(a), abs(b), scale, 1e-300)
