"""cuBLAS by ctypes: one matrix product, with our own handle and one workspace per stream.

CuPy has cuBLAS too, but refuses to call it during CUDA graph capture and resets the workspace in every call. With our
own workspaces a product can be captured without allocating memory for the graph.
Sources: NVIDIA's cuBLAS manual, sections "CUDA Graphs Support", cublasSetWorkspace, cublasGemmEx; cupy issue 6290.
"""

import ctypes
import functools
import threading

from ..errors import Error
from ..gpu import workspaces
from ..layers import Array

CUDA_TYPES = {"float32": 0, "float16": 2, "uint16": 14, "bfloat16": 14}  # cudaDataType: CUDA_R_32F, _16F, _16BF
COMPUTE_32F, COMPUTE_32F_FAST_TF32, DEFAULT_ALGORITHM = 68, 77, -1
FLOAT32_SUMS = 16  # CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION: partial sums are not rounded to 16 bits

_int, _pointer = ctypes.c_int, ctypes.c_void_p
SIGNATURES = {
    "cublasCreate_v2": (_pointer,),
    "cublasSetStream_v2": (_pointer, _pointer),
    "cublasSetWorkspace_v2": (_pointer, _pointer, ctypes.c_size_t),
    "cublasSetMathMode": (_pointer, _int),
    "cublasGemmEx": (
        *(_pointer, _int, _int, _int, _int, _int),  # handle, op(A), op(B), m, n, k
        *(
            _pointer,
            _pointer,
            _int,
            _int,
            _pointer,
            _int,
            _int,
        ),  # alpha, A, its type, stride, B, its type, stride
        *(_pointer, _pointer, _int, _int, _int, _int),  # beta, C, its type, stride, compute type, algorithm
    ),
}
STATUS = {1: "not initialised", 3: "out of memory", 7: "invalid value", 8: "this GPU lacks it", 13: "execution failed",
          14: "internal error", 15: "not supported"}  # fmt: skip


@functools.cache
def library() -> ctypes.CDLL:
    """The cuBLAS that CuPy has loaded, with signatures for the functions used here. Raises minast.Error without one."""
    import cupy
    from cupy_backends.cuda.libs import cublas  # noqa: F401  loads the library, from wherever CuPy finds it

    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    for name in (f"libcublas.so.{major}", f"cublas64_{major}.dll"):
        try:
            found = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        raise Error(f"cuBLAS of CUDA {major} was not found: pip install 'cupy-cuda{major}x[ctk]'.")
    for function, arguments in SIGNATURES.items():
        getattr(found, function).argtypes, getattr(found, function).restype = arguments, _int
    return found


def call(function: str, *arguments) -> None:
    """library().function(*arguments). Raises minast.Error with cuBLAS's status if it fails."""
    if status := getattr(library(), function)(*arguments):
        raise Error(f"{function} failed: {STATUS.get(status, 'status')} ({status}).")


class Handle:
    """cuBLAS's state on one device, for one thread."""

    def __init__(self):
        self.pointer, self.now = ctypes.c_void_p(), None
        call("cublasCreate_v2", ctypes.byref(self.pointer))  # scalars are passed from the host: the default
        call("cublasSetMathMode", self.pointer, FLOAT32_SUMS)

    def on(self, stream: int) -> "Handle":
        """Use this stream (its address) from now on.   -> self"""
        now = stream, workspaces.workspace(stream).data.ptr  # both: a new stream may get the address of an old one
        if now != self.now:
            call("cublasSetStream_v2", self.pointer, stream)  # this resets the workspace
            call("cublasSetWorkspace_v2", self.pointer, now[1], workspaces.BYTES)
            self.now = now
        return self


_mine = threading.local()


def handle() -> Handle:
    """This thread's Handle for the current device, on the current stream."""
    import cupy

    handles, device = _mine.__dict__, cupy.cuda.Device().id
    if device not in handles:
        handles[device] = Handle()
    return handles[device].on(cupy.cuda.get_current_stream().ptr)


ONE = ctypes.c_float(1.0)


def gemm(a: Array, b: Array, out: Array, beta: float = 0.0, tf32: bool = False) -> None:
    """out = a b + beta out on the GPU.   a (M, K), b (K, N) in T, out (M, N) in T or float32

    Each has one contiguous axis. cuBLAS is column-major: its out^T = b^T a^T is out = a b in row-major memory. Shapes
    are not checked. tf32: float32 operands may be rounded to TF32. Raises minast.Error with cuBLAS's status if it
    fails.
    """
    (M, K), N = a.shape, b.shape[1]
    (b_flag, b_step), (a_flag, a_step), (_, out_step) = layout(b), layout(a), layout(out)
    T, O = CUDA_TYPES[a.dtype.name], CUDA_TYPES[out.dtype.name]
    call(
        "cublasGemmEx", handle().pointer, b_flag, a_flag, N, M, K,
        ctypes.byref(ONE), b.data.ptr, T, b_step, a.data.ptr, T, a_step,
        ctypes.byref(ctypes.c_float(beta)), out.data.ptr, O, out_step,
        COMPUTE_32F_FAST_TF32 if tf32 else COMPUTE_32F, DEFAULT_ALGORITHM,
    )  # fmt: skip


def layout(x: Array) -> tuple[int, int]:
    """(cuBLAS's operation flag for the column-major x^T: 0 plain, 1 transposed; its leading dimension in elements)"""
    steps = [s // x.itemsize if n > 1 else 1 for s, n in zip(x.strides, x.shape, strict=True)]
    if steps[1] == 1:
        return 0, max(steps[0], x.shape[1])
    assert steps[0] == 1, "a matrix of gemm has one contiguous axis"
    return 1, max(steps[1], x.shape[0])
