"""Arrays of the stand-in, and the functions that make them, with the parameters that CuPy's have."""

import ctypes
import weakref

import numpy as np

from .device import Data, Device, State, state

REFUSED = "Unsupported type <class 'numpy.ndarray'>"  # as CuPy says


def plain(x):
    """The NumPy array behind an array; in an index, behind each of its parts."""
    if isinstance(x, tuple):
        return tuple(map(plain, x))
    return x.a if isinstance(x, ndarray) else x


def refuse_host(*inputs):
    if any(isinstance(x, np.ndarray) and x.ndim for x in inputs):
        raise TypeError(REFUSED)


def fresh(function, *inputs, **named):
    """A new array of function(inputs), which is computed when its turn comes; or out, with the result in it."""
    refuse_host(*inputs)
    out, given = named.pop("out", None), plain(inputs)

    def compute():
        with np.errstate(all="ignore"):  # a GPU does not warn
            return np.asarray(function(*given, **named))

    if out is not None:
        if not isinstance(out, ndarray):
            raise TypeError("output arguments must be cupy.ndarray")
        into = plain(out)
        state.current.do(lambda: np.copyto(into, compute(), casting="same_kind"))
        return out
    early = compute()  # while others are late, only its shape and type are right
    out = empty(early.shape, early.dtype)
    into = plain(out)
    if state.current.prompt:
        into[...] = early
    else:
        state.current.do(lambda: into.__setitem__(..., compute()))
    return out


class ndarray:
    """A NumPy array `a` that is only touched in the order of the streams.

    memory: what it and its views hold on to. Queued work does not: it has addresses, as a GPU's has.
    """

    __module__ = "cupy"
    __array_priority__ = 100
    device = Device()

    def __init__(self, a, memory=None):
        self.a, self.memory = a, memory

    def _seen(self, a):
        """A view of the same memory."""
        return ndarray(a, self.memory)

    shape, dtype, size, ndim, strides, itemsize, nbytes, flags = (
        property(lambda self, name=name: getattr(self.a, name))
        for name in ("shape", "dtype", "size", "ndim", "strides", "itemsize", "nbytes", "flags")
    )
    T, real, imag = (
        property(lambda self, name=name: self._seen(getattr(self.a, name))) for name in ("T", "real", "imag")
    )
    data = property(lambda self: Data(self.a.ctypes.data))

    def __len__(self):
        return len(self.a)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, at):
        """A view; a new array where an index is an array or a list."""
        at = at if isinstance(at, tuple) else (at,)
        at = tuple(asarray(x) if isinstance(x, list | np.ndarray) else x for x in at)
        if any(isinstance(x, ndarray) for x in at):
            return fresh(lambda a, *at: a[at], self, *at)
        at = at if any(x is ... for x in at) else (*at, ...)  # one number is an array as well
        return self._seen(self.a[at])

    def __setitem__(self, at, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")  # as CuPy says
        a, at, value = plain((self, at, value))
        state.current.do(lambda: a.__setitem__(at, value))

    def reshape(self, *shape):
        a = self.a.reshape(*shape)
        return self._seen(a) if np.may_share_memory(a, self.a) else fresh(lambda a: a.reshape(*shape), self)

    def ravel(self):
        return self.reshape(-1)

    def transpose(self, *axes):
        return self._seen(self.a.transpose(*axes))

    def swapaxes(self, axis1, axis2):
        return self._seen(self.a.swapaxes(axis1, axis2))

    def view(self, dtype):
        return self._seen(self.a.view(dtype))

    def fill(self, value):
        self[...] = value

    def copy(self):
        return fresh(lambda a: a.copy(), self)

    def astype(self, dtype, copy=True):
        return self if not copy and self.dtype == dtype else fresh(lambda a: a.astype(dtype), self)

    def get(self):
        state.forbidden("a copy to the host")
        state.current.drain()
        return self.a.copy()

    def set(self, arr, stream=None):
        assert arr.flags.c_contiguous and arr.dtype == self.dtype and arr.shape == self.shape
        address, size, a = arr.ctypes.data, arr.nbytes, self.a
        if size == 0:
            return

        def copy():  # reads what lies there by then
            a[...] = np.frombuffer((ctypes.c_char * size).from_address(address), a.dtype).reshape(a.shape)

        (stream or state.current).do(copy)

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        return fresh(np.sum, self, axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def mean(self, axis=None, dtype=None, out=None, keepdims=False):
        return fresh(np.mean, self, axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def max(self, axis=None, out=None, keepdims=False):
        return fresh(np.max, self, axis=axis, out=out, keepdims=keepdims)

    def min(self, axis=None, out=None, keepdims=False):
        return fresh(np.min, self, axis=axis, out=out, keepdims=keepdims)

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __bool__(self):
        return bool(self.get())

    def __matmul__(self, other):
        state.forbidden("calling cuBLAS API: it")
        return fresh(np.matmul, self, other)

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")


ndarray.__hash__ = None


def _operator(name):
    function = getattr(np.ndarray, name)
    return lambda self, *others: fresh(lambda a, *bs: function(np.asarray(a), *bs), self, *others)


def _in_place(name):
    def run(self, other):
        refuse_host(other)
        a, other = plain((self, other))

        def change():
            with np.errstate(all="ignore"):
                getattr(a, name)(other)

        state.current.do(change)
        return self

    return run


for _name in ("neg", "abs", "eq", "ne", "ge", "gt", "le", "lt", "and", "or", "rshift", "lshift", "pow"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _name in ("add", "sub", "mul", "truediv"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
    setattr(ndarray, f"__r{_name}__", _operator(f"__r{_name}__"))
    setattr(ndarray, f"__i{_name}__", _in_place(f"__i{_name}__"))


class Memory:
    """Lives as long as the arrays on it."""


def empty(shape, dtype=float):
    """Memory full of NaN. It stays mapped when its arrays are gone, since late work may still use it, as on a device.

    From then on it is others': what its own stream does later overwrites it. So it is full of NaN again when that
    stream comes so far, unless the driver gets it, which waits for everybody.
    """
    allocator, free = state.allocate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    out, memory, pool = aligned(shape, dtype), Memory(), getattr(allocator, "__self__", None)
    State.allocated += 1
    State.bytes += out.nbytes
    raw = out.reshape(-1).view(np.uint8)
    raw[...] = 0xFF  # NaN in all floating types
    state.kept.append(out)
    weakref.finalize(memory, gone, raw, free, pool, state.current, state.current.recording).atexit = False
    made = ndarray(out, memory)
    made.pool, made.plain = pool, allocator is None
    return made


def gone(raw, free, pool, stream, recording):
    """All arrays on this memory are gone. recording: what `stream` recorded when the memory was allocated."""
    free()
    if pool is State.pool or (recording is not None and stream.recording is recording):
        stream.do(lambda: raw.fill(0xFF))


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
    out.fill(0)
    return out


def zeros_like(a, dtype=None):
    return zeros(a.shape, dtype or a.dtype)


def empty_like(prototype, dtype=None):
    return empty(prototype.shape, dtype or prototype.dtype)


def from_host(x):
    """NumPy's array on the device, at once."""
    state.forbidden("a copy from the host")
    out = empty(x.shape, x.dtype)
    out.a[...] = x
    return out


def asarray(a, dtype=None):
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == dtype else a.astype(dtype)
    return from_host(np.asarray(a, dtype))


def ascontiguousarray(a, dtype=None):
    a = asarray(a, dtype)
    return a if a.flags.c_contiguous else a.copy()


def arange(start, stop=None, step=1, dtype=None):
    return fresh(lambda: np.arange(start, stop, step, dtype) if stop is not None else np.arange(start, dtype=dtype))


def eye(N, M=None, k=0, dtype=float):
    return fresh(lambda: np.eye(N, M, k, dtype))


def concatenate(tup, axis=0):
    return fresh(lambda *parts: np.concatenate(parts, axis), *tup)


def stack(tup, axis=0):
    return fresh(lambda *parts: np.stack(parts, axis), *tup)


def where(condition, x, y):
    return fresh(np.where, condition, x, y)


def copyto(dst, src):
    refuse_host(dst)
    fresh(lambda x: np.broadcast_to(x, dst.shape), src, out=dst)


def einsum(subscripts, *operands):
    state.forbidden("calling cuBLAS API: it")
    return fresh(lambda *arrays: np.einsum(subscripts, *arrays), *operands)


def sliding_window_view(x, window_shape, axis=None):
    return x._seen(np.lib.stride_tricks.sliding_window_view(x.a, window_shape, axis))


def rfft(a, n=None, axis=-1):
    state.forbidden("making a plan of cuFFT: it")
    return fresh(lambda x: np.fft.rfft(x, n, axis), a)


def erf(x):
    from scipy import special

    return fresh(special.erf, x)


def ufunc(function):
    """CuPy's function of the same name."""

    def run(*inputs, out=None, dtype=None):
        return fresh(lambda *xs: function(*xs, dtype=dtype), *inputs, out=out)

    return run


UFUNCS = "abs divide exp isnan log log1p maximum multiply sqrt square tanh"


class Generator:
    """Random numbers; which, is not the same as CuPy's."""

    def __init__(self, seed):
        self.numpy = np.random.default_rng(seed)

    def standard_normal(self, size=None, dtype=np.float64):
        return from_host(np.asarray(self.numpy.standard_normal(size, dtype)))

    def random(self, size=None, dtype=np.float64):
        return from_host(np.asarray(self.numpy.random(size, dtype)))


def default_rng(seed=None):
    return Generator(seed)
