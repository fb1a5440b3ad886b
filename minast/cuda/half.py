"""Products and fused kernels of 16-bit training: operands of 16 bits, every sum in float32.

T is float16, or bfloat16 in the bits of uint16. One path for CuPy and NumPy: `gemm` is cuBLAS's gemmEx on a GPU, and an
equal function of NumPy in the emulator; kernels go through `launch`. Weight gradients are added in float32, straight
into the flat gradient (gemmEx with beta = 1), and never exist in 16 bits.
Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018.
"""

from math import prod

import numpy as np

from ..gpu.memory import empty, packed
from ..launch import launch
from .common import GROUPS, LAYERNORM_CHUNKS, blocks, c_type, finish_columns, rows_of
from .gemm import gemm

STORAGE = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(np.uint16)}
WIDEST = 128 * 6  # columns of residual.cu's kernels


# -- linear layers: the bias goes into the next kernel, or into attention's ----------------------------------------


def linear_forward(x, w, dtype=None):
    """y = x w^T.   x (..., C), w (O, C) in T -> y (..., O) in T or `dtype`"""
    y = empty(x, (*x.shape[:-1], len(w)), dtype)
    gemm(rows(x), w.T, rows(y))
    return y, (x, w)


def linear_backward(dy, cache, dw, dtype=None, to_input=True):
    """dx = dy w in T or `dtype`,  dw += dy^T x in float32. The bias's gradient is a column sum, made elsewhere."""
    x, w = cache
    add_to_weight(dy, x, dw)
    return input_gradient(dy, w, dtype) if to_input else None


def add_to_weight(dy, x, dw):
    """dw += dy^T x in float32.   dy (..., O), x (..., C) in T, dw (O, C)"""
    gemm(rows(dy).T, rows(x), dw, 1.0)


def input_gradient(dy, w, dtype=None):
    """dx = dy w.   dy (..., O), w (O, C) in T -> dx (..., C) in T or `dtype`"""
    dx = empty(dy, (*dy.shape[:-1], w.shape[1]), dtype)
    gemm(rows(dy), w, rows(dx))
    return dx


def rows(x):
    """x (..., C) as a matrix"""
    return x.reshape(-1, x.shape[-1])


# -- kernels/residual.cu -----------------------------------------------------------------------------------------------


def narrow(x, dtype, out=None):
    """x (...) float32 -> the same in T."""
    x = packed(x)
    out = empty(x, x.shape, dtype) if out is None else out
    launch("residual.cu", f"narrow<{c_type(out)}>", blocks(x.size, 1024), 256, (x, out, x.size))
    return out


def residual_norm_forward(x, branch, bias, w, b, eps, dtype, prefix=None):
    """y = x + branch + bias, and n = layernorm(y) w + b.   -> (y, n), cache

    x, y (..., C) float32, branch, n (..., C) of `dtype`, T or float32, bias, w, b (C,) float32. branch and bias None: y
    is x itself. prefix: of x (B, tokens, C) only the first so many tokens of each clip; the others are (B, prefix, C).
    """
    x = packed(x)
    shape = x.shape if prefix is None else (len(x), prefix, x.shape[-1])
    (R, C), tokens = (prod(shape[:-1]), shape[-1]), 0 if prefix is None else x.shape[1]
    y = x if branch is None and prefix is None else empty(x, shape)
    n, mean, rstd = empty(x, shape, dtype), empty(x, R), empty(x, R)
    args = (x, branch, bias, w, b, None if y is x else y, n, mean, rstd, R, C, tokens, prefix or 0, float(eps))
    launch("residual.cu", f"residual_norm_forward<{c_type(n)},{_chunks(C)}>", blocks(R, 4), (32, 4), args)
    return (y, n), (y, w, mean, rstd)


def residual_norm_backward(dn, dy, cache, dw, db, dbias=None):
    """dx = dy + gradient through the norm.   dn (..., C) in T, dy (..., C) float32 -> dx float32, dbranch = dx in T

    dw += sum dn z,  db += sum dn,  dbias += sum dx over rows, z the normalised y. dbias None: there was no branch, and
    dbranch is None. dy may be None, for zeros, or (B, prefix, C) where dn is (B, tokens, C): zero from there on.
    """
    y, w, mean, rstd = cache
    R, C = rows_of(y)
    groups = min(GROUPS, blocks(R, 4))
    tokens, prefix = (0, 0) if dy is None or dy.shape == y.shape else (y.shape[1], dy.shape[1])
    dx, partial = empty(y, y.shape), empty(y, (3, groups, C))
    dbranch = None if dbias is None or dn.dtype == np.float32 else empty(y, y.shape, dn.dtype)
    dy = dy if dy is None else packed(dy)
    args = (packed(dn), dy, y, w, mean, rstd, dx, dbranch, partial, R, C, tokens, prefix)
    launch("residual.cu", f"residual_norm_backward<{c_type(dn)},{_chunks(C)}>", groups, (32, 4), args)
    finish_columns(partial, (dw, db, dbias))
    return dx, dx if dbranch is None and dbias is not None else dbranch


def _chunks(C):
    return next(n for n in LAYERNORM_CHUNKS if 128 * n >= C)
