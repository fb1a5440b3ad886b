"""Every matrix product is done by `gemm`, as every kernel is by `launch`: cuBLAS on a GPU, NumPy in the emulator.

T is float32, float16, or bfloat16 stored as uint16. Sums are always float32. Operands in float32 may be rounded to
TF32, float32 with a mantissa of 10 bits, which tensor cores multiply.
"""

import numpy as np

from ..bfloat16 import from_float32, to_float32
from ..gpu import dry_run
from ..layers import Array
from . import cublas


def gemm(a: Array, b: Array, out: Array, beta: float = 0.0, tf32: bool = False) -> Array:
    """out = a b + beta out, summed in float32 and rounded once.   a (M, K), b (K, N) in T, out (M, N) in T or float32

    Each matrix has one contiguous axis; it may be transposed, with any row stride. tf32: for float32 operands, whether
    they may be rounded to TF32: to nearest here; cuBLAS does not document how it rounds. -> out
    """
    if (recorder := dry_run.current_recorder()) is not None:
        recorder.gemm(a, b, out, beta)
    elif isinstance(out, np.ndarray):
        in_numpy(*(map(round_to_tf32, (a, b)) if tf32 else (a, b)), out, beta)
    else:
        cublas.gemm(a, b, out, beta, tf32)
    return out


def in_numpy(a: Array, b: Array, out: Array, beta: float) -> None:
    """`gemm` for NumPy arrays. Raises ValueError for shapes that do not match."""
    with np.errstate(all="ignore"):  # overflow gives infinity without a warning, as on a GPU
        if out.dtype == np.float32 and not beta:
            np.matmul(to_float32(a), to_float32(b), out=out)
            return
        total = to_float32(a) @ to_float32(b)
        if beta:
            total += np.float32(beta) * to_float32(out)
        out[...] = from_float32(total, out.dtype)


def round_to_tf32(x: np.ndarray) -> np.ndarray:
    """x to the nearest TF32 number, ties away from zero.   float32 of any shape -> the same, 10 bits of mantissa

    Infinity and NaN stay what they are. Source: PTX ISA, cvt.rna.tf32.f32.
    """
    bits = x.view(np.uint32)
    rounded = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(x), rounded, x)
