"""cuBLAS by ctypes: one product, with a handle of our own on every stream.

CuPy has cuBLAS too, but refuses to call it while a CUDA graph is being recorded, and resets the workspace with every
call. A workspace that is ours, one a stream, lets a product be part of a graph without memory of the graph's own.
Sources: NVIDIA's cuBLAS manual, sections "CUDA Graphs Support", cublasSetWorkspace, cublasGemmEx; cupy issue 6290.
"""

import ctypes
import functools
import threading

import numpy as np

from ..errors import Error

CUDA_TYPES = {"float32": 0, "float16": 2, "uint16": 14, "bfloat16": 14}  # cudaDataType: CUDA_R_32F, _16F, _16BF
COMPUTE_32F, DEFAULT_ALGORITHM = 68, -1
FLOAT32_SUMS = 16  # CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION: parts of a sum are not added in 16 bits either
WORKSPACE = 32 * 2**20  # bytes a stream: what the manual recommends for compute capability 9.0; elsewhere less would do

_int, _pointer = ctypes.c_int, ctypes.c_void_p
SIGNATURES = {
    "cublasCreate_v2": (_pointer,),
    "cublasSetStream_v2": (_pointer, _pointer),
    "cublasSetWorkspace_v2": (_pointer, _pointer, ctypes.c_size_t),
    "cublasSetMathMode": (_pointer, _int),
    "cublasGemmEx": (
        *(_pointer, _int, _int, _int, _int, _int),  # handle, op(A), op(B), m, n, k
        *(_pointer, _pointer, _int, _int, _pointer, _int, _int),  # alpha, A, its type, its step, B, its type, its step
        *(_pointer, _pointer, _int, _int, _int, _int),  # beta, C, its type, its step, compute type, algorithm
    ),
}
STATUS = {1: "not initialised", 3: "out of memory", 7: "invalid value", 8: "this GPU lacks it", 13: "execution failed",
          14: "internal error", 15: "not supported"}  # fmt: skip


@functools.cache
def library():
    """The cuBLAS that CuPy has loaded, with the signatures of what is used here."""
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
        raise Error(f"cuBLAS of CUDA {major} is not found beside CuPy: pip install 'cupy-cuda{major}x[ctk]'.")
    for function, arguments in SIGNATURES.items():
        getattr(found, function).argtypes, getattr(found, function).restype = arguments, _int
    return found


def call(function, *arguments):
    """library().function(*arguments), or an Error that says what cuBLAS did not like."""
    if status := getattr(library(), function)(*arguments):
        raise Error(f"{function} failed: {STATUS.get(status, 'status')} ({status}).")


workspaces = {}  # (device, stream) -> memory, for good: recorded graphs have its address in them


def workspace(stream):
    """Of one stream of the current device; two threads on one stream take turns at it, as the stream's work does."""
    import cupy

    key = cupy.cuda.Device().id, stream
    if key not in workspaces:
        with cupy.cuda.using_allocator(None):  # from no pool, which might be a graph's own
            workspaces[key] = cupy.empty(WORKSPACE, np.uint8)
    return workspaces[key]


class Handle:
    """cuBLAS's state on one device, for one thread."""

    def __init__(self):
        self.pointer, self.stream = ctypes.c_void_p(), None
        call("cublasCreate_v2", ctypes.byref(self.pointer))  # scalars lie on the host: the default
        call("cublasSetMathMode", self.pointer, FLOAT32_SUMS)

    def on(self, stream):
        """Work goes to this stream (its address) from now on."""
        if stream != self.stream:
            call("cublasSetStream_v2", self.pointer, stream)  # this one takes the workspace away
            call("cublasSetWorkspace_v2", self.pointer, workspace(stream).data.ptr, WORKSPACE)
            self.stream = stream
        return self


_mine = threading.local()


def handle():
    """This thread's Handle for the current device, on the current stream."""
    import cupy

    handles, device = _mine.__dict__, cupy.cuda.Device().id
    if device not in handles:
        handles[device] = Handle()
    return handles[device].on(cupy.cuda.get_current_stream().ptr)


ONE = ctypes.c_float(1.0)


def gemm(a, b, out, beta=0.0):
    """out = a b + beta out on the GPU.   a (M, K), b (K, N) in T, out (M, N) in T or float32

    Each has a contiguous axis. cuBLAS counts by columns: what it takes for out^T = b^T a^T
    lies in memory as out = a b does in rows.
    """
    (M, K), N = a.shape, b.shape[1]
    (b_flag, b_step), (a_flag, a_step), (_, out_step) = layout(b), layout(a), layout(out)
    T, O = CUDA_TYPES[a.dtype.name], CUDA_TYPES[out.dtype.name]
    call(
        "cublasGemmEx", handle().pointer, b_flag, a_flag, N, M, K,
        ctypes.byref(ONE), b.data.ptr, T, b_step, a.data.ptr, T, a_step,
        ctypes.byref(ctypes.c_float(beta)), out.data.ptr, O, out_step, COMPUTE_32F, DEFAULT_ALGORITHM,
    )  # fmt: skip


def layout(x):
    """(cuBLAS's flag of x seen as its transpose: 0 plain or 1 transposed, distance of its rows in elements)"""
    steps = [s // x.itemsize if n > 1 else 1 for s, n in zip(x.strides, x.shape, strict=True)]
    if steps[1] == 1:
        return 0, max(steps[0], x.shape[1])
    assert steps[0] == 1, "a matrix of gemm has one contiguous axis"
    return 1, max(steps[1], x.shape[0])
