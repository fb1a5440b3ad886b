"""What the rows about kernels share: where they run, the check, the clock, the two ceilings, and their table.

A time on a GPU is the device's own, between two CUDA events. Before each one a large buffer is filled: that empties the
L2 cache, as a model does between two calls of a kernel, and keeps the GPU busy while Python queues the launches, so
that a short kernel is not timed as the gap before it.
"""

import statistics
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import emulator_build
from ..backend import why_no_gpu
from ..compile import write_between
from ..errors import Error
from .table import Row, Skip, median_of, number, versions

MARKERS = "<!-- bench:kernels:start -->", "<!-- bench:kernels:end -->"
EMULATED, CPU = "emulator", "CPU"  # instead of a GPU's name
LIBRARY = "layers.py on CuPy"  # its column
NO_BFLOAT16 = "no bfloat16"  # CuPy has none: what stands in that column instead of a time
CUPY = "cupy-cuda13x", "cupy-cuda12x"  # the packages it comes in
DTYPES = ("float32", "float16", "bfloat16")
# The largest error over the largest value. float32: sums in another order. 16 bits: half a unit is 2^-11 and 2^-8, and
# intermediate results are rounded too.
TOLERANCE = {"float32": 2e-5, "float16": 3e-3, "bfloat16": 2e-2}


@dataclass
class DeviceRow(Row):
    """A Row that says where it ran. rate: in `rate_unit`, from counts; share: rate over the ceiling's, None if unknown.

    libraries: name -> seconds of the same job; `against` and `theirs` are the fastest of them.
    without: name of a library -> why there is no time of it.
    """

    dtype: str = "float32"
    device: str = ""
    rate: float = 0.0
    rate_unit: str = ""
    share: float | None = None
    ceiling: str = ""
    libraries: dict = field(default_factory=dict)
    without: dict = field(default_factory=dict)


class Place:
    """Where kernels run: CuPy's device, or the emulator with NumPy arrays."""

    def __init__(self, gpu):
        self.gpu, self.xp, self.name, self.flush = gpu, np, EMULATED, None
        if gpu:
            import cupy

            self.xp = cupy
            self.name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
            self.flush = cupy.empty(min(2**30, self.free() // 8), np.uint8)

    def free(self):
        """Bytes of device memory that can still be had."""
        return self.xp.cuda.runtime.memGetInfo()[0] + self.xp.get_default_memory_pool().free_bytes()

    def seconds(self, function, rounds):
        """Median seconds of function() over `rounds`, after two calls that are not counted."""
        if not self.gpu:
            return median_of(function, rounds)
        event, times = self.xp.cuda.Event, []
        for _ in range(rounds + 2):
            start, stop = event(), event()
            self.flush.fill(0)
            start.record()
            function()
            stop.record()
            stop.synchronize()
            times.append(self.xp.cuda.get_elapsed_time(start, stop) / 1000)  # it is in ms
        return statistics.median(times[2:])

    def normal(self, *shape, seed=0):
        """Random float32 numbers, made where they are used."""
        return self.xp.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def place(backend=None):
    """The Place of `--backend`: the GPU unless the emulator is asked for; Skip where there is none."""
    if backend == EMULATED:
        emulator_build.runtime()  # an error here, with the sentence of what is missing, rather than in some row
        return Place(gpu=False)
    if backend not in (None, "cuda"):
        raise Skip(f"kernels run on cuda or the emulator, not on {backend}")
    if why_no_gpu():
        raise Skip("no GPU here")
    return Place(gpu=True)


# -- numbers of 16 bits; bfloat16 travels as uint16 ----------------------------------------------------------------


def cast(x, dtype):
    """float32 -> `dtype`, rounded to the nearest, ties to even."""
    if dtype != "bfloat16":
        return x.astype(dtype)
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def wide(x):
    """`cast` undone, exactly: float32 that the reference can work on."""
    return (x.astype(np.uint32) << 16).view(np.float32) if x.dtype == np.uint16 else x.astype(np.float32, copy=False)


def check(got, wanted, tolerance, what):
    """An error if a result is not the reference's: max |got - wanted| / max |wanted| <= tolerance, on the device."""
    if got.shape != wanted.shape:
        raise Error(f"{what}: the result has shape {got.shape}, the reference's {wanted.shape}: nothing was timed.")
    error = float(abs(wide(got) - wide(wanted)).max()) / max(float(abs(wanted).max()), 1e-30)
    if not error <= tolerance:
        raise Error(f"{what}: differs by {error:.1e} of the largest value from the reference: nothing was timed.")


# -- ceilings ------------------------------------------------------------------------------------------------------


def copy_bandwidth(where, rounds, size=2**30):
    """Bytes read and written a second by a copy of `size` bytes inside the device's memory."""
    a, b = where.xp.zeros(size // 4, np.float32), where.xp.empty(size // 4, np.float32)
    return 2 * size / where.seconds(lambda: where.xp.copyto(b, a), rounds)


def gemm_peak(where, rounds, dtype, n=8192):
    """FLOP/s of cuBLAS on an n x n x n product: float32 without TF32, 16 bits with float32 sums. 2 n^3 FLOP."""
    a, b = (cast(where.normal(n, n, seed=seed), dtype) for seed in (1, 2))
    c = where.xp.empty_like(a)
    product = _gemm_ex(a, b, c) if where.gpu and dtype != "float32" else lambda: where.xp.matmul(a, b, out=c)
    product()
    check(c[:64], wide(a[:64]) @ wide(b), TOLERANCE[dtype], f"GEMM in {dtype}")
    return 2 * n**3 / where.seconds(product, rounds)


def _gemm_ex(a, b, c):
    """c = a b, square, 16 bits, by the call that CuPy's own matmul makes for float16; it has none for bfloat16."""
    import cupy
    from cupy_backends.cuda.libs import cublas

    handle, n = cupy.cuda.device.get_cublas_handle(), len(a)
    kind, compute_32f, default = (2 if a.dtype == np.float16 else 14), 68, -1  # CUDA_R_16F, CUDA_R_16BF; cublas_api.h
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)

    def product():  # cuBLAS counts columns first: c^T = b^T a^T
        A, B, C = b.data.ptr, a.data.ptr, c.data.ptr
        sides = (one.ctypes.data, A, kind, n, B, kind, n, zero.ctypes.data, C, kind, n)
        cublas.gemmEx(handle, 0, 0, n, n, n, *sides, compute_32f, default)

    return product


# -- rows and their table ------------------------------------------------------------------------------------------


def differs(got, wanted, tolerance):
    """ "" or why two tuples of arrays are not the same job's results: a library's is then not timed, and it says so."""
    for g, w in zip(got, wanted, strict=True):
        try:
            check(g, w, tolerance, "")
        except Error as error:
            return str(error).removeprefix(": ").split(" from the reference")[0]
    return ""


def row(where, name, dtype, seconds, amount, unit, ceiling=None, kind="", libraries=None, note="", without=None):
    """A DeviceRow. amount: bytes, FLOP or clips of one call; ceiling: the same a second, of `kind`."""
    scale = 1 if unit == "clips/s" else 1e9
    rate, libraries = amount / seconds / scale, libraries or {}
    share = rate * scale / ceiling if ceiling else None
    against = min(libraries, key=libraries.get, default="")
    theirs = libraries.get(against)
    emulated = "emulated: says nothing about a GPU" if where.name == EMULATED else ""
    missing = [f"{library}: {why}" for library, why in (without or {}).items()]
    notes = [f"{rate:.4g} {unit}", f"{share:.1%} of {kind}" if ceiling else "", note, *missing, emulated]
    return DeviceRow(
        name,
        seconds,
        against=against,
        theirs=theirs,
        ratio=theirs and theirs / seconds,
        note=", ".join(filter(None, notes)),
        dtype=dtype,
        device=where.name,
        rate=rate,
        rate_unit=unit,
        share=share,
        ceiling=f"{kind} {ceiling / 1e9:.0f} {unit}" if ceiling else "",
        libraries=libraries,
        without=without or {},
    )


def measured(rows):
    """Those that a real GPU gave: neither the emulator's, nor a CPU backend's."""
    return [r for r in rows if isinstance(r, DeviceRow) and r.device not in (EMULATED, CPU)]


def wants_kernels(path):
    """Is the table between the file's markers this module's?"""
    try:
        return MARKERS[0] in Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise Error(f"{path}: {error.strerror}.") from None


def refuse(path, backend):
    """An Error, before anything runs, if this command could only put something into a table that was not measured."""
    if backend == EMULATED:
        raise Error(f"{path}: the emulator's times say nothing about a GPU and go into no table; leave out --readme.")
    if wants_kernels(path) and (backend not in (None, "cuda", "cupy") or why_no_gpu()):
        raise Error(f"{path}: its table holds only what a GPU was measured to do, and there is no GPU in this run.")


def markdown(rows, about):
    """The table as it stands in kernels/README.md."""
    names = list(dict.fromkeys(name for r in rows for name in [*r.libraries, *r.without]))
    lines = [
        "| job | type | time | rate | of the ceiling | " + "".join(f"{name} | " for name in names),
        "| --- | --- | ---: | ---: | ---: | " + "---: | " * len(names),
    ]
    for r in rows:
        share = "" if r.share is None else f"{r.share:.0%}"
        cells = [r.name, r.dtype, number(r.ours, "s"), f"{r.rate:.4g} {r.rate_unit}", share]
        for name in names:
            theirs = r.libraries.get(name)
            why = r.without.get(name, "")
            cells.append(why if theirs is None else f"{number(theirs, 's')} ({theirs / r.ours:.2f}x)")
        lines.append("| " + " | ".join(cells) + " |")
    ceilings = "; ".join(dict.fromkeys(r.ceiling for r in rows if r.ceiling))
    facts = ", ".join(f"{name} {value}" for name, value in about.items() if name in ("python", "torch", *CUPY))
    lines[:2] = [line.rstrip() for line in lines[:2]]
    lines += ["", f"{rows[0].device}; {facts}. Medians by CUDA events, from a cold L2 cache. Ceilings: {ceilings}."]
    return "\n".join(lines)


def write_readme(path, rows, about):
    """Put the rows of a real device between the markers; an Error if there are none."""
    if not measured(rows):
        raise Error(f"{path}: nothing was measured on a GPU, so its table stays as it is.")
    write_between(Path(path), MARKERS, markdown(measured(rows), about))


def facts(rows):
    """What a table's conditions say in addition: the GPU, or what stood in for it, and CuPy's version."""
    names = list(dict.fromkeys(r.device for r in rows if isinstance(r, DeviceRow)))
    return {"device": ", ".join(names), **versions(*CUPY)} if names else {}
