"""What the rows about a GPU share: where they run, the check before the timing, the clock, the two ceilings.

A time on a GPU is the device's own, between two CUDA events. Before each one a large buffer is filled: that empties the
L2 cache, as a model does between two calls of a kernel, and keeps the GPU busy while Python queues the launches, so
that a short kernel is not timed as the gap before it. Where the launches are part of the job, as for a latency, the
GPU is idle when it begins.
"""

import gc
import sys

import numpy as np

from ...backend import why_no_gpu
from ...bfloat16 import from_float32, to_float32
from ...cuda.gemm import gemm
from ...emulator import build as emulator_build
from ...errors import Error
from ..table import PAUSE, Skip, interleaved

EMULATED, CPU = "emulator", "CPU"  # instead of a GPU's name
LIBRARY = "layers.py on CuPy"  # its column
NO_BFLOAT16 = "no bfloat16"  # CuPy has none: what stands in that column instead of a time
STORAGE = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}
DTYPES = tuple(STORAGE)
# The largest error over the largest value. float32: sums in another order. 16 bits: half a unit is 2^-11 and 2^-8, and
# intermediate results are rounded too.
TOLERANCE = {"float32": 2e-5, "float16": 3e-3, "bfloat16": 2e-2}


class Place:
    """Where kernels run: CuPy's device, or the emulator with NumPy arrays."""

    pause = 0  # before a turn that is no GPU's: the emulator's times mean nothing

    def __init__(self, gpu):
        self.gpu, self.xp, self.name, self.flush = gpu, np, EMULATED, None
        if gpu:
            import cupy

            self.xp = cupy
            self.release()  # what earlier rows and their libraries keep in reserve
            self.name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
            self.flush = cupy.empty(min(2**30, self.free() // 8), np.uint8)

    def free(self):
        """Bytes of device memory that can still be had."""
        return self.xp.cuda.runtime.memGetInfo()[0] + self.xp.get_default_memory_pool().free_bytes()

    def turns(self, functions, rounds, idle=False, apart=False):
        """Seconds of each function in each round, all taking turns.   -> (functions, rounds)

        idle: the GPU has nothing left to do when a turn begins, so that its time holds the launches as well. apart:
        before each turn the memory that all others keep in reserve is given back, and one call that is not timed
        fetches the turn's own: as if each had the device to itself, though their weights share it.
        """
        if not self.gpu:
            return interleaved(functions, rounds, pause=self.pause)
        times = np.zeros((len(functions), rounds))
        for r in range(-2, rounds):  # two that are not counted
            for i, function in enumerate(functions):
                if apart:
                    self.release()
                    function()
                seconds = self.once(function, idle)
                if r >= 0:
                    times[i, r] = seconds
        return times

    def once(self, function, idle):
        """Seconds of one call on the GPU's own clock."""
        start, stop = self.xp.cuda.Event(), self.xp.cuda.Event()
        self.flush.fill(0)
        if idle:
            self.xp.cuda.Device().synchronize()
        start.record()
        function()
        if idle:
            self.xp.cuda.Device().synchronize()  # the result is there, on whatever stream it came
        stop.record()
        stop.synchronize()
        return self.xp.cuda.get_elapsed_time(start, stop) / 1000  # it is in ms

    def seconds(self, function, rounds):
        """Median seconds of one function."""
        return float(np.median(self.turns([function], rounds)[0]))

    def release(self):
        """Give memory that nobody uses back to the device: CuPy's and PyTorch's, which take none from each other."""
        gc.collect()
        if self.gpu:
            self.xp.get_default_memory_pool().free_all_blocks()
            if torch := sys.modules.get("torch"):
                torch.cuda.empty_cache()

    def normal(self, *shape, seed=0):
        """Random float32 numbers, made where they are used."""
        return self.xp.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


class Cpu(Place):
    """NumPy on the processor: real times, of no GPU."""

    pause = PAUSE

    def __init__(self):
        super().__init__(gpu=False)
        self.name = CPU


def place(backend=None):
    """The Place of `--backend`: the GPU unless the emulator is asked for; Skip where there is none."""
    if why := why_not(backend):
        raise Skip(why)
    if backend == EMULATED:
        emulator_build.runtime()  # an error here, with the sentence of what is missing, rather than in some row
        return Place(gpu=False)
    return Place(gpu=True)


def why_not(backend):
    """ "" where kernels can be run and timed with this `--backend`, else why not."""
    if backend == EMULATED:
        return ""
    if backend not in (None, "cuda"):
        return f"kernels run on cuda or the emulator, not on {backend}"
    return f"no GPU here: the backend cuda {why}" if (why := why_no_gpu()) else ""


# -- numbers of 16 bits; bfloat16 travels as uint16 ----------------------------------------------------------------


def cast(x, dtype):
    """float32 -> the type of this name, rounded to the nearest."""
    return from_float32(x, STORAGE[dtype])


def check(got, wanted, tolerance, what):
    """An error if a result is not the reference's: max |got - wanted| / max |wanted| <= tolerance, on the device."""
    if got.shape != wanted.shape:
        raise Error(f"{what}: the result has shape {got.shape}, the reference's {wanted.shape}: nothing was timed.")
    error = float(abs(to_float32(got) - to_float32(wanted)).max()) / max(float(abs(wanted).max()), 1e-30)
    if not error <= tolerance:
        raise Error(f"{what}: differs by {error:.1e} of the largest value from the reference: nothing was timed.")


def differs(got, wanted, tolerance):
    """ "" or why two tuples of arrays are not the same job's results: a library's is then not timed, and it says so."""
    for g, w in zip(got, wanted, strict=True):
        try:
            check(g, w, tolerance, "")
        except Error as error:
            return str(error).removeprefix(": ").split(" from the reference")[0]
    return ""


# -- ceilings ------------------------------------------------------------------------------------------------------


def copy_bandwidth(where, rounds, size=2**30):
    """Bytes read and written a second by a copy of `size` bytes inside the device's memory."""
    a, b = where.xp.zeros(size // 4, np.float32), where.xp.empty(size // 4, np.float32)
    return 2 * size / where.seconds(lambda: where.xp.copyto(b, a), rounds)


def gemm_peak(where, rounds, dtype, n=8192):
    """FLOP/s of cuBLAS on an n x n x n product: float32 without TF32, 16 bits with float32 sums. 2 n^3 FLOP."""
    a, b = (cast(where.normal(n, n, seed=seed), dtype) for seed in (1, 2))
    c = where.xp.empty_like(a)

    def product():
        return gemm(a, b, c)

    product()
    check(c[:64], to_float32(a[:64]) @ to_float32(b), TOLERANCE[dtype], f"GEMM in {dtype}")
    return 2 * n**3 / where.seconds(product, rounds)
