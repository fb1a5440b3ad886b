"""Linear layers in float32: `gemm` adds each product directly to its result, without temporary arrays."""

import numpy as np

from ..gpu.adding import adding
from ..gpu.memory import empty
from ..layers import Array, Cache
from .common import add_columns, overrides
from .gemm import gemm
from .tokens import spread


def _float32(x, *_, **__):
    return x.dtype == np.float32  # 16-bit layers are half.py's: their weight gradients are float32


@overrides(_float32)
def linear_forward(x: Array, w: Array, b: Array, tf32: bool = False) -> tuple[Array, Cache]:
    """y = x w^T + b.   x (..., C), w (O, C), b (O,) -> y (..., O).   tf32: as for `gemm`"""
    rows = x.reshape(-1, x.shape[-1])
    y = empty(x, (len(rows), len(w)))
    spread(b, y)  # the product is added to it
    gemm(rows, w.T, y, 1.0, tf32)
    return y.reshape(*x.shape[:-1], len(w)), (x, w)


@overrides(_float32)
def linear_backward(dy: Array, cache: Cache, dw: Array, db: Array, tf32: bool = False) -> Array:
    """dx = dy w,  dw += dy^T x,  db += sum of dy over rows.   tf32: as for `gemm`"""
    x, w = cache
    rows, drows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    gemm(drows.T, rows, dw, float(adding()), tf32)
    add_columns(drows, db)
    return gemm(drows, w, empty(x, rows.shape), tf32=tf32).reshape(x.shape)
