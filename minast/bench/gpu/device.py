"""Where kernels run and how they are timed: a GPU, the emulator, or NumPy on the processor. And a GPU's two ceilings.

A GPU's times come from its own clock, between two CUDA events. Before each call a large buffer is filled: that empties
the L2 cache, as a model does between two calls of a kernel, and keeps the GPU busy while Python queues the launches, so
that a short kernel is not timed as the gap before it. Where the launches are part of the job, as for a latency, the GPU
is idle at the start.
"""

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import NamedTuple

import numpy as np

from ...backend import why_no_gpu
from ...bfloat16 import STORAGE, from_float32, to_float32
from ...cuda.gemm import gemm
from ...emulator import build as emulator_build
from ...gpu import plain_memory
from ..checks import check
from ..pytorch import runtime
from ..row import Skip
from ..timing import PAUSE, beside, interleaved

EMULATED, CPU = "emulator", "CPU"  # names of the devices that are no GPU
STAND_IN = "stand-in for CuPy"  # nor is this, which answers as one: tests/gpu.sh --rehearse runs on it
UNREAL = {  # what rows of these say
    EMULATED: "emulated: says nothing about a GPU",
    STAND_IN: "on the stand-in for CuPy: says nothing about a GPU",
}
LIBRARY = "layers.py on CuPy"  # the column of our reference on the GPU
# Why that column is empty: minast stores bfloat16 as uint16, in which layers.py cannot compute. CuPy 14 has a dtype
# bfloat16 where ml_dtypes is installed, which minast does without.
NO_BFLOAT16 = "bfloat16 is uint16"
DTYPES = tuple(STORAGE)
# The largest error over the largest value. float32: sums in another order. 16 bits: half a unit in the last place is
# 2^-11 (float16) and 2^-8 (bfloat16), and intermediate results are rounded too.
TOLERANCE = {"float32": 2e-5, "tf32": 3e-3, "float16": 3e-3, "bfloat16": 2e-2}


class Probes(NamedTuple):
    """flush: bytes of the buffer that empties the L2 cache, at most; copy: bytes of a copy; product: n of a product."""

    flush: int = 2**30
    copy: int = 2**30
    product: int = 8192


TOY_PROBES = Probes(2**16, 2**16, 64)


class Device:
    """The GPU with CuPy's arrays, or the emulator with NumPy's.

    gpu: is it a GPU?; xp: CuPy or NumPy; name: the GPU's, or "emulator"; toy: its times mean nothing, and sizes are
    small.
    """

    pause = 0  # seconds before each call that is not on a GPU: the emulator's times mean nothing
    toy = property(lambda self: not self.gpu or self.name in UNREAL)
    probes = property(lambda self: TOY_PROBES if self.toy else Probes())

    def __init__(self, gpu: bool):
        self.gpu, self.xp, self.name, self.flush = gpu, np, EMULATED, None
        if gpu:
            import cupy

            plain_memory.apply(cupy)
            self.xp = cupy
            self.release()  # what earlier rows and their libraries hold in reserve
            self.name = gpu_name()
            self.flush = cupy.empty(min(self.probes.flush, self.free() // 8), np.uint8)

    def free(self) -> int:
        """Bytes of GPU memory that can still be allocated."""
        return self.xp.cuda.runtime.memGetInfo()[0] + self.xp.get_default_memory_pool().free_bytes()

    def fitting(self, batch: int, bytes_each: int, share: float = 1.0) -> int:
        """The largest of batch, batch / 2, batch / 4, ..., 1 that fits `share` of the free memory of a GPU."""
        while self.gpu and batch > 1 and batch * bytes_each > share * self.free():
            batch //= 2
        return batch

    def interleaved(
        self, functions: Sequence[Callable], rounds: int, idle: bool = False, apart: bool = False
    ) -> np.ndarray:
        """Seconds of each function in each round, the functions alternating.   -> (functions, rounds)

        idle: the GPU has no work left when a call starts, so that its time includes the launches. apart: before each
        call all unused memory is released and the function runs once untimed, so that it allocates what it needs: as if
        each function had the device to itself, although their weights share it.
        """
        if not self.gpu:
            return interleaved(functions, rounds, pause=self.pause)
        times = np.zeros((len(functions), rounds))
        for r in range(-2, rounds):  # two rounds are not counted
            for i, function in enumerate(functions):
                if apart:
                    self.release()
                    function()
                seconds = self.once(function, idle)
                if r >= 0:
                    times[i, r] = seconds
        return times

    def beside(
        self,
        ours: Sequence[Callable],
        calls: Mapping[str, Callable],
        without: dict[str, str],
        rounds: int,
        **how: bool,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`interleaved` for ours and other libraries'.   -> (ours, rounds) seconds, {name: (rounds,) seconds}

        calls: {name: function}. A library that fails, out of memory for example, is left out: without[name] says why,
        and all others are timed again. how: as for `interleaved`.
        """
        return beside(ours, calls, without, partial(self.interleaved, rounds=rounds, **how), self.release)

    def once(self, function: Callable, idle: bool) -> float:
        """Seconds of one call on the GPU's own clock, from a cold L2 cache. idle: as for `interleaved`."""
        start, stop = self.xp.cuda.Event(), self.xp.cuda.Event()
        self.flush.fill(0)
        if idle:
            self.xp.cuda.Device().synchronize()
        start.record()
        function()
        if idle:
            self.xp.cuda.Device().synchronize()  # the result is complete, whatever stream it came on
        stop.record()
        stop.synchronize()
        return self.xp.cuda.get_elapsed_time(start, stop) / 1000  # from ms

    def median(self, function: Callable, rounds: int) -> float:
        """Median seconds of one function."""
        return float(np.median(self.interleaved([function], rounds)[0]))

    def release(self) -> None:
        """Return unused memory to the GPU: CuPy's and PyTorch's pools cannot use each other's."""
        gc.collect()
        if self.gpu:
            self.xp.get_default_memory_pool().free_all_blocks()
            if torch := sys.modules.get("torch"):
                torch.cuda.empty_cache()

    def normal(self, *shape: int, seed: int = 0):
        """Standard normal float32 numbers of this shape, generated on the device."""
        return self.xp.random.default_rng(seed).standard_normal(shape, dtype=np.float32)

    def torch(self) -> ModuleType:
        """PyTorch, to compare with. Raises Skip if it is not installed or has no CUDA."""
        return runtime.with_cuda()

    def copy_bandwidth(self, rounds: int, size: int | None = None) -> float:
        """Bytes per second, read and written, of copying `size` bytes within the device's memory: by default 1 GiB."""
        size = size or self.probes.copy
        a, b = self.xp.zeros(size // 4, np.float32), self.xp.empty(size // 4, np.float32)
        return 2 * size / self.median(lambda: self.xp.copyto(b, a), rounds)

    def gemm_peak(self, rounds: int, dtype: str, n: int | None = None) -> float:
        """FLOP/s of cuBLAS on an n x n x n product, 2 n^3 FLOP: float32 without TF32, all with float32 sums.

        n: by default 8192.
        """
        n = n or self.probes.product
        stored = "float32" if dtype == "tf32" else dtype
        a, b = (cast(self.normal(n, n, seed=seed), stored) for seed in (1, 2))
        c = self.xp.empty_like(a)

        def product():
            return gemm(a, b, c, tf32=dtype == "tf32")

        product()
        check(c[:64], to_float32(a[:64]) @ to_float32(b), TOLERANCE[dtype], f"GEMM in {dtype}")
        return 2 * n**3 / self.median(product, rounds)


class Processor(Device):
    """NumPy on the processor: real times, but of no GPU."""

    pause = PAUSE

    def __init__(self):
        super().__init__(gpu=False)
        self.name = CPU


def gpu_name() -> str:
    """The name of the current GPU."""
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()


def open_device(backend: str | None = None) -> Device:
    """The Device of `--backend`: the GPU, or the emulator if asked for. Raises Skip if it cannot be used."""
    if why := why_not(backend):
        raise Skip(why)
    if backend == EMULATED:
        emulator_build.runtime()  # without a compiler its Error comes here, not in the middle of some row
        return Device(gpu=False)
    return Device(gpu=True)


def why_not(backend: str | None) -> str:
    """ "" where kernels can run with this `--backend`, else why they cannot."""
    if backend == EMULATED:
        return ""
    if backend not in (None, "cuda"):
        return f"kernels run on cuda or the emulator, not on {backend}"
    return f"no GPU here: the backend cuda {why}" if (why := why_no_gpu()) else ""


def cast(x, dtype: str):
    """x (...) float32 -> the dtype of this name, rounded to nearest; bfloat16 as uint16."""
    return from_float32(x, STORAGE[dtype])
