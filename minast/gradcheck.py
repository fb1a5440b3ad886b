"""Is a hand-written gradient right? Two checks against fourth-order central differences, in float64.

    8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))
    -------------------------------------------------  ~  f'(x)     error about h^4 f^(5) / 30 + 1e-16 |f| / h,
                          12 h                                      smallest for h between 1e-4 and 1e-3

`directional` perturbs all arrays at once along random directions: 4 evaluations per direction, whatever the size.
`per_entry` perturbs one entry at a time: slow, but it shows where a gradient is wrong.
Neither sees a mistake that vanishes at the point tested, so test at random points with non-zero biases.

    y, cache = linear_forward(x, w, b)                          # all float64; dy (like y) is random and fixed
    dx = linear_backward(dy, cache, dw, db)                     # dw and db start at zero
    check = directional(lambda: (linear_forward(x, w, b)[0] * dy).sum(), [x, w, b], [dx, dw, db], rng)
    assert check.error < 1e-7, check
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import Error


@dataclass(frozen=True)
class Check:
    """The worst derivative found. str() of it is one line for a failing test.

    error: |analytic - numeric| / max(|analytic|, |numeric|), in `per_entry` also relative to the largest gradient;
      infinite if either is not finite. index: of the entry, None for a direction.
    """

    name: str
    error: float
    analytic: float
    numeric: float
    index: tuple[int, ...] | None = None

    def __str__(self):
        where = f"{self.name}{list(self.index) if self.index is not None else ''}"
        return f"{where}: analytic {self.analytic:.12g}, numeric {self.numeric:.12g}, relative error {self.error:.1e}"


def directional(
    f: Callable[[], float],
    arrays: Sequence[np.ndarray],
    gradients: Sequence[np.ndarray],
    rng: np.random.Generator,
    directions: int = 3,
    step: float = 1e-5,
    name: str = "all",
) -> Check:
    """Compares sum(g * u) with a central difference along u, a random unit vector. -> worst of `directions`

    f reads `arrays`, which are perturbed in place and restored. arrays, gradients: lists of float64 arrays, pairwise of
    equal shape. step: relative to the norm of all arrays together, at least 1.
    Raises minast.Error for another dtype, unequal shapes or no direction, ValueError for lists of unequal length.
    """
    if directions < 1:
        raise Error(f"directions is {directions}: it must be at least 1.")
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


def per_entry(
    f: Callable[[], float],
    array: np.ndarray,
    gradient: np.ndarray,
    step: float = 1e-4,
    name: str = "x",
    entries: int | None = None,
    rng: np.random.Generator | None = None,
) -> Check:
    """Compares each gradient[index] with a central difference of f in array[index]. -> the worst entry

    f reads `array`, which is perturbed in place by multiples of `step` and restored. entries: check only that many,
    drawn by `rng`, which is then required. Errors are relative to the largest gradient: near zero there is only
    rounding. Raises minast.Error unless both arrays are float64 and of equal shape, and for no entry.
    """
    _same_kind(name, array, gradient)
    if array.size == 0 or (entries is not None and entries < 1):
        raise Error(f"{name}: there is no entry to check: give an array that is not empty, and entries of at least 1.")
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
            "both must be float64 of equal shape."
        )


def _relative(a, b, scale=0.0):
    gap = abs(float(a) - float(b))
    if not gap < np.inf:  # also NaN, which would pass every comparison `error > limit`
        return np.inf
    return gap / max(abs(a), abs(b), scale, 1e-300)
