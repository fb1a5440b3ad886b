"""The layers on a CPU, fast: the reference's names and signatures, cut into parts that fit the caches and all cores.

What is not defined here or in the two files beside it is the reference's. A fast backward takes the cache of a fast
forward. Anything but float32 goes to the reference. For one number of threads the bits are the same each time.
"""

import numpy as np

from . import fast_attention, fast_gelu, layers, threads
from .arena import empty
from .layers import *

gelu_forward, gelu_backward = fast_gelu.gelu_forward, fast_gelu.gelu_backward
attention_forward, attention_backward = fast_attention.attention_forward, fast_attention.attention_backward

ROWS = 2**15  # numbers in a block of rows, 128 KB: several passes over it stay in the second-level cache
TOKENS = 2048  # that go through the model together: a batch in parts needs little memory and loses no speed
LEAN = 512  # width from which on what follows a norm or a GELU is made again in the backward pass: see blocks.py
SMALL = 2**16  # products (of single numbers) below which a loop over threads costs more than it saves


# -- linear ----------------------------------------------------------------------------------------------------


def linear_forward(x, w, b):
    """y = x w^T + b.   x (..., C), w (O, C), b (O,) -> y (..., O)

    Each thread makes its own rows of y or, if there are fewer rows than outputs, its own columns: the larger operand is
    then packed once. Each product runs on one BLAS thread.
    """
    if x.dtype != np.float32:
        return layers.linear_forward(x, w, b)
    rows = x.reshape(-1, x.shape[-1])
    y = empty((len(rows), len(w)))

    def part(r, o):
        np.matmul(rows[r], w[o].T, out=y[r, o])
        y[r, o] += b[o]

    _products(part, len(rows), len(w), rows.shape[1])
    return y.reshape(*x.shape[:-1], len(w)), (x, w)


def linear_backward(dy, cache, dw, db):
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

    _products(weights, *w.shape, len(rows))
    _products(inputs, *rows.shape, len(w))
    return dx.reshape(x.shape)


def _products(part, m, n, k):
    """part(rows, columns) for an (m, k) x (k, n) product, cut along the longer side of the result."""
    parts = 1 if m * n * k < SMALL else None
    if m >= n:
        threads.run(lambda r: part(r, slice(0, n)), threads.spans(m, 16, parts))
    else:
        threads.run(lambda c: part(slice(0, m), c), threads.spans(n, 16, parts))


# -- layer norm ------------------------------------------------------------------------------------------------


def layernorm_forward(x, w, b, eps=1e-6):
    """y = (x - mean) * rstd * w + b over the last axis, rstd = 1 / sqrt(var + eps).   x (..., C) -> y (..., C)"""
    if x.dtype != np.float32:
        return layers.layernorm_forward(x, w, b, eps)
    rows = x.reshape(-1, x.shape[-1])
    y = empty(rows.shape)
    mean, rstd = (np.empty((len(rows), 1), np.float32) for _ in range(2))

    def block(r, _):
        out = y[r]
        rows[r].mean(axis=1, keepdims=True, out=mean[r])
        np.subtract(rows[r], mean[r], out=out)
        var = np.einsum("rc,rc->r", out, out)[:, None] / x.shape[-1]
        var += eps
        np.divide(1, np.sqrt(var), out=rstd[r])
        out *= rstd[r]
        out *= w
        out += b

    _row_blocks(block, *rows.shape)
    return y.reshape(x.shape), (x, w, mean, rstd)


def layernorm_backward(dy, cache, dw, db):
    """dx = rstd (dn - <dn> - n <dn n>), n = normalised x, dn = dy w, <.> mean over C;  dw += sum dy n, db += sum dy"""
    x, w, mean, rstd = cache
    if x.dtype != np.float32:
        return layers.layernorm_backward(dy, cache, dw, db)
    C = x.shape[-1]
    rows, drows = x.reshape(-1, C), dy.reshape(-1, C)
    dx, sums = empty(rows.shape), {}

    def block(r, part):
        dn, d = dx[r], drows[r]
        n = rows[r] - mean[r]
        n *= rstd[r]
        np.multiply(d, n, out=dn)
        add(sums, part, dn.sum(axis=0), d.sum(axis=0))
        np.multiply(d, w, out=dn)
        n *= np.einsum("rc,rc->r", dn, n)[:, None] / C
        dn -= dn.mean(axis=1, keepdims=True)
        dn -= n
        dn *= rstd[r]

    _row_blocks(block, len(rows), C)
    for part in sorted(sums):  # in a fixed order, whichever thread was first
        dw += sums[part][0]
        db += sums[part][1]
    return dx.reshape(x.shape)


def add(sums, part, *values):
    """sums[part] += values, entry by entry."""
    if part in sums:
        for total, value in zip(sums[part], values, strict=True):
            total += value
    else:
        sums[part] = values


def _row_blocks(block, rows, C):
    """block(r, part) for slices of rows that stay in cache; the blocks of one part run one after the other."""
    step = max(1, ROWS // C)

    def task(item):
        part, span = item
        for start in range(span.start, span.stop, step):
            block(slice(start, min(start + step, span.stop)), part)

    threads.run(task, enumerate(threads.spans(rows, step, 2 * threads.count())))
