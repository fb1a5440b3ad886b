"""Rows that say where they ran and what they were held against, and the tables of kernels/README.md made of them."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...backend import GPU, why_no_gpu
from ...errors import Error
from .. import readme
from ..table import Row, number, versions
from .device import CPU, EMULATED

CUPY = "cupy-cuda13x", "cupy-cuda12x"  # the packages it comes in


@dataclass
class Goal:
    """What a row is to reach: `text` as people write it; `at_least` as it is compared, theirs / ours or a share.

    against: a column of libraries, of which the best counts; "": the share of the ceiling counts. Filled in by `row`:
    `library`, which of them was the best; `value`, what was reached; `reached`, None where no GPU said so.
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

    def got(self):
        """ "0.81x, ", "84%, " or "" """
        return "" if self.value is None else f"{self.value:.2f}x, " if self.against else f"{self.value:.0%}, "


@dataclass
class DeviceRow(Row):
    """A Row that says where it ran. rate: in `rate_unit`, from counts; share: rate over the ceiling's, None if unknown.

    libraries: name -> its median at the same job, in `unit`; "torch: flash" and "torch: math" stand in one column.
    ratios: name -> median over the rounds of theirs / ours. `against`, `theirs` and `ratio` are the best library's.
    without: name of a library -> why there is nothing of it. job, version: what programs tell rows apart by; job "" for
    what has no other version.
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
    where, name, dtype, ours, amount=0, rate_unit="", ceiling=None, kind="", libraries=None, note="", goals=(), **more
):
    """A DeviceRow from what the rounds gave. ours, and libraries by name: an array of `turns` each, or a number.

    amount: bytes, FLOP or clips of one call; ceiling: the same a second, of `kind`. goals: Goals to be held against.
    """
    libraries = libraries or {}
    medians = {library: float(np.median(taken)) for library, taken in libraries.items()}
    ratios = {library: float(np.median(taken / ours)) for library, taken in libraries.items()}
    scale, value = 1 if rate_unit == "clips/s" else 1e9, float(np.median(ours))
    rate = amount / value / scale
    share = rate * scale / ceiling if ceiling else None
    against = min(ratios, key=ratios.get, default="")
    emulated = "emulated: says nothing about a GPU" if where.name == EMULATED else ""
    held = [_held(goal, ratios, share, known=not emulated) for goal in goals]
    missing = [f"{library}: {why}" for library, why in more.get("without", {}).items()]
    notes = [speed(rate, rate_unit), f"{share:.1%} of {kind}" if ceiling else "", note, *missing, emulated]
    return DeviceRow(
        name,
        value,
        against=against,
        theirs=medians.get(against),
        ratio=ratios.get(against),
        goal="; ".join(map(str, held)),
        note=", ".join(filter(None, notes)),
        dtype=dtype,
        device=where.name,
        rate=rate,
        rate_unit=rate_unit,
        share=share,
        ceiling=f"{kind}: {speed(ceiling / scale, rate_unit)}" if ceiling else "",
        libraries=medians,
        ratios=ratios,
        goals=held,
        **more,
    )


def speed(rate, unit):
    """ "12.34 GB/s", "123456 GFLOP/s"; "" without a unit"""
    return f"{rate:.0f} {unit}" if rate >= 1000 else f"{rate:.4g} {unit}" * bool(unit)


def _held(goal, ratios, share, known):
    """The goal with what was reached; against the best of its column. known: do these numbers mean anything?"""
    column = {library: ratio for library, ratio in ratios.items() if in_column(library, goal.against)}
    library = min(column, key=column.get, default="")
    value = column.get(library) if goal.against else share
    if not known or value is None:
        return replace(goal, library=library)
    return replace(goal, library=library, value=value, reached=bool(value >= goal.at_least))


def in_column(library, column):
    """Is "torch: flash" in the column "torch"?"""
    return library == column or library.startswith(f"{column}: ")


def measured(rows):
    """Those that a real GPU gave: neither the emulator's, nor a CPU backend's."""
    return [r for r in rows if isinstance(r, DeviceRow) and r.device not in (EMULATED, CPU)]


def wants_kernels(path):
    """Are the tables between the file's markers this module's?"""
    return readme.find(path, readme.GPU, readme.CPU) == readme.GPU


def refuse(path, backend, table=True):
    """An Error, before anything runs, if this command could only put something into `path` that was not measured."""
    what = "into no table; leave out --readme" if table else "into no picture; leave out --ladder"
    if backend == EMULATED:
        raise Error(f"{path}: the emulator's times say nothing about a GPU and go {what}.")
    gpu = backend in (None, *GPU) if table else backend in (None, "cuda")
    if (not table or wants_kernels(path)) and (not gpu or why_no_gpu()):
        holds = "its table" if table else "the ladder"
        raise Error(f"{path}: {holds} holds only what a GPU was measured to do, and there is no GPU in this run.")


def refuse_rows(path, rows):
    """An Error if none of them is of a GPU."""
    if not measured(rows):
        raise Error(f"{path}: nothing was measured on a GPU, so its table stays as it is.")


def markdown(rows, about, picture=None):
    """The tables as they stand in kernels/README.md: the goals, then the kernels. picture: a path for a link to it."""
    lines = [*goals_table(rows)]
    if kernels := [r for r in rows if r.rate_unit and not whole(r)]:
        lines += ["", *kernels_table(kernels)] if lines else kernels_table(kernels)
    if picture:
        lines += ["", f"![attention, version by version, beside the library and cuBLAS]({picture})"]
    ceilings = "; ".join(dict.fromkeys(r.ceiling for r in rows if r.ceiling))
    facts = ", ".join(f"{k} {v}" for k, v in about.items() if k in ("python", "torch", "transformers", *CUPY))
    clock = "Medians by CUDA events, from a cold L2 cache; a ratio is the median over rounds in which all took turns"
    return "\n".join([*lines, "", f"{rows[0].device}; {facts}. {clock}. {f'Ceilings: {ceilings}.' * bool(ceilings)}"])


def whole(r):
    """Is it a row about the whole model beside another library, whose every comparison is of interest?"""
    return r.job in ("step", "latency", "memory")


def goals_table(rows):
    """A line for each goal, and for each other comparison of a whole model."""
    lines = []
    for r in rows:
        for goal in r.goals:
            why = "; ".join(why for library, why in r.without.items() if in_column(library, goal.against))
            against = (goal.library or goal.against) if goal.against else r.ceiling
            theirs = number(r.libraries.get(goal.library), r.unit)
            verdict = {True: "reached", False: "**missed**", None: f"not measured{f': {why}' * bool(why)}"}
            ratio = goal.got().removesuffix(", ")
            lines.append((r.name, number(r.ours, r.unit), against, theirs, ratio, goal.text, verdict[goal.reached]))
        others = [name for name in r.libraries if whole(r) and name not in [goal.library for goal in r.goals]]
        for name in others:
            beside = number(r.libraries[name], r.unit), f"{r.ratios[name]:.2f}x"
            lines.append((r.name, number(r.ours, r.unit), name, *beside, "", ""))
        if whole(r) and not r.libraries and not r.goals:
            lines.append((r.name, number(r.ours, r.unit), "", "", "", "", ""))
    head = ["| job | minast | against | theirs | ratio | goal | |", "| --- | ---: | --- | ---: | ---: | --- | --- |"]
    return head * bool(lines) + ["| " + " | ".join(cells) + " |" for cells in lines]


def kernels_table(rows):
    """A line for each kernel; a column for each library, which names the best of several and the ratio."""
    columns = list(dict.fromkeys(name.split(": ")[0] for r in rows for name in [*r.libraries, *r.without]))
    lines = [
        "| job | type | time | rate | of the ceiling |" + "".join(f" {name} |" for name in columns),
        "| --- | --- | ---: | ---: | ---: |" + " ---: |" * len(columns),
    ]
    for r in rows:
        share = "" if r.share is None else f"{r.share:.0%}"
        cells = [r.name, r.dtype, number(r.ours, "s"), speed(r.rate, r.rate_unit), share]
        for column in columns:
            found = {name: ratio for name, ratio in r.ratios.items() if in_column(name, column)}
            if found:
                best = min(found, key=found.get)
                which = f", {best.split(': ')[1]}" if ": " in best else ""
                cells.append(f"{number(r.libraries[best], 's')} ({found[best]:.2f}x{which})")
            else:
                whys = [why for name, why in r.without.items() if in_column(name, column)]
                cells.append("; ".join(dict.fromkeys(whys)))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write_readme(path, rows, about, picture=None):
    """Put the rows of a real device between the markers; an Error if there are none. picture: a file to link to."""
    refuse_rows(path, rows)
    if picture:
        picture = Path(os.path.relpath(picture, Path(path).parent)).as_posix()
    readme.write(path, readme.GPU, markdown(measured(rows), about, picture))


def facts(rows):
    """What a table's conditions say in addition: the GPU, or what stood in for it, and CuPy's version."""
    names = list(dict.fromkeys(r.device for r in rows if isinstance(r, DeviceRow)))
    return {"device": ", ".join(names), **versions(*CUPY)} if names else {}
