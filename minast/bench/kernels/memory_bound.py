"""The kernels that only move memory: GB/s, and the share of what a plain copy reaches on the same device.

Bytes are those that must move, each input read once and each result written once. What a kernel moves beyond that (a
second pass, partial sums) lowers its figure, as it should.

Beside ours, in the same dtype: the reference's own code on CuPy, which
cannot compute in our bfloat16, as those cells say; and PyTorch, which has a function for nearly every job in all three
dtypes. A library's result is checked before it is timed; where it differs, as 16-bit sums may, the cell says that
instead.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ..checks import check, differences
from ..gpu.device import DTYPES, LIBRARY, NO_BFLOAT16, TOLERANCE, Device, open_device
from ..gpu.rows import DeviceRow, Goal, row
from ..libraries import errors_as_skips
from ..pytorch import runtime
from ..pytorch.kernels import TORCH
from ..row import Skip, each
from .cases import cases
from .cases.case import REAL, TOY, Case, Sizes

COPY = "the measured copy"
SHARE = Goal("80 %", 0.8)  # of the copy's bandwidth
WITH_GOAL = [f"{name}, version 1" for name in ("unfold", "layer norm", "bias + GELU", "Adam")]  # those the model uses
PER_CLIP = 2**29  # bytes: GELU's arrays, those of the reference, and its temporaries


def sizes(device: Device) -> Sizes:
    """The real sizes, with fewer clips on a GPU with less memory; toy sizes for the emulator."""
    return TOY if device.toy else Sizes(B=device.fitting(REAL.B, PER_CLIP))


def libraries(device: Device, case: Case, wanted: tuple, dtype: str) -> tuple[dict[str, Callable], dict[str, str]]:
    """({library: function to call}, {library: why there is none}) of a case; each is checked against `wanted`."""
    calls, without, jobs = {}, {}, {}
    if not device.gpu:
        return calls, without
    try:
        make = partial(case.torch, device.torch())
        jobs[TORCH] = make, lambda results: [runtime.to_array(device.xp, r) for r in results]
    except Skip as reason:
        without[TORCH] = str(reason)
    if dtype == "float32":
        jobs[LIBRARY] = lambda: case.wanted, None  # the reference itself; last, since Adam's continues from `wanted`
    elif dtype == "float16":
        jobs[LIBRARY] = case.half, tuple
    else:
        without[LIBRARY] = NO_BFLOAT16
    for library, (make, arrays) in jobs.items():
        try:
            with errors_as_skips():
                call = make()
                wrong = differences(arrays(call()), wanted, TOLERANCE[dtype]) if arrays else ""
        except Skip as reason:
            wrong = str(reason)
        if wrong:
            without[library] = wrong
        else:
            calls[library] = call
    return calls, without


def measure(
    device: Device, s: Sizes, rounds: int, dtypes: Sequence[str] = DTYPES, only: Sequence[Case] | None = None
) -> list[DeviceRow]:
    """The rows of all cases at Sizes s, or of `only` these, each checked first.

    Raises Error if a kernel of ours differs from the reference.
    """
    return list(each(makers(device, s, rounds, dtypes, only)))


def makers(
    device: Device, s: Sizes, rounds: int, dtypes: Sequence[str] = DTYPES, only: Sequence[Case] | None = None
) -> Iterator[tuple[str, Callable[[], DeviceRow]]]:
    """(what it measures, a function that measures it) of each row; the arguments are those of `measure`."""
    ceiling = device.copy_bandwidth(rounds) if device.gpu else None
    for dtype in dtypes:
        for case in cases(device, s, dtype) if only is None else only:
            yield f"{case.name}, {dtype}", partial(one, device, case, dtype, rounds, ceiling)


def one(device: Device, case: Case, dtype: str, rounds: int, ceiling: float | None) -> DeviceRow:
    """The row of one case, after its check. ceiling: bytes per second of a copy, None if unknown."""
    name, wanted = f"{case.name}, {dtype}", case.wanted()
    for got, want in zip(case.call(), wanted, strict=True):
        check(got, want, TOLERANCE[dtype], name)
    calls, without = libraries(device, case, wanted, dtype)
    (ours,), beside = device.beside([case.call], calls, without, rounds)
    work, goals = (case.bytes, "GB/s", ceiling, COPY), [SHARE] if case.name in WITH_GOAL else []
    return row(device, name, dtype, ours, *work, beside, without=without, goals=goals)


def kernels(rounds: int, backend: str | None = None) -> Iterator[DeviceRow]:
    """The rows of the kernels that only move memory. Raises Skip without a GPU, unless the backend is the emulator."""
    device = open_device(backend)
    return each(makers(device, sizes(device), rounds))
