"""Row-wise and element-wise kernels: layer norm, GELU, softmax. T is float32, float16 or bfloat16."""

import numpy as np

from ..errors import Error
from ..gpu.memory import empty
from ..launch import launch
from ..layers import Array, Cache
from .common import (
    GROUPS,
    LAYERNORM_CHUNKS,
    blocks,
    c_type,
    checked_version,
    chunks,
    finish_columns,
    overrides,
    packed,
    rows_of,
)

# -- layer norm ----------------------------------------------------------------------------------------------------


def _narrow(x, *_, **__):
    return x.shape[-1] <= 128 * LAYERNORM_CHUNKS[-1]


@overrides(_narrow)
def layernorm_forward(x: Array, w: Array, b: Array, eps: float = 1e-6, version: int = 1) -> tuple[Array, Cache]:
    """y = (x - mean) * rstd * w + b over the last axis.   x (..., C) in T, w, b (C,) float32 -> y (..., C) in T"""
    (R, C), x = rows_of(x), packed(x)
    y, (mean, rstd) = empty(x, x.shape), (empty(x, (*x.shape[:-1], 1), np.float32) for _ in range(2))
    args = (x, w, b, y, mean, rstd, R, C, float(eps))
    if checked_version(version, 1) == 0:
        launch("layernorm.cu", f"layernorm_plain<{c_type(x)}>", blocks(R, 128), 128, args)
    else:
        launch("layernorm.cu", f"layernorm_forward<{c_type(x)},{chunks(C)}>", blocks(R, 4), (32, 4), args)
    return y, (x, w, mean, rstd)


@overrides(_narrow)
def layernorm_backward(dy: Array, cache: Cache, dw: Array, db: Array) -> Array:
    """dx = rstd * (dn - <dn> - n <dn n>), dn = dy w;  dw += sum dy n,  db += sum dy."""
    x, w, mean, rstd = cache
    R, C = rows_of(x)
    dx, groups = empty(x, x.shape), min(GROUPS, blocks(R, 4))
    partial = empty(x, (2, groups, C), np.float32)
    kernel = f"layernorm_backward<{c_type(x)},{chunks(C)}>"
    launch("layernorm.cu", kernel, groups, (32, 4), (packed(dy), x, w, mean, rstd, dx, partial, R, C))
    finish_columns(partial, (dw, db))
    return dx


# -- GELU ----------------------------------------------------------------------------------------------------------


@overrides()
def gelu_forward(x: Array, kind: str = "erf", bias: Array | None = None, version: int = 1) -> tuple[Array, Cache]:
    """y = z Phi(z), z = x + bias.   x (..., C), bias (C,) float32 or None -> y (..., C)

    Raises minast.Error if `kind` is not "erf" or "tanh".
    """
    x = packed(x)
    y = empty(x, x.shape)
    name, each = ("gelu_plain", 256) if checked_version(version, 1) == 0 else ("gelu_forward", _wide(x))
    kernel = f"{name}<{c_type(x)},{_tanh(kind)}>"
    launch("gelu.cu", kernel, blocks(x.size, each), 256, (x, bias, y, x.size, x.shape[-1]))
    return y, (x, bias, kind)


@overrides()
def gelu_backward(dy: Array, cache: Cache, dbias: Array | None = None, again: Array | None = None) -> Array:
    """dx = dy (Phi(z) + z phi(z));  dbias += sum of dx over rows, before dx is rounded to 16 bits.

    again: an array like x that receives y, recomputed bit for bit. Raises minast.Error if it is given without dbias.
    """
    x, bias, kind = cache
    dx = empty(x, x.shape)
    if again is not None and dbias is None:
        raise Error("gelu_backward recomputes y only together with dbias.")
    if dbias is not None:
        R, C = rows_of(x)
        groups = min(GROUPS, blocks(R, 8))
        partial = empty(x, (groups, C), np.float32)
        args = (packed(dy), x, bias, dx, again, partial, R, C)
        kernel = f"gelu_backward_sums<{c_type(x)},{_tanh(kind)}>"
        launch("gelu.cu", kernel, (blocks(C, 128), groups), (32, 8), args)
        finish_columns(partial[None], (dbias,))
        return dx
    kernel = f"gelu_backward<{c_type(x)},{_tanh(kind)}>"
    launch("gelu.cu", kernel, blocks(x.size, _wide(x)), 256, (packed(dy), x, bias, dx, x.size, x.shape[-1]))
    return dx


def _wide(x):
    """Values of a block of 256 threads that have 16 bytes each."""
    return 256 * 16 // x.itemsize


def _tanh(kind):
    if kind not in ("erf", "tanh"):
        raise Error(f'the kind of GELU is {kind!r}: it must be "erf" or "tanh".')
    return "true" if kind == "tanh" else "false"


# -- softmax -------------------------------------------------------------------------------------------------------


@overrides()
def softmax_forward(x: Array, version: int = 1) -> tuple[Array, Cache]:
    """p = exp(x - max) / sum exp(x - max) over the last axis.   x (..., C) -> p (..., C)"""
    x, (R, C) = packed(x), rows_of(x)
    p = empty(x, x.shape)
    if checked_version(version, 1) == 0:
        launch("softmax.cu", f"softmax_plain<{c_type(x)}>", blocks(R, 128), 128, (x, p, R, C))
    else:
        launch("softmax.cu", f"softmax_forward<{c_type(x)}>", blocks(R, 4), (32, 4), (x, p, R, C))
    return p, (p,)


@overrides()
def softmax_backward(dp: Array, cache: Cache) -> Array:
    """dx = p (dp - sum_c dp p)"""
    (p,), (R, C) = cache, rows_of(dp)
    dx = empty(p, p.shape)
    launch("softmax.cu", f"softmax_backward<{c_type(p)}>", blocks(R, 4), (32, 4), (packed(dp), p, dx, R, C))
    return dx
