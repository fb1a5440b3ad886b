"""Products and fused kernels for 16-bit training: 16-bit operands, all sums in float32.

T is float16, or bfloat16 stored as uint16. CuPy and NumPy share all code: products go through `gemm`, kernels through
`launch`. Weight gradients are accumulated in float32 directly in the flat gradient; they never exist in 16 bits.
Source: Micikevicius et al. 2018, "Mixed precision training", section 3.
"""

from math import prod
from typing import Any

import numpy as np

from ..gpu.adding import adding
from ..gpu.memory import empty, packed
from ..launch import launch
from ..layers import Array, Cache
from .common import GROUPS, blocks, c_type, chunks, finish_columns, rows_of
from .gemm import gemm

WIDEST = 128 * 6  # columns that residual.cu's kernels can have


# -- linear layers: the bias is added by the kernel that reads the output ------------------------------------------


def linear_forward(x: Array, w: Array, dtype: Any = None) -> tuple[Array, Cache]:
    """y = x w^T.   x (..., C), w (O, C) in T -> y (..., O) in T or `dtype`"""
    y = empty(x, (*x.shape[:-1], len(w)), dtype)
    gemm(rows(x), w.T, rows(y))
    return y, (x, w)


def linear_backward(dy: Array, cache: Cache, dw: Array, dtype: Any = None, to_input: bool = True) -> Array | None:
    """dx = dy w in T or `dtype`, None without `to_input`;  dw += dy^T x in float32. db is summed elsewhere."""
    x, w = cache
    add_to_weight(dy, x, dw)
    return input_gradient(dy, w, dtype) if to_input else None


def add_to_weight(dy: Array, x: Array, dw: Array) -> None:
    """dw += dy^T x in float32, or = (gpu/adding.py).   dy (..., O), x (..., C) in T, dw (O, C)"""
    gemm(rows(dy).T, rows(x), dw, float(adding()))


def input_gradient(dy: Array, w: Array, dtype: Any = None) -> Array:
    """dx = dy w.   dy (..., O), w (O, C) in T -> dx (..., C) in T or `dtype`"""
    dx = empty(dy, (*dy.shape[:-1], w.shape[1]), dtype)
    gemm(rows(dy), w, rows(dx))
    return dx


def rows(x: Array) -> Array:
    """x (..., C) as a matrix (R, C)"""
    return x.reshape(-1, x.shape[-1])


# -- kernels/residual.cu -----------------------------------------------------------------------------------------------


def narrow(x: Array, dtype: Any, out: Array | None = None) -> Array:
    """x (...) float32 rounded to the 16-bit `dtype`, in `out` if given."""
    x = packed(x)
    out = empty(x, x.shape, dtype) if out is None else out
    launch("residual.cu", f"narrow<{c_type(out)}>", blocks(x.size, 1024), 256, (x, out, x.size))
    return out


def residual_norm_forward(
    x: Array,
    branch: Array | None,
    bias: Array | None,
    w: Array,
    b: Array,
    eps: float,
    dtype: Any,
    prefix: int | None = None,
) -> tuple[tuple[Array, Array], Cache]:
    """y = x + branch + bias, and n = layernorm(y) w + b.   -> (y, n), cache

    x, y (..., C) float32, branch, n (..., C) of `dtype`, T or float32, bias, w, b (C,) float32. branch and bias None: y
    is x. prefix: use only this many first tokens of each clip of x (B, tokens, C); the others are (B, prefix, C).
    """
    x = packed(x)
    shape = x.shape if prefix is None else (len(x), prefix, x.shape[-1])
    (R, C), tokens = (prod(shape[:-1]), shape[-1]), 0 if prefix is None else x.shape[1]
    y = x if branch is None and prefix is None else empty(x, shape)
    n, mean, rstd = empty(x, shape, dtype), empty(x, R), empty(x, R)
    args = (x, branch, bias, w, b, None if y is x else y, n, mean, rstd, R, C, tokens, prefix or 0, float(eps))
    launch("residual.cu", f"residual_norm_forward<{c_type(n)},{chunks(C)}>", blocks(R, 4), (32, 4), args)
    return (y, n), (y, w, mean, rstd)


def residual_norm_backward(
    dn: Array, dy: Array | None, cache: Cache, dw: Array, db: Array, dbias: Array | None = None
) -> tuple[Array, Array | None]:
    """dx = dy + gradient through the norm.   dn (..., C) in T, dy (..., C) float32 -> dx float32, dbranch = dx in T

    dw += sum dn z,  db += sum dn,  dbias += sum dx over rows, z the normalised y. dbias None: there was no branch, and
    dbranch is None. dy None means zeros; a dy (B, prefix, C) for dn (B, tokens, C) is zero for the other tokens.
    """
    y, w, mean, rstd = cache
    R, C = rows_of(y)
    groups = min(GROUPS, blocks(R, 4))
    tokens, prefix = (0, 0) if dy is None or dy.shape == y.shape else (y.shape[1], dy.shape[1])
    dx, partial = empty(y, y.shape), empty(y, (3, groups, C))
    dbranch = None if dbias is None or dn.dtype == np.float32 else empty(y, y.shape, dn.dtype)
    dy = dy if dy is None else packed(dy)
    args = (packed(dn), dy, y, w, mean, rstd, dx, dbranch, partial, R, C, tokens, prefix)
    launch("residual.cu", f"residual_norm_backward<{c_type(dn)},{chunks(C)}>", groups, (32, 4), args)
    finish_columns(partial, (dw, db, dbias))
    return dx, dx if dbranch is None and dbias is not None else dbranch
