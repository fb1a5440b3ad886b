"""Attention in float32 over tiles of the score matrix, small enough for a core's caches.

Heads and clips are spread over the threads. Each thread has one tile of scores at a time, so memory grows with T, not
T^2. Source of the idea: Dao et al. 2022, FlashAttention; here a tile is as wide as the sequence, so softmax is the
ordinary one.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import layers, threads
from ..layers import Array, Cache
from .buffers import empty
from .layers import SMALL_PRODUCT

TILE = 6 * 2**16  # scores per tile, 1.5 MB: large enough for few NumPy calls (see ROWS in layers.py)
BOUND = np.float32(60)  # scores below this need no maximum subtracted: exp(60) T is far from overflow


class Exponential(NamedTuple):
    """exp(x) = power(unit x), and its inverse log(y) = logarithm(y) / unit."""

    power: Callable
    logarithm: Callable
    unit: np.float32


NATURAL = Exponential(np.exp, np.log, np.float32(1))
BINARY = Exponential(np.exp2, np.log2, np.float32(np.log2(np.e)))


def fastest() -> Exponential:
    """The one that NumPy computes faster: which functions have vector code for this processor is NumPy's to tell.

    exp2's is for AVX-512 alone, and takes half as long as exp there; its plain code takes twice as long as exp.
    """
    try:
        from numpy.lib.introspect import opt_func_info  # from NumPy 2.1 on
    except ImportError:
        return NATURAL
    kinds = opt_func_info(func_name="^exp2$", signature="float32").get("exp2", {}).values()
    plain = all(kind.get("current", "baseline").startswith("baseline") for kind in kinds)
    return NATURAL if plain else BINARY


EXPONENTIAL = fastest()


def attention_forward(qkv: Array, heads: int) -> tuple[Array, Cache]:
    """o = softmax(q k^T / sqrt(D)) v for each head.   qkv (B, T, 3 H D), packed (3, H, D) -> o (B, T, H D)

    The scores are scaled within q, to the exponential's unit as well. The cache has their log-sum-exp, as the
    reference's.
    """
    if qkv.dtype != np.float32:
        return layers.attention_forward(qkv, heads)
    B, T, C = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    D = C // heads
    q, k, v = qkv.reshape(B, T, 3, heads, D).transpose(2, 0, 3, 1, 4)  # (B, H, T, D) each
    o, lse = empty((B, T, C)), np.empty((B, heads, T, 1), np.float32)
    out = o.reshape(B, T, heads, D).transpose(0, 2, 1, 3)
    power, logarithm, unit = EXPONENTIAL
    scale, ones = np.float32(D**-0.5) * unit, np.ones((T, 1), np.float32)

    def task(group):
        group, rows = group
        Q, K, V = q[group][:, :, rows] * scale, k[group], v[group]
        small = np.sqrt(largest_square(Q) * largest_square(K)) < BOUND * unit  # |q k| <= |q| |k|
        for tile in tiles(Q.shape[2], T):
            p = Q[:, :, tile] @ K.swapaxes(-1, -2)  # scores, for now
            top = 0
            if not small:
                top = p.max(axis=-1, keepdims=True)
                p -= top
            power(p, out=p)
            total = p @ ones  # a product, since NumPy's sum takes four times as long
            place = slice(rows.start + tile.start, rows.start + tile.stop)
            np.divide(p @ V, total, out=out[group][:, :, place])
            lse[group][:, :, place] = (top + logarithm(total)) / unit

    # few heads (one or two clips): split their rows as well, if that is worth waking a thread
    cuts = 1 if B * heads >= 4 * threads.count() or 2 * B * T * T * C < SMALL_PRODUCT else threads.count()
    groups = [(group, rows) for group in grouped(B, heads, T) for rows in threads.spans(T, 16, cuts)]
    threads.run(task, groups)
    return o, (qkv, o, lse, heads)


def attention_backward(do: Array, cache: Cache) -> Array:
    """dv = p^T do, dp = do v^T, ds = p (dp - delta), dq = ds k / sqrt(D), dk = ds^T q / sqrt(D) -> dqkv (B, T, 3 H D)

    delta, the row sums of dp * p, equals those of do * o. A tile has some keys and all queries, transposed, so that dk
    and dv of its keys are complete and only dq is summed over tiles. lse and delta are subtracted within the products,
    by an extra column.
    """
    qkv, o, lse, heads = cache
    if qkv.dtype != np.float32:
        return layers.attention_backward(do, cache)
    B, T, C = do.shape
    D = C // heads
    q, k, v = qkv.reshape(B, T, 3, heads, D).transpose(2, 0, 3, 1, 4)  # (B, H, T, D) each
    do, o = (x.reshape(B, T, heads, D).transpose(0, 2, 1, 3) for x in (do, o))
    dqkv = empty(qkv.shape)
    dq, dk, dv = dqkv.reshape(B, T, 3, heads, D).transpose(2, 0, 3, 1, 4)
    power, _, unit = EXPONENTIAL
    scale = np.float32(D**-0.5)

    def task(group):
        Q, K = with_column(q[group], -lse[group] * unit, scale * unit), with_column(k[group], 1)
        V = with_column(v[group], 1)
        delta = np.einsum("bhtd,bhtd->bht", do[group], o[group])[..., None]
        dO = with_column(do[group], -delta)
        dQ = 0
        for tile in tiles(T, T):
            p = K[:, :, tile] @ Q.swapaxes(-1, -2)  # (b, h, keys, T): scores - lse
            power(p, out=p)
            dv[group][:, :, tile] = p @ dO[..., :D]
            ds = V[:, :, tile] @ dO.swapaxes(-1, -2)  # dp - delta
            ds *= p
            np.divide(ds @ Q[..., :D], unit, out=dk[group][:, :, tile])  # Q is scaled already
            dQ += ds.swapaxes(-1, -2) @ K[:, :, tile, :D]
        np.multiply(dQ, scale, out=dq[group])

    threads.run(task, grouped(B, heads, T))
    return dqkv


def with_column(x: Array, column: Array | float, scale: float = 1) -> Array:
    """[x * scale, column]   x (..., D), column (..., 1) or a number -> (..., D + 1)"""
    y = np.empty((*x.shape[:-1], x.shape[-1] + 1), np.float32)
    np.multiply(x, scale, out=y[..., :-1])
    y[..., -1:] = column
    return y


def largest_square(x: Array) -> Array:
    """max |row|^2.   x (..., D) -> scalar"""
    return np.einsum("...d,...d->...", x, x).max()


def grouped(B: int, heads: int, T: int) -> list[tuple[slice, slice]]:
    """Slices (clips, heads), one pair per task: a single head, or several whose scores fit one tile together."""
    room = max(1, TILE // (T * T))
    h = min(heads, room)
    b = max(1, min(room // heads, -(-B // (2 * threads.count()))))
    return [(slice(i, i + b), slice(j, j + h)) for i in range(0, B, b) for j in range(0, heads, h)]


def tiles(n: int, T: int) -> list[slice]:
    """range(n) in slices, so that n x T scores become tiles of about TILE elements."""
    return threads.spans(n, 16, -(-n * T // TILE))
