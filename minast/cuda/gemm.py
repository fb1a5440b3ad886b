"""The one door to a matrix product, as `launch` is to a kernel: cuBLAS on a GPU, an equal function of NumPy elsewhere.

T is float32, float16, or bfloat16 in the bits of uint16. Sums are float32 in every case.
"""

import numpy as np

from ..gpu import dry_run
from . import cublas


def gemm(a, b, out, beta=0.0):
    """out = a b + beta out, summed in float32 and rounded once.   a (M, K), b (K, N) in T, out (M, N) in T or float32

    Each is a matrix with one contiguous axis: a transpose and rows at any distance are fine.
    """
    if (recorder := dry_run.recorder()) is not None:
        recorder.gemm(a, b, out, beta)
    elif isinstance(out, np.ndarray):
        in_numpy(a, b, out, beta)
    else:
        cublas.gemm(a, b, out, beta)
    return out


def in_numpy(a, b, out, beta):
    with np.errstate(all="ignore"):  # an overflow becomes an infinity, as on a GPU
        if out.dtype == np.float32 and not beta:
            np.matmul(widened(a), widened(b), out=out)
            return
        total = widened(a) @ widened(b)
        if beta:
            total += np.float32(beta) * widened(out)
        out[...] = rounded(total, out.dtype)


def widened(x):
    """float32 of a NumPy array of T or float32."""
    return (x.astype(np.uint32) << 16).view(np.float32) if x.dtype == np.uint16 else x.astype(np.float32, copy=False)


def rounded(x, dtype):
    """float32 -> T by NumPy, to nearest, ties to even; not a number stays that."""
    if dtype != np.uint16:
        return x.astype(dtype, copy=False)
    bits = np.ascontiguousarray(x).view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(x), np.uint32(0x7FFF), nearest).astype(np.uint16)
