"""Linear layers and layer norms in float32 on all cores, in blocks of rows that fit the caches."""

from functools import partial

import numpy as np

from .. import layers, threads
from ..layers import Array, Cache
from .buffers import empty

# Elements in a block of rows, 512 KB: passes over it stay in or near the L2 cache. Smaller blocks are slower on several
# threads: NumPy calls contend for the GIL, which costs each call about as much as work on 20 000 elements.
ROWS = 2**17
# Work below which a second thread costs more than it saves: to wake one, and to be woken at the end, takes 0.1 ms.
SMALL_PRODUCT = 2**24  # multiply-adds
SMALL = 2**17  # elements


# -- linear ----------------------------------------------------------------------------------------------------


def linear_forward(x: Array, w: Array, b: Array) -> tuple[Array, Cache]:
    """y = x w^T + b.   x (..., C), w (O, C), b (O,) -> y (..., O)

    Each thread computes its own rows of y or, if there are fewer rows than outputs, its own columns: BLAS then packs
    the larger operand once. Each product runs on one BLAS thread.
    """
    if x.dtype != np.float32:
        return layers.linear_forward(x, w, b)
    rows = x.reshape(-1, x.shape[-1])
    y = empty((len(rows), len(w)))

    def part(r, o):
        np.matmul(rows[r], w[o].T, out=y[r, o])
        y[r, o] += b[o]

    _run(_pieces(part, len(rows), len(w), rows.shape[1]))
    return y.reshape(*x.shape[:-1], len(w)), (x, w)


def linear_backward(dy: Array, cache: Cache, dw: Array, db: Array) -> Array:
    """dx = dy w,  dw += dy^T x,  db += sum of dy over rows."""
    x, w = cache
    if x.dtype != np.float32:
        return layers.linear_backward(dy, cache, dw, db)
    rows, drows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    dx = empty(rows.shape)

    def weights(o, c):
        dw[o, c] += drows[:, o].T @ rows[:, c]
        if c.start == 0:
            db[o] += drows[:, o].sum(axis=0)

    def inputs(r, c):
        np.matmul(drows[r], w[:, c], out=dx[r, c])

    _run([*_pieces(weights, *w.shape, len(rows)), *_pieces(inputs, *rows.shape, len(w))])
    return dx.reshape(x.shape)


def _pieces(part, m, n, k):
    """An (m, k) x (k, n) product, split along the longer side of its result.   -> calls of part(rows, columns)"""
    parts = 1 if m * n * k < SMALL_PRODUCT else None
    if m >= n:
        return [partial(part, r, slice(0, n)) for r in threads.spans(m, 16, parts)]
    return [partial(part, slice(0, m), c) for c in threads.spans(n, 16, parts)]


def _run(calls):
    threads.run(lambda call: call(), calls)


# -- layer norm ------------------------------------------------------------------------------------------------


def layernorm_forward(x: Array, w: Array, b: Array, eps: float = 1e-6) -> tuple[Array, Cache]:
    """y = (x - mean) * rstd * w + b over the last axis, rstd = 1 / sqrt(var + eps).   x (..., C), w, b (C,) -> y"""
    if x.dtype != np.float32:
        return layers.layernorm_forward(x, w, b, eps)
    C = x.shape[-1]
    rows = x.reshape(-1, C)
    y = empty(rows.shape)
    mean, rstd = (np.empty((len(rows), 1), np.float32) for _ in range(2))
    average = np.full((C, 1), 1 / C, np.float32)

    def block(r, _):
        out = y[r]
        np.matmul(rows[r], average, out=mean[r])
        np.subtract(rows[r], mean[r], out=out)
        var = squares(out)[:, None] / C
        var += eps
        np.divide(1, np.sqrt(var), out=rstd[r])
        out *= rstd[r]
        out *= w
        out += b

    _row_blocks(block, len(rows), C)
    return y.reshape(x.shape), (x, w, mean, rstd)


def layernorm_backward(dy: Array, cache: Cache, dw: Array, db: Array) -> Array:
    """dx = rstd (dn - <dn> - n <dn n>), n = normalised x, dn = dy w, <.> mean over C;  dw += sum dy n, db += sum dy

    Both means and both sums are matrix-vector products: <dn> = dy w / C, <dn n> = (dy n) w / C.
    """
    x, w, mean, rstd = cache
    if x.dtype != np.float32:
        return layers.layernorm_backward(dy, cache, dw, db)
    C = x.shape[-1]
    rows, drows = x.reshape(-1, C), dy.reshape(-1, C)
    dx, sums, share = empty(rows.shape), {}, w[:, None] / np.float32(C)

    def block(r, part):
        dn, d = dx[r], drows[r]
        n = rows[r] - mean[r]
        n *= rstd[r]
        np.multiply(d, n, out=dn)
        ones = np.ones(len(d), np.float32)
        add(sums, part, ones @ dn, ones @ d)
        n *= dn @ share
        np.multiply(d, w, out=dn)
        dn -= n
        dn -= d @ share
        dn *= rstd[r]

    _row_blocks(block, len(rows), C)
    for part in sorted(sums):  # in a fixed order, whichever thread finished first
        dw += sums[part][0]
        db += sums[part][1]
    return dx.reshape(x.shape)


def squares(x: Array) -> Array:
    """The sum of squares of each row.   x (R, C) -> (R,)"""
    return np.vecdot(x, x) if hasattr(np, "vecdot") else np.einsum("rc,rc->r", x, x)  # NumPy 2's vecdot is faster


def add(sums: dict, part: int, *values: Array) -> None:
    """sums[part] += values, in place, array by array."""
    if part in sums:
        for total, value in zip(sums[part], values, strict=True):
            total += value
    else:
        sums[part] = values


def _row_blocks(block, rows, C):
    """block(r, part) for slices of rows that fit the cache; blocks of one part run one after the other."""

    def task(item):
        part, span = item
        size = span.stop - span.start
        for r in threads.spans(size, parts=-(-size * C // ROWS)):
            block(slice(span.start + r.start, span.start + r.stop), part)

    threads.run(task, enumerate(threads.spans(rows, 16, 1 if rows * C < SMALL else None)))
