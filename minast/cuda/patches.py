"""Patches by kernels: unfolding a spectrogram, and the adjoint."""

from typing import Any

import numpy as np

from ..gpu.memory import empty, packed
from ..launch import launch
from ..layers import Array, Cache
from .common import blocks, c_type, checked_version, overrides, shared_memory


def _whole_patches(x, fstride, tstride, size=16, *_, **__):
    return x.dtype.name != "uint16" and size == 16 and min(x.shape[1:]) >= 16


@overrides(_whole_patches)
def unfold_forward(
    x: Array, fstride: int, tstride: int, size: int = 16, version: int | None = None, dtype: Any = None
) -> tuple[Array, Cache]:
    """Overlapping patches, flattened, in x's type or `dtype`.   x (B, T, F) -> patches (B, N, 256)

    version: by default 1, or 0 where 16 frames of so many mel bins are too much for the device's shared memory.

    The kernel reads float32; a float16 spectrogram is converted first, exactly. x cannot be bfloat16, patches can.
    Raises ValueError if T or F is below 16, minast.Error for a bfloat16 x. See kernels/unfold.cu.
    """
    dtype = dtype or x.dtype
    x = packed(x.astype(np.float32, copy=False))
    B, T, F = x.shape
    gf, gt = (F - size) // fstride + 1, (T - size) // tstride + 1
    patches = empty(x, (B, gf * gt, size * size), dtype)
    args = (x, patches, T, F, gf, gt, fstride, tstride)
    pitch = blocks(F, 32) * 32 + 2  # keeps the gather of four frames free of bank conflicts
    if version is None:
        version = 1 if 4 * size * pitch <= shared_memory(x) else 0
    if checked_version(version, 1) == 0:
        launch("unfold.cu", f"unfold_plain<{c_type(patches)}>", blocks(patches.size, 256), 256, (*args, patches.size))
    else:
        launch("unfold.cu", f"unfold_strip<{c_type(patches)}>", (gt, B), 256, (*args, pitch), 4 * size * pitch)
    return patches, (x.shape, fstride, tstride, size)


@overrides(lambda dpatches, cache: cache[3] == 16)
def unfold_backward(dpatches: Array, cache: Cache) -> Array:
    """The adjoint: each entry of dx is the sum over all patches that contain it.   (B, N, 256) -> (B, T, F) float32

    dpatches may be of any of the three types; sums and dx are float32, like x in the kernel.
    """
    (B, T, F), fstride, tstride, size = cache
    dx = empty(dpatches, (B, T, F), np.float32)
    gf, gt = (F - size) // fstride + 1, (T - size) // tstride + 1
    grid, args = (blocks(F, 32), blocks(T, 32), B), (packed(dpatches), dx, T, F, gf, gt, fstride, tstride)
    launch("unfold.cu", f"unfold_gather<{c_type(dpatches)}>", grid, (32, 8), args)
    return dx
