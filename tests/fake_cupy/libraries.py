"""What computes behind the stand-in: kernels in the emulator, and cuBLAS."""

import ctypes
from pathlib import Path

import numpy as np

from minast.emulator.run import run
from minast.gpu import kernel_source

from .arrays import plain
from .device import state


class RawModule:
    def __init__(self, code, options, name_expressions):
        files = sorted([*kernel_source.folder().glob("*.cu"), *Path(__file__).parents[1].glob("*.cu")])
        self.source = next(source for source in map(kernel_source.load, files) if source.text == code)

    def get_function(self, name):
        declared, template, name = self.source.split(name)
        return Function(self.source, name, declared.bind(template))


class Function:
    max_dynamic_shared_size_bytes = 48 * 1024

    def __init__(self, *kernel):
        self.kernel = kernel

    def __call__(self, grid, block, args, shared_mem):
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        pointers = [p.pointer for p in self.kernel[2]]
        values = [None if p and isinstance(v, np.uint64) else plain(v) for p, v in zip(pointers, args, strict=True)]
        state.current.do(lambda: run(*self.kernel, grid, block, values, shared_mem))


class Cublas:
    """libcublas as ctypes sees it: multiplies by columns, as cuBLAS does, what lies at the given addresses."""

    TYPES = {0: np.float32, 2: np.float16, 14: np.uint16}  # noqa: RUF012

    def __init__(self):
        self.handles, self.gemms = {}, 0  # handle: its stream and workspace

    def cublasCreate_v2(self, handle):
        with state.lock:
            handle._obj.value = 11 + len(self.handles)
            self.handles[handle._obj.value] = None, None
        return 0

    def cublasSetMathMode(self, handle, mode):
        assert mode == 16
        return 0

    def cublasSetStream_v2(self, handle, stream):
        self.handles[handle.value] = stream, None
        return 0

    def cublasSetWorkspace_v2(self, handle, address, size):
        self.handles[handle.value] = self.handles[handle.value][0], address
        return 0

    def cublasGemmEx(self, handle, ta, tb, m, n, k, alpha, A, at, lda, B, bt, ldb, beta, C, ct, ldc, compute, algo):
        """C (m, n) = alpha op(A) op(B) + beta C, all by columns; parameters as in cuBLAS's manual."""
        from minast.bfloat16 import from_float32, to_float32
        from minast.cuda.gemm import round_to_tf32

        stream, workspace = self.handles[handle.value]
        assert algo == -1 and at == bt and compute in (68, 77)
        assert stream == state.current.ptr and workspace, "on the current stream, with a workspace of its own"
        self.gemms += 1
        one, two = alpha._obj.value, beta._obj.value
        a = self.columns(A, at, lda, *((k, m) if ta else (m, k)))
        b = self.columns(B, bt, ldb, *((n, k) if tb else (k, n)))
        c = self.columns(C, ct, ldc, m, n).T
        right, left = a if ta else a.T, b if tb else b.T
        operand = round_to_tf32 if compute == 77 else to_float32  # 77: CUBLAS_COMPUTE_32F_FAST_TF32

        def multiply():  # C^T = op(B)^T op(A)^T: by rows, as gemm.in_numpy does it, so that BLAS rounds it alike
            with np.errstate(all="ignore"):
                total = one * (operand(left) @ operand(right))
                c[...] = from_float32(total + two * to_float32(c) if two else total, c.dtype)

        state.current.do(multiply)
        return 0

    def columns(self, address, kind, step, rows, count):
        """(rows, count), by columns `step` apart."""
        assert step >= rows
        dtype = np.dtype(self.TYPES[kind])
        size = (step * (count - 1) + rows) * dtype.itemsize
        flat = np.frombuffer((ctypes.c_char * size).from_address(address), dtype)
        return np.lib.stride_tricks.as_strided(flat, (rows, count), (dtype.itemsize, step * dtype.itemsize))
