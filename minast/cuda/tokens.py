"""Kernels for both ends of the encoder: patches to tokens, patchout, pooling of prefix tokens; a bias in all rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..gpu.adding import adding
from ..gpu.memory import empty, packed
from ..launch import launch
from ..layers import Array, Cache
from .common import blocks, c_type, finish_columns, overrides, rows_of

PREFIXES = 2  # prefix tokens that the kernels have pointers for


def _forward_fits(x, prefix, *_, **__):
    return len(prefix) <= PREFIXES


def _backward_fits(dy, cache, dprefix, *_, **__):
    return dy.dtype == np.float32 and len(dprefix) <= PREFIXES


@overrides(_forward_fits)
def tokens_forward(x: Array, prefix: Sequence[Array], pos: Array, bias: Array | None = None) -> tuple[Array, Cache]:
    """y = [prefix, x + bias] + pos.   x (B, N, C), prefix: P arrays (C,), pos (P + N, C), bias (C,) -> y (B, P + N, C)

    x is of any of the three types, everything else float32. bias None: x includes it.
    """
    x, (tokens, C), P = packed(x), pos.shape, len(prefix)
    y = empty(x, (len(x), tokens, C), np.float32)
    grid, args = (blocks(C, 128), blocks(tokens, 8), len(x)), (x, *_pair(prefix), packed(pos), bias, y, tokens, P, C)
    launch("tokens.cu", f"tokens_forward<{c_type(x)}>", grid, (32, 8), args)
    return y, (P,)


@overrides(_backward_fits)
def tokens_backward(
    dy: Array, cache: Cache, dprefix: Sequence[Array], dpos: Array, dbias: Array | None = None, dtype: Any = None
) -> Array:
    """dx = dy without its first P tokens,  dprefix[i] += sum_B dy[:, i],  dpos += sum_B dy,  dbias += sum of dx's rows

    dy (B, P + N, C) float32 -> dx (B, N, C) of `dtype`, default float32; the sums are of dy, in float32, and replace
    what was there where gradients are not added (gpu/adding.py).
    """
    (P,), dy, (B, tokens, C) = cache, packed(dy), dy.shape
    dx, groups = empty(dy, (B, tokens - P, C), dtype), blocks(tokens, 8)
    partial = None if dbias is None else empty(dy, (groups, C))
    args = (dy, dx, *_pair(dprefix), dpos, partial, B, tokens, P, C, int(adding()))
    launch("tokens.cu", f"tokens_backward<{c_type(dx)}>", (blocks(C, 128), groups), (32, 8), args)
    if dbias is not None:
        finish_columns(partial[None], (dbias,))
    return dx


def _pair(prefix):
    return (*prefix, None, None)[:PREFIXES]


def _float32(x, *_, **__):
    return x.dtype == np.float32


@overrides(_float32)
def patchout_forward(x: Array, keep: Array, prefix_tokens: int) -> tuple[Array, Cache]:
    """y = the first P tokens and the patches that stay, y[b, P + i] = x[b, P + keep[b, i]].   -> y (B, P + n, C)

    x (B, P + N, C) float32, keep (B, n) int32, rising in each row.
    """
    x, keep, P = packed(x), packed(keep), prefix_tokens
    (B, tokens, C), stay = x.shape, P + keep.shape[1]
    y = empty(x, (B, stay, C))
    grid, args = (blocks(C, 128), blocks(stay, 8), B), (x, keep, y, tokens, stay, P, C)
    launch("tokens.cu", "patchout_forward", grid, (32, 8), args)
    return y, (x.shape, keep, P)


@overrides(_float32)
def patchout_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy at the tokens that stayed, 0 at those left out.   dy (B, P + n, C) float32 -> dx (B, P + N, C)"""
    (shape, keep, P), dy = cache, packed(dy)
    (B, tokens, C), stay, dx = shape, dy.shape[1], empty(dy, shape)
    grid, args = (blocks(C, 128), blocks(tokens, 8), B), (dy, keep, dx, tokens, stay, P, C)
    launch("tokens.cu", "patchout_backward", grid, (32, 8), args)
    return dx


@overrides()
def pool_forward(x: Array, prefix_tokens: int) -> tuple[Array, Cache]:
    """y = mean of the first `prefix_tokens` tokens.   x (B, T, C) -> y (B, C)"""
    x, (B, T, C) = packed(x), x.shape
    y = empty(x, (B, C))
    args = (x, y, B, T, prefix_tokens, C)
    launch("tokens.cu", f"pool_forward<{c_type(x)}>", (blocks(C, 128), blocks(B, 8)), (32, 8), args)
    return y, (x.shape, prefix_tokens)


@overrides()
def pool_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy / P for the prefix tokens, 0 for all others.   dy (B, C) -> dx (B, T, C)"""
    (B, T, C), P = cache
    dx = empty(dy, (B, T, C))
    grid = (blocks(C, 128), blocks(T, 8), B)
    launch("tokens.cu", f"pool_backward<{c_type(dy)}>", grid, (32, 8), (packed(dy), dx, T, P, C))
    return dx


def spread(bias: Array, y: Array) -> None:
    """y[...] = bias, so that a product can be added to it.   bias (C,) float32, y (..., C) of any of the three types"""
    R, C = rows_of(y)
    launch("tokens.cu", f"spread<{c_type(y)}>", (blocks(R, 8), blocks(C, 128)), (32, 8), (bias, y, R, C))
