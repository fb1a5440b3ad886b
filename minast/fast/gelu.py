"""GELU in float32 on all cores, in blocks that fit a core's L2 cache."""

import numpy as np

from .. import layers, threads
from ..layers import Array, Cache
from .buffers import empty_like

BLOCK = 2**19  # elements; smaller blocks cost more calls (see ROWS in layers.py), larger ones more memory traffic
SMALL = 2**17  # elements below which a second thread costs more than it saves (see layers.py)

# Phi(x) = (1 + tanh(x P(x^2))) / 2, P this polynomial, highest power first: a fit of atanh(erf(x / sqrt 2)) / x with a
# small largest error of x Phi(x), 7e-8 in exact arithmetic. NumPy's tanh is vectorised: all of this together takes less
# time than scipy.special.erf.
PHI = (
    1.8054711476154934e-09,
    -1.3344050811760618e-07,
    3.969022378752717e-06,
    -5.523957466134436e-05,
    -3.313180913733214e-05,
    3.633428587491831e-02,
    7.97884215199092e-01,
)
PHI = tuple(np.float32(c) for c in PHI)
FLAT = np.float32(30)  # x^2 from which Phi is 0 or 1 in float32; the polynomial is not fitted beyond
LINEAR, CUBIC = np.float32(layers.SQRT_2_OVER_PI), np.float32(0.044715 * layers.SQRT_2_OVER_PI)  # of tanh's argument
HALF, TWO_INV_SQRT_2PI = np.float32(0.5), np.float32(2 * layers.INV_SQRT_2PI)


def gelu_forward(x: Array, kind: str = "erf") -> tuple[Array, Cache]:
    """y = x Phi(x), Phi the normal distribution function to 2e-7, or its tanh approximation.   x (...) -> y (...)

    The cache has only x: Phi would be a quarter of all activations, and recomputing it costs less than keeping it.
    """
    if x.dtype != np.float32:
        return layers.gelu_forward(x, kind)
    x = np.ascontiguousarray(x)
    y = empty_like(x)

    def block(x, s, y):
        twice_phi(x, s, y, kind)
        np.multiply(x, HALF, out=y)
        y *= s

    _blocks(block, x, y)
    return y, (x, kind)


def gelu_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy (Phi(x) + x phi(x)), phi the normal density; for "tanh" its own derivative."""
    if len(cache) == 3:
        return layers.gelu_backward(dy, cache)
    x, kind = cache
    dx = empty_like(x)

    def block(x, s, dy, dx):
        twice_phi(x, s, dx, kind)
        np.multiply(x, x, out=dx)
        if kind == "erf":  # 2 x phi(x)
            dx *= -HALF
            np.exp(dx, out=dx)
            dx *= TWO_INV_SQRT_2PI
        else:  # x (1 - tanh^2) times the slope of tanh's argument, 1 - tanh^2 = s (2 - s)
            dx *= 3 * CUBIC
            dx += LINEAR
            dx *= s
            dx *= 2 - s
        dx *= x
        dx += s
        dx *= HALF
        dx *= dy

    _blocks(block, x, np.ascontiguousarray(dy), dx)
    return dx


def twice_phi(x: Array, s: Array, scratch: Array, kind: str) -> None:
    """s = 2 Phi(x), in place.   x, s, scratch (n,) float32; scratch is overwritten"""
    u = np.multiply(x, x, out=scratch)
    if kind == "tanh":
        np.multiply(u, CUBIC, out=s)
        s += LINEAR
    else:
        np.clip(u, 0, FLAT, out=u)
        np.multiply(u, PHI[0], out=s)
        for c in PHI[1:-1]:
            s += c
            s *= u
        s += PHI[-1]
    s *= x
    np.tanh(s, out=s)
    s += 1


def _blocks(function, x, *others):
    """function(x, scratch, *others) on corresponding flat blocks of the arrays, spread over the threads."""
    flat = [a.reshape(-1) for a in (x, *others)]

    def task(span):
        size = span.stop - span.start
        parts = threads.spans(size, 64, -(-size // BLOCK))
        scratch = np.empty(max((part.stop - part.start for part in parts), default=0), np.float32)
        for part in parts:
            x, *rest = (a[span.start + part.start : span.start + part.stop] for a in flat)
            function(x, scratch[: len(x)], *rest)

    threads.run(task, threads.spans(x.size, 64, 1 if x.size < SMALL else None))
