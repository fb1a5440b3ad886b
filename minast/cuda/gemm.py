"""The one door to a matrix product, as `launch` is to a kernel: cuBLAS on a GPU, an equal function of NumPy elsewhere.

T is float32, float16, or bfloat16 in the bits of uint16. Sums are float32 in every case.
"""

import numpy as np

from ..bfloat16 import from_float32, to_float32
from ..gpu import dry_run
from . import cublas


def gemm(a, b, out, beta=0.0):
    """out = a b + beta out, summed in float32 and rounded once.   a (M, K), b (K, N) in T, out (M, N) in T or float32

    Each is a matrix with one contiguous axis: a transpose and rows at any distance are fine.
    """
    if (recorder := dry_run.current_recorder()) is not None:
        recorder.gemm(a, b, out, beta)
    elif isinstance(out, np.ndarray):
        in_numpy(a, b, out, beta)
    else:
        cublas.gemm(a, b, out, beta)
    return out


def in_numpy(a, b, out, beta):
    with np.errstate(all="ignore"):  # an overflow becomes an infinity, as on a GPU
        if out.dtype == np.float32 and not beta:
            np.matmul(to_float32(a), to_float32(b), out=out)
            return
        total = to_float32(a) @ to_float32(b)
        if beta:
            total += np.float32(beta) * to_float32(out)
        out[...] = from_float32(total, out.dtype)
