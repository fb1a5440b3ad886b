"""A stand-in for CuPy on a machine without a GPU: NumPy arrays behind CuPy's names, with CUDA's order of things.

What it is strict about is what a GPU is strict about:
- A stream does its work in order, and late: what is queued on a stream named in `late` happens only when somebody waits
  for it. Work that is not ordered by an event is so done in the worst order.
- While a stream records a graph nothing happens; a replay does it all, with the recorded addresses and numbers. A look
  at a value, a wait, or CuPy's own cuBLAS in between is an error.
- Fresh memory is full of NaN. While a graph is recorded it must come from a pool of the graph's own.
- Pinned memory is full of NaN again as soon as nobody refers to it: a copy under way reads addresses, not arrays.
- NumPy's arrays and CuPy's do not mix. A function has the parameters that CuPy's has, or fewer.
Kernels run in the emulator, cuBLAS is `libraries.Cublas`, which reads the very addresses it is given.

`install` puts it in place for a test. A process that finds tests/stand_in in front on its PYTHONPATH has it for good.
"""

import sys
import threading
import types
from importlib.machinery import ModuleSpec

import numpy as np

from . import arrays, device, libraries
from .arrays import asarray, ndarray
from .device import CudaError, Stream, state
from .libraries import Cublas

__all__ = ["Cublas", "CudaError", "Stream", "asarray", "install", "modules", "ndarray", "state"]

ARRAYS = (
    "ndarray empty zeros zeros_like empty_like asarray ascontiguousarray arange eye concatenate stack where copyto "
    "einsum"
)
NUMBERS = "float16 float32 float64 int32 int64 uint8 uint16 uint32"
CUDA = "Device Stream Event MemoryPool using_allocator set_allocator get_elapsed_time runtime"


def module(name, **contents):
    """A module of this name, which `import` and find_spec find once it is in sys.modules."""
    made = types.ModuleType(name)
    made.__spec__ = ModuleSpec(name, None, is_package=True)
    made.__dict__.update(contents)
    return made


def modules():
    """{name: module} of everything that minast and its tests import of CuPy."""
    fake = module("cupy", RawModule=libraries.RawModule)
    fake.__dict__.update({name: getattr(np, name) for name in NUMBERS.split()})
    fake.__dict__.update({name: getattr(arrays, name) for name in ARRAYS.split()})
    fake.__dict__.update({name: arrays.ufunc(getattr(np, name)) for name in arrays.UFUNCS.split()})
    fake.get_default_memory_pool = device.get_default_memory_pool
    fake.cuda = module("cupy.cuda", get_current_stream=lambda: state.current)
    fake.cuda.__dict__.update({name: getattr(device, name) for name in CUDA.split()})
    fake.random = module("cupy.random", default_rng=arrays.default_rng)
    fake.fft = module("cupy.fft", rfft=arrays.rfft)
    tricks = module("cupy.lib.stride_tricks", sliding_window_view=arrays.sliding_window_view)
    fake.lib = module("cupy.lib", stride_tricks=tricks)
    special = module("cupyx.scipy.special", erf=arrays.erf)
    scipy = module("cupyx.scipy", special=special)
    cupyx = module("cupyx", empty_pinned=arrays.empty_pinned, scipy=scipy)
    made = (fake, fake.cuda, fake.random, fake.fft, fake.lib, tricks, cupyx, scipy, special)
    return {each.__name__: each for each in made}


def install(monkeypatch, late=None):
    """Make `import cupy` find this, and so minast a GPU. late: see `State.begin`.   -> the Cublas behind products"""
    from minast import launch
    from minast.cuda import cublas
    from minast.gpu import workspaces
    from minast.storage import cache

    state.begin(late)
    for name, made in modules().items():
        monkeypatch.setitem(sys.modules, name, made)
    monkeypatch.setenv("CUPY_CACHE_DIR", str(cache.cache_folder() / "cupy"))  # leave the user's alone
    monkeypatch.setattr(launch, "_functions", {})
    library = Cublas()
    monkeypatch.setattr(cublas, "library", lambda: library)
    monkeypatch.setattr(cublas, "_mine", threading.local())
    monkeypatch.setattr(workspaces, "workspaces", {})
    return library
