"""16-bit floating-point numbers by NumPy or CuPy: float16, and bfloat16, whose bits travel as uint16.

bfloat16 is the upper half of a float32: 8 bits of exponent, 7 of mantissa.
"""

import numpy as np

from .layers import array_module


def to_float32(x):
    """float32 with the values of x, exact.   x (...): uint16 (the bits of bfloat16), float16 or float32"""
    if x.dtype != np.uint16:
        return x.astype(np.float32, copy=False)
    return (x.astype(np.uint32) << 16).view(np.float32)


def from_float32(x, dtype):
    """x (...) float32 to the nearest, ties to even; NaN stays NaN.   dtype: uint16 for bfloat16, else its own"""
    if dtype != np.uint16:
        return x.astype(dtype, copy=False)
    xp = array_module(x)
    bits = xp.ascontiguousarray(x).view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16
    return xp.where(xp.isnan(x), np.uint32(0x7FFF), nearest).astype(np.uint16)
