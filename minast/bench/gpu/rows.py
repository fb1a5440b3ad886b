"""Rows that know where they were measured: rate, share of a ceiling, several libraries beside ours, goals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..row import Row
from ..table import package_versions
from .device import CPU, UNREAL, Device

CUPY = "cupy-cuda13x", "cupy-cuda12x"  # the packages it comes in


@dataclass
class Goal:
    """What a row should reach. text: as people write it; at_least: the number, a ratio theirs / ours or a share.

    against: the libraries it is about, of which the best counts; "": the share of the ceiling counts. `row` fills in
    library, the best one; value, what was reached; reached, None unless a GPU was measured.
    """

    text: str
    at_least: float
    against: str = ""
    library: str = ""
    value: float | None = None
    reached: bool | None = None

    def __str__(self):
        verdict = {True: "reached", False: "missed", None: "not measured"}[self.reached]
        return f"{self.text}{' of ' * bool(self.against)}{self.library or self.against}: {self.got()}{verdict}"

    def got(self) -> str:
        """ "0.81x, ", "84%, " or "" """
        return "" if self.value is None else f"{self.value:.2f}x, " if self.against else f"{self.value:.0%}, "


@dataclass
class DeviceRow(Row):
    """A Row with the device it was measured on. `against`, `theirs` and `ratio` are those of the best library.

    rate: in `rate_unit`, from counted bytes, FLOP or clips; share: the rate over the ceiling's, None if unknown.
    libraries: {name: median, in `unit`}; "torch: flash" and "torch: math" share a column. ratios: {name: median of
    theirs / ours over the rounds}. without: {name: why there is no number}. job, version: keys for programs; job is ""
    for what has one version only.
    """

    dtype: str = "float32"
    device: str = ""
    rate: float = 0.0
    rate_unit: str = ""
    share: float | None = None
    ceiling: str = ""
    libraries: dict = field(default_factory=dict)
    ratios: dict = field(default_factory=dict)
    without: dict = field(default_factory=dict)
    goals: list = field(default_factory=list)
    job: str = ""
    version: int | None = None


def row(
    device: Device,
    name: str,
    dtype: str,
    ours: np.ndarray | float,
    amount: float = 0,
    rate_unit: str = "",
    ceiling: float | None = None,
    kind: str = "",
    libraries: Mapping[str, np.ndarray | float] | None = None,
    note: str = "",
    goals: Sequence[Goal] = (),
    without: Mapping[str, str] | None = None,
    unit: str = "s",
    job: str = "",
    version: int | None = None,
) -> DeviceRow:
    """A DeviceRow from measured times. ours, and each of libraries by name: (rounds,) seconds, or one number in `unit`.

    amount: bytes, FLOP or clips of one call; rate_unit: "GB/s", "GFLOP/s" or "clips/s"; ceiling: the amount per second
    that `kind` reaches; goals: the row gets copies with the results; without, job, version: as in DeviceRow.
    """
    libraries, without = libraries or {}, dict(without or {})
    medians = {library: float(np.median(taken)) for library, taken in libraries.items()}
    ratios = {library: float(np.median(taken / ours)) for library, taken in libraries.items()}
    scale, value = 1 if rate_unit == "clips/s" else 1e9, float(np.median(ours))
    rate = amount / value / scale
    share = rate * scale / ceiling if ceiling else None
    against = min(ratios, key=ratios.get, default="")
    unreal = UNREAL.get(device.name, "")
    judged = [_judged(goal, ratios, share, known=not unreal) for goal in goals]
    missing = [f"{library}: {why}" for library, why in without.items()]
    notes = [speed(rate, rate_unit), f"{share:.1%} of {kind}" if ceiling else "", note, *missing, unreal]
    return DeviceRow(
        name,
        value,
        unit,
        against=against,
        theirs=medians.get(against),
        ratio=ratios.get(against),
        goal="; ".join(map(str, judged)),
        note=", ".join(filter(None, notes)),
        dtype=dtype,
        device=device.name,
        rate=rate,
        rate_unit=rate_unit,
        share=share,
        ceiling=f"{kind}: {speed(ceiling / scale, rate_unit)}" if ceiling else "",
        libraries=medians,
        ratios=ratios,
        without=without,
        goals=judged,
        job=job,
        version=version,
    )


def speed(rate: float, unit: str) -> str:
    """ "12.34 GB/s", "123456 GFLOP/s"; "" without a unit"""
    return f"{rate:.0f} {unit}" if rate >= 1000 else f"{rate:.4g} {unit}" * bool(unit)


def _judged(goal, ratios, share, known):
    """A copy of the goal with what was reached, by the best library it is about. known: was a GPU or CPU measured?"""
    column = {library: ratio for library, ratio in ratios.items() if in_column(library, goal.against)}
    library = min(column, key=column.get, default="")
    value = column.get(library) if goal.against else share
    if not known or value is None:
        return replace(goal, library=library)
    return replace(goal, library=library, value=value, reached=bool(value >= goal.at_least))


def in_column(library: str, column: str) -> bool:
    """Does "torch: flash" belong to the column "torch"?"""
    return library == column or library.startswith(f"{column}: ")


def measured(rows: Iterable[Row]) -> list[DeviceRow]:
    """Those of a real GPU: neither the emulator's, nor a stand-in's, nor a CPU backend's."""
    return [r for r in rows if isinstance(r, DeviceRow) and r.device not in (*UNREAL, CPU)]


def facts(rows: Iterable[Row]) -> dict[str, str]:
    """{name: value}, the conditions that rows of a device add: its name, and CuPy's version."""
    names = list(dict.fromkeys(r.device for r in rows if isinstance(r, DeviceRow)))
    return {"device": ", ".join(names), **package_versions(*CUPY)} if names else {}
