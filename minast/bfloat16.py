"""Conversion between float32 and the 16-bit types: float16, and bfloat16, stored as uint16 (NumPy has no such dtype).

bfloat16 is the upper half of a float32: 8 bits of exponent, 7 of mantissa.
"""

import numpy as np

from .layers import Array, array_module

STORAGE = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "bfloat16": np.dtype(np.uint16)}


def to_float32(x: Array) -> Array:
    """x as float32, exactly.   x (...): uint16 (the bits of bfloat16), float16 or float32; float32 is not copied"""
    if x.dtype != np.uint16:
        return x.astype(np.float32, copy=False)
    return (x.astype(np.uint32) << np.uint32(16)).view(np.float32)


def from_float32(x: Array, dtype: np.dtype | type) -> Array:
    """x (...) float32 rounded to nearest, ties to even; NaN stays NaN.   dtype: uint16 means bfloat16"""
    if dtype != np.uint16:
        return x.astype(dtype, copy=False)
    xp = array_module(x)
    bits = xp.ascontiguousarray(x).view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16
    return xp.where(xp.isnan(x), np.uint32(0x7FFF), nearest).astype(np.uint16)
