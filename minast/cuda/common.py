"""What the modules of this package share: which kernel fits, and sums over rows."""

from functools import wraps

import numpy as np

from .. import layers
from ..errors import Error
from ..gpu.memory import empty, packed
from ..launch import launch

C_TYPES = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16", "uint16": "__nv_bfloat16"}
HEAD_WIDTHS = (16, 32, 48, 64)
LAYERNORM_CHUNKS = (1, 2, 3, 6, 8)  # of 128 columns; the widths of the presets are 96, 192, 384 and 768
GROUPS = 264  # partial sums per column: two blocks for each multiprocessor of an H100; fixed, so that sums repeat


KERNELS_ALONE = {  # what the reference's functions do not take
    "version": "there is no version to choose",
    "bias": "nobody adds the bias",
    "dbias": "nobody sums the bias's gradient",
}


def overrides(fits=lambda *_, **__: True):
    """Decorator: the kernel where dtype and shape have one, else the function of the same name in layers.py.

    Forward and backward of a pair ask the same of the same arrays, so a cache never meets the wrong one of the two;
    a gradient of another type than the forward pass, which could send them different ways, is refused.
    """

    def decorate(function):
        plain = getattr(layers, function.__name__)

        @wraps(function)
        def either(*args, **kwargs):
            x = args[0][0] if isinstance(args[0], tuple) else args[0]  # a loss's backward has only its cache
            kept = getattr(args[1][0], "dtype", x.dtype) if len(args) > 1 and isinstance(args[1], tuple) else x.dtype
            if kept != x.dtype and {kept.name, x.dtype.name} & C_TYPES.keys():
                raise Error(f"{function.__name__}: the gradient is {x.dtype}, the forward pass was {kept}.")
            if x.dtype.name in C_TYPES and x.size and fits(*args, **kwargs):
                return function(*args, **kwargs)
            if x.dtype.name == "uint16" and x.size:
                raise Error(
                    f"{function.__name__}: no kernel fits bfloat16 {x.shape}, and plain array code cannot read it."
                )
            for option, lacks in KERNELS_ALONE.items():
                if kwargs.get(option) is not None:
                    raise Error(f"{function.__name__}: no kernel fits {x.dtype} {x.shape}: {lacks}.")
            return plain(*args, **kwargs)

        return either

    return decorate


def fits(dim, heads):
    """Whether there are kernels for all layers of a model of this width."""
    return dim % heads == 0 and dim // heads in HEAD_WIDTHS and dim <= 128 * LAYERNORM_CHUNKS[-1]


def checked_version(version, last):
    """A version of which there is a kernel: 0 to last."""
    if version not in range(last + 1):
        raise Error(f"version is {version!r}: there are 0 to {last}.")
    return version


def blocks(count, size):
    return -(-count // size)


def c_type(x):
    return C_TYPES[x.dtype.name]


def rows_of(x):
    """(number of rows, their length) of x (..., C)"""
    return x.size // x.shape[-1], x.shape[-1]


def add_columns(x, out, version=1):
    """out += sum of x over its rows.   x (R, C), out (C,) float32"""
    R, C = x.shape
    if checked_version(version, 1) == 0:
        launch("columns.cu", f"column_sum<{c_type(x)}>", blocks(C, 128), 128, (packed(x), out, R, C))
        return
    groups = min(GROUPS, blocks(R, 8))
    partial = empty(x, (groups, C), np.float32)
    launch("columns.cu", f"column_partials<{c_type(x)}>", (blocks(C, 128), groups), (32, 8), (packed(x), partial, R, C))
    finish_columns(partial[None], (out,))


def finish_columns(partial, outs):
    """outs[i] += sum over groups of partial[i].   partial (n, G, C) float32, outs: up to three (C,), or None"""
    (n, groups, C), (first, second, third) = partial.shape, (*outs, None, None)[:3]
    launch("columns.cu", "column_finish", (blocks(C, 32), n), (32, 8), (partial, first, second, third, groups, C))
