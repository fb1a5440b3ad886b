"""Shared by the modules of this package: when a kernel applies, and sums over rows."""

from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import TypeVar

import numpy as np

from .. import layers
from ..errors import Error
from ..gpu.adding import adding
from ..gpu.memory import empty, packed
from ..launch import launch
from ..layers import Array

C_TYPES = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16", "uint16": "__nv_bfloat16"}
HEAD_WIDTHS = (16, 32, 48, 64)
LAYERNORM_CHUNKS = (1, 2, 3, 6, 8)  # of 128 columns; the widths of the presets are 96, 192, 384 and 768
GROUPS = 264  # partial sums per column: two blocks per multiprocessor of an H100; fixed, for reproducible sums

KERNEL_OPTIONS = {  # that the reference's functions do not have
    "version": "there is no version to choose",
    "bias": "the bias would not be added",
    "dbias": "the bias's gradient would not be summed",
    "tf32": "products would not be in TF32",
}
Function = TypeVar("Function", bound=Callable)


def overrides(fits: Callable[..., bool] = lambda *_, **__: True) -> Callable[[Function], Function]:
    """Decorator: a kernel if there is one for dtype and shape, else the function of the same name in layers.py.

    fits: called with the function's arguments. Forward and backward of a pair apply the same conditions to the same
    arrays, so a kernel never gets the reference's cache or the reverse. Raises minast.Error for a gradient of another
    dtype than the forward pass, and where no kernel fits bfloat16 or an option that only kernels have.
    """

    def decorate(function):
        plain = getattr(layers, function.__name__)

        @wraps(function)
        def either(*args, **kwargs):
            x = args[0][0] if isinstance(args[0], tuple) else args[0]  # a loss's backward takes only its cache
            kept = getattr(args[1][0], "dtype", x.dtype) if len(args) > 1 and isinstance(args[1], tuple) else x.dtype
            if kept != x.dtype and {kept.name, x.dtype.name} & C_TYPES.keys():
                raise Error(f"{function.__name__}: the gradient is {x.dtype}, the forward pass was {kept}.")
            if x.dtype.name in C_TYPES and x.size and fits(*args, **kwargs):
                return function(*args, **kwargs)
            if x.dtype.name == "uint16" and x.size:
                raise Error(f"{function.__name__}: no kernel fits bfloat16 {x.shape}, and NumPy cannot compute in it.")
            for option, lacks in KERNEL_OPTIONS.items():
                if kwargs.get(option) is not None:
                    raise Error(f"{function.__name__}: no kernel fits {x.dtype} {x.shape}: {lacks}.")
            if not adding():
                raise Error(f"{function.__name__}: the reference adds to gradients that nobody has set to zero.")
            return plain(*args, **kwargs)

        return either

    return decorate


def fits(dim: int, heads: int) -> bool:
    """Whether there are kernels for all layers of a model of this width and number of heads."""
    return dim % heads == 0 and dim // heads in HEAD_WIDTHS and dim <= 128 * LAYERNORM_CHUNKS[-1]


def checked_version(version: int, last: int) -> int:
    """`version`, if there is a kernel of it. Raises minast.Error unless it is 0 to last."""
    if version not in range(last + 1):
        raise Error(f"version is {version!r}: there are 0 to {last}.")
    return version


def shared_memory(x: Array) -> int:
    """The most shared memory of a block on x's device, in bytes; in the emulator the H100's."""
    return 227 * 1024 if isinstance(x, np.ndarray) else _shared_memory_of(x.device.id)


@cache
def _shared_memory_of(device):
    import cupy  # which asks for a hundred attributes at once

    return cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"]


def blocks(count: int, size: int) -> int:
    """ceil(count / size): blocks of `size` that cover `count`."""
    return -(-count // size)


def c_type(x: Array) -> str:
    """The C type of x's elements: "float", "__half" or "__nv_bfloat16". Raises KeyError for another dtype."""
    return C_TYPES[x.dtype.name]


def rows_of(x: Array) -> tuple[int, int]:
    """(R, C): x (..., C) as a matrix"""
    return x.size // x.shape[-1], x.shape[-1]


def add_columns(x: Array, out: Array, version: int = 1) -> None:
    """out += sum of x over its rows, or = (gpu/adding.py).   x (R, C), out (C,) float32"""
    R, C = x.shape
    if checked_version(version, 1) == 0:
        launch("columns.cu", f"column_sum<{c_type(x)}>", blocks(C, 128), 128, (packed(x), out, R, C, int(adding())))
        return
    groups = min(GROUPS, blocks(R, 8))
    partial = empty(x, (groups, C), np.float32)
    launch("columns.cu", f"column_partials<{c_type(x)}>", (blocks(C, 128), groups), (32, 8), (packed(x), partial, R, C))
    finish_columns(partial[None], (out,))


def finish_columns(partial: Array, outs: Sequence[Array | None]) -> None:
    """outs[i] += sum over groups of partial[i], or = (gpu/adding.py).   partial (n, G, C) float32

    outs: up to three arrays (C,) or None.
    """
    (n, groups, C), (first, second, third) = partial.shape, (*outs, None, None)[:3]
    args = (partial, first, second, third, groups, C, int(adding()))
    launch("columns.cu", "column_finish", (blocks(C, 32), n), (32, 8), args)


def chunks(C: int) -> int:
    """The smallest of LAYERNORM_CHUNKS whose columns hold a row of C values: a template argument of the norms."""
    return next(n for n in LAYERNORM_CHUNKS if 128 * n >= C)
