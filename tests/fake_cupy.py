"""A stand-in for CuPy on a machine without a GPU: NumPy arrays behind CuPy's names, with CUDA's order of things.

What it is strict about is what a GPU is strict about:
- A stream does its work in order, and late: what is queued on a stream named in `late` happens only when somebody waits
  for it. Work that is not ordered by an event is so done in the worst order.
- While a stream records a graph nothing happens; a replay does it all, with the recorded addresses and numbers. A look
  at a value, a wait, or CuPy's own cuBLAS in between is an error.
- Fresh memory is full of NaN. While a graph is recorded it must come from a pool of the graph's own.
- Pinned memory is full of NaN again as soon as nobody refers to it: a copy under way reads addresses, not arrays.
Kernels run in the emulator, cuBLAS is `Cublas` below, which reads the very addresses it is given.
"""

import ctypes
import sys
import threading
import types
import weakref

import numpy as np

from minast.emulator.run import run
from minast.gpu import kernel_source


class CudaError(Exception):
    pass


class Stream:
    """What happens on it: a list of functions still to be called. `null` is the stream of those who name none."""

    def __init__(self, non_blocking=False, late=None):
        self.queue, self.recording, self.capturable = [], None, non_blocking
        self.late = state.late_streams if late is None else late
        self.ptr = id(self)

    def __enter__(self):
        state.streams.append(self)
        return self

    def __exit__(self, *_):
        state.streams.pop()

    def do(self, work):
        if self.recording is not None:
            self.recording.append(work)
        elif self.late:
            with state.lock:
                self.queue.append(work)
        else:
            work()

    def drain(self, count=None):
        """Do what was queued, up to the count-th entry ever."""
        state.forbidden("a wait")
        with state.lock:
            while self.queue and (count is None or self.done < count):
                self.done += 1
                self.queue.pop(0)()

    done = 0

    def synchronize(self):
        self.drain()

    def record(self, event=None):
        event = event or Event()
        event.stream, event.count = self, self.done + len(self.queue)
        return event

    def wait_event(self, event):
        if event.stream is not None and event.stream is not self:
            self.do(event.happen)

    def begin_capture(self, mode=None):
        if not self.capturable:
            raise CudaError("cudaErrorStreamCaptureUnsupported: the legacy stream cannot be recorded")
        self.recording = []

    def end_capture(self):
        recorded, self.recording = self.recording, None
        return Graph(recorded)

    def is_capturing(self):
        return self.recording is not None


class Event:
    stream = count = None

    def happen(self):
        """All that was queued before it was recorded."""
        self.stream.drain(self.count)

    def synchronize(self):
        if self.stream is not None:
            self.happen()


class Graph:
    def __init__(self, work):
        self.work, self.launches = work, 0
        state.graphs.add(self)

    def launch(self, stream=None):
        self.launches += 1
        (stream or state.current).do(lambda: [work() for work in self.work])


class State(threading.local):
    """What CUDA keeps for a thread: its current stream and allocator. Everything else is the device's, for all threads.

    Other threads begin on the null stream. `lock`: one thread at a time changes what is queued.
    """

    lock = threading.RLock()
    null = allocator = None
    current = property(lambda self: self.streams[-1] if self.streams else State.null)

    def __init__(self):
        self.streams = []

    def begin(self, late):
        """A fresh device. late: which streams lag: "compute" the null stream, "copy" the others, "all", or None."""
        State.late_streams = late in ("copy", "all")
        State.null = Stream(late=late in ("compute", "all"))
        State.default = "the default pool"
        State.allocated = State.bytes = 0  # arrays and their bytes, so far
        State.kept, State.graphs = [], weakref.WeakSet()  # the latter: those that somebody can still replay
        self.streams, self.allocator = [], None

    def forbidden(self, what):
        if self.current.recording is not None:
            raise CudaError(f"cudaErrorStreamCaptureInvalidated: {what} while a graph is recorded")


state = State()
state.begin(None)


class MemoryPool:
    def malloc(self, size):
        return size


class using_allocator:
    def __init__(self, allocator):
        self.allocator = allocator

    def __enter__(self):
        self.outer, state.allocator = state.allocator, self.allocator

    def __exit__(self, *_):
        state.allocator = self.outer


def set_allocator(allocator):
    """For all threads, where no context has another. A pool is CuPy's default; None: each array from the driver."""
    State.default = allocator


class Data:
    def __init__(self, ptr):
        self.ptr = ptr


class Device:
    id = 0
    compute_capability = "90"
    attributes = {"MaxSharedMemoryPerBlockOptin": 227 * 1024}  # noqa: RUF012


class ndarray:
    """A NumPy array `a` that is only touched in the order of the streams."""

    __module__ = "cupy"
    __array_priority__ = 100
    device = Device()

    def __init__(self, a):
        self.a = a

    shape, dtype, size, ndim, strides, itemsize, nbytes, flags = (
        property(lambda self, name=name: getattr(self.a, name))
        for name in ("shape", "dtype", "size", "ndim", "strides", "itemsize", "nbytes", "flags")
    )
    T = property(lambda self: ndarray(self.a.T))
    data = property(lambda self: Data(self.a.ctypes.data))

    def __len__(self):
        return len(self.a)

    def __getitem__(self, at):
        found = self.a[at]
        return ndarray(found if isinstance(found, np.ndarray) else self.a[at : at + 1].reshape(()))

    def __setitem__(self, at, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")  # as CuPy says
        state.current.do(lambda: self.a.__setitem__(at, plain(value)))

    def reshape(self, *shape):
        seen = self.a.reshape(*shape)
        return ndarray(seen) if np.may_share_memory(seen, self.a) else fresh(lambda a: a.reshape(*shape), self)

    def view(self, dtype):
        return ndarray(self.a.view(dtype))

    def copy(self):
        return fresh(lambda a: a.copy(), self)

    def astype(self, dtype, copy=True):
        return self if not copy and self.dtype == dtype else fresh(lambda a: a.astype(dtype), self)

    def get(self):
        state.forbidden("a copy to the host")
        state.current.drain()
        return self.a.copy()

    def set(self, x, stream=None):
        assert x.flags.c_contiguous and x.dtype == self.dtype and x.shape == self.shape
        address, size = x.ctypes.data, x.nbytes
        if size == 0:
            return

        def copy():  # reads what lies there by then
            there = np.frombuffer((ctypes.c_char * size).from_address(address), self.dtype)
            self.a[...] = there.reshape(self.shape)

        (stream or state.current).do(copy)

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")


def plain(x):
    return x.a if isinstance(x, ndarray) else x


def fresh(function, *inputs, **named):
    """A new array of function(inputs), which is computed when its turn comes."""
    if any(isinstance(x, np.ndarray) and x.ndim for x in inputs):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    shape = function(*map(plain, inputs), **named)  # the values may be too early
    out = empty(np.shape(shape), np.asarray(shape).dtype)
    state.current.do(lambda: out.a.__setitem__(..., function(*map(plain, inputs), **named)))
    return out


def _operator(name):
    function = getattr(np.ndarray, name)
    return lambda self, *others: fresh(lambda a, *bs: function(np.asarray(a), *bs), self, *others)


def _in_place(name):
    def run(self, other):
        if isinstance(other, np.ndarray) and other.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        state.current.do(lambda: getattr(self.a, name)(plain(other)))
        return self

    return run


for _name in ("ge", "lt", "and", "rshift", "lshift"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _name in ("add", "sub", "mul", "truediv"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
    setattr(ndarray, f"__r{_name}__", _operator(f"__r{_name}__"))
    setattr(ndarray, f"__i{_name}__", _in_place(f"__i{_name}__"))
for _function in (np.sum, np.mean, np.max, np.min):
    setattr(ndarray, _function.__name__, lambda self, _f=_function, **how: fresh(_f, self, **how))


def _matmul(*_):
    state.forbidden("calling cuBLAS API: it")
    raise NotImplementedError("products go through minast.cuda.gemm")


ndarray.__matmul__ = ndarray.__rmatmul__ = _matmul


def empty(shape, dtype=float):
    State.allocated += 1
    State.bytes += int(np.prod(shape)) * np.dtype(dtype).itemsize
    if state.allocator is None and state.current.recording is not None:
        raise CudaError("what a graph replays would lie in memory that others get")
    out = aligned(shape, dtype)
    out.reshape(-1).view(np.uint8)[...] = 0xFF  # NaN in all floating types
    state.kept.append(out)  # a device's memory stays mapped when an array goes, and late work may still use it
    made = ndarray(out)
    made.pool, made.plain = state.allocator, state.allocator is None and State.default is None
    return made


def aligned(shape, dtype):
    """As CuPy's memory: starts on 512 bytes. The emulator's arrays lie on 256; some BLAS libraries round by address."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + 512, np.uint8)
    skip = -raw.ctypes.data % 512
    return raw[skip : skip + size].view(dtype).reshape(shape)


def empty_pinned(shape, dtype=float):
    """Memory that stays mapped, and is overwritten when the array and its views are gone."""
    memory = np.empty(max(1, int(np.prod(shape))), dtype)
    state.kept.append(memory)
    mine = np.frombuffer(memoryview(memory), dtype, int(np.prod(shape)))
    weakref.finalize(mine, memory.view(np.uint8).fill, 0xFF)
    return mine.reshape(shape)


def zeros(shape, dtype=float):
    out = empty(shape, dtype)
    state.current.do(lambda: out.a.fill(0))
    return out


def zeros_like(x):
    return zeros(x.shape, x.dtype)


def empty_like(x):
    return empty(x.shape, x.dtype)


def isnan(x):
    return fresh(np.isnan, x)


def square(x, dtype=None):
    return fresh(np.square, x, dtype=dtype)


def asarray(x, dtype=None):
    if isinstance(x, ndarray):
        return x if dtype is None or x.dtype == dtype else x.astype(dtype)
    state.forbidden("a copy from the host")
    x = np.asarray(x, dtype)
    out = aligned(x.shape, x.dtype)
    out[...] = x
    return ndarray(out)


def ascontiguousarray(x, dtype=None):
    x = asarray(x, dtype)
    return x if x.flags.c_contiguous else x.copy()


def concatenate(arrays):
    return fresh(lambda *parts: np.concatenate(parts), *arrays)


def where(condition, x, y):
    return fresh(np.where, condition, x, y)


class RawModule:
    def __init__(self, code, options, name_expressions):
        files = sorted(kernel_source.folder().glob("*.cu"))
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


def install(monkeypatch, late=None):
    """Make `import cupy` find this, and minast believe in a GPU.   -> the Cublas that products reach"""
    from minast import backend, launch
    from minast.cuda import cublas
    from minast.gpu import workspaces
    from minast.storage import cache

    state.begin(late)
    fake = types.ModuleType("cupy")
    for name in (
        "ndarray",
        "empty",
        "zeros",
        "zeros_like",
        "empty_like",
        "isnan",
        "square",
        "asarray",
        "ascontiguousarray",
        "concatenate",
        "where",
        "RawModule",
    ):
        setattr(fake, name, globals()[name])
    fake.float32, fake.float64, fake.uint8 = np.float32, np.float64, np.uint8
    fake.cuda = types.SimpleNamespace(
        Device=Device, Stream=Stream, Event=Event, MemoryPool=MemoryPool, using_allocator=using_allocator,
        set_allocator=set_allocator,
        get_current_stream=lambda: state.current,
        runtime=types.SimpleNamespace(getDeviceCount=lambda: 1, runtimeGetVersion=lambda: 13000),
    )  # fmt: skip
    cupyx = types.ModuleType("cupyx")
    cupyx.empty_pinned = empty_pinned
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    monkeypatch.setattr(backend, "why_no_gpu", lambda: None)
    monkeypatch.setenv("CUPY_CACHE_DIR", str(cache.cache_folder() / "cupy"))  # leave the user's alone
    monkeypatch.setattr(launch, "_functions", {})
    library = Cublas()
    monkeypatch.setattr(cublas, "library", lambda: library)
    monkeypatch.setattr(cublas, "_mine", threading.local())
    monkeypatch.setattr(workspaces, "workspaces", {})
    return library
