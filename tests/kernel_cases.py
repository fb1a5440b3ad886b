"""What the kernel tests share: where kernels run, 16-bit numbers, and comparison that says where it failed."""

import os
from contextlib import contextmanager

import numpy as np
import pytest

from minast.backend import why_no_gpu
from minast.cuda.gemm import gemm
from minast.emulator import build as emulator_build
from minast.errors import Error
from minast.gpu import dry_run, memory, plain_memory
from minast.launch import emulation, launch

ORDERS = {  # threads in three orders; arrays with an unreadable page behind them, or before them
    "forward": {"order": "forward", "guard": "end"},
    "reverse": {"order": "reverse", "guard": "start"},
    "random": {"order": "random", "guard": "end", "seed": 20},
}
PLACES = [*ORDERS] + (["cuda"] if why_no_gpu() is None else [])


def need_compiler():
    """Skip a test of the emulator, with the sentence that a user would get, where there is no compiler; in CI fail."""
    try:
        emulator_build.runtime()
    except Error as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


class Noting:
    """Lets everything happen, and writes down the names of kernels and the shapes of products, in order."""

    def __init__(self):
        self.seen = []

    def launch(self, source, kernel, *rest):
        self.seen.append(kernel)
        with dry_run.recording(None):
            launch(source, kernel, *rest)

    def gemm(self, a, b, out, beta):
        self.seen.append(f"{a.shape[0]} x {a.shape[1]} x {b.shape[1]}")
        with dry_run.recording(None):
            gemm(a, b, out, beta)


@contextmanager
def noting():
    """-> a list that fills with what is launched and multiplied meanwhile."""
    with dry_run.recording(Noting()) as recorder:
        yield recorder.seen


@contextmanager
def unwritten_is_nan(xp=np):
    """For a while `xp.empty` and `xp.empty_like` give memory full of NaN, which a kernel must replace.

    Fresh memory often still holds the last call's right results. Of integers it is the largest: NaN as bfloat16's bits.
    """

    def marked(make):
        def filled(*args, **kwargs):
            x = make(*args, **kwargs)
            x[...] = np.nan if x.dtype.kind == "f" else np.iinfo(x.dtype).max if x.dtype.kind in "iu" else 0
            return x

        return filled

    with pytest.MonkeyPatch.context() as patch:
        for name in ("empty", "empty_like"):
            patch.setattr(xp, name, marked(getattr(xp, name)))
        patch.setattr(memory.Arena, "poison", True)
        yield


@pytest.fixture(params=PLACES)
def put(request):
    """NumPy array -> array where kernels run: the emulator in three thread orders, and a GPU if there is one.

    Whatever `memory.empty` takes from uninitialised memory is NaN: a value that no kernel writes fails its test.
    """
    if request.param == "cuda":
        import cupy

        plain_memory.apply(cupy)
        with unwritten_is_nan(cupy):
            yield cupy.asarray
    else:
        need_compiler()
        with emulation(**ORDERS[request.param]), unwritten_is_nan():
            yield np.array  # a copy of its own, so that a test's inputs stay as they were


def get(x):
    """float64 NumPy copy of a result; bfloat16 travels as uint16."""
    x = x if isinstance(x, np.ndarray | np.generic) else x.get()
    if x.dtype == np.uint16:
        x = (x.astype(np.uint32) << 16).view(np.float32)
    return x.astype(np.float64)


def bfloat16(x):
    """float32 -> bits of the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


CASTS = {"float32": lambda x: x.astype(np.float32), "float16": lambda x: x.astype(np.float16), "bfloat16": bfloat16}
ROUNDING = {"float32": 2e-6, "float16": 1e-3, "bfloat16": 8e-3}  # of one result; 2 ** -11 and 2 ** -8 are half a unit


def close(got, want, tolerance, what="result", scale=1e-3):
    """Largest error at most `tolerance` times the largest value, or times `scale` if all are smaller."""
    got, want = get(got), np.asarray(want, np.float64)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    assert np.isfinite(got).all(), f"{what}: {np.sum(~np.isfinite(got))} entries are not finite"
    error = np.abs(got - want)
    limit = tolerance * max(scale, float(np.abs(want).max(initial=0)))
    if error.max(initial=0) > limit:
        at = np.unravel_index(error.argmax(), error.shape)
        bad = int((error > limit).sum())
        raise AssertionError(
            f"{what}{list(map(int, at))}: {got[at]:.8g}, expected {want[at]:.8g}; "
            f"{bad} of {error.size} entries are off by more than {limit:.2g}"
        )


def slope(f, arrays, rng, step=2e-2):
    """Central difference of f() along one random direction of float32 arrays.   -> (slope, the direction's parts)

    In float32 the step is large: rounding of f weighs 1e-7 / step, the fourth-order formula's own error step ** 4.
    """
    originals = [a.copy() for a in arrays]
    directions = [rng.standard_normal(a.shape).astype(np.float32) for a in originals]

    def at(t):
        for a, original, u in zip(arrays, originals, directions, strict=True):
            a[...] = original + np.float32(t) * _like(u, a)
        return float(f())

    numeric = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
    for a, original in zip(arrays, originals, strict=True):
        a[...] = original
    return numeric, directions


def _like(u, a):
    if isinstance(a, np.ndarray):
        return u
    import cupy

    return cupy.asarray(u)
