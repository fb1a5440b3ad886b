"""The tables of kernels/README.md: the goals and the whole model, then kernel by kernel."""

import os
from pathlib import Path

from ...errors import Error
from .. import readme
from ..row import Row
from ..table import number
from .rows import CUPY, DeviceRow, in_column, measured, speed

WHOLE = ("step", "latency", "throughput", "memory")  # jobs of the whole model: each library has a line of its own


def markdown(rows: list[DeviceRow], about: dict, picture: str | None = None) -> str:
    """The goals, then the kernels, then where and how they were measured. picture: a path to link to."""
    lines = [*goals_table(rows)]
    if kernels := [r for r in rows if r.rate_unit and r.job not in WHOLE]:
        lines += ["", *kernels_table(kernels)] if lines else kernels_table(kernels)
    if picture:
        lines += ["", f"![attention, version by version, beside the library and cuBLAS]({picture})"]
    ceilings = "; ".join(dict.fromkeys(r.ceiling for r in rows if r.ceiling))
    facts = ", ".join(f"{k} {v}" for k, v in about.items() if k in ("python", "torch", "transformers", *CUPY))
    clock = "Medians, timed with CUDA events from a cold L2 cache; a ratio is the median over interleaved rounds"
    return "\n".join([*lines, "", f"{rows[0].device}; {facts}. {clock}. {f'Ceilings: {ceilings}.' * bool(ceilings)}"])


def goals_table(rows: list[DeviceRow]) -> list[str]:
    """Lines of Markdown: one for each goal, and for each other comparison of a whole model; [] without any."""
    lines = []
    for r in rows:
        ours = number(r.ours, r.unit) + (f", {speed(r.rate, r.rate_unit)}" if r.job == "throughput" else "")
        for goal in r.goals:
            why = "; ".join(why for library, why in r.without.items() if in_column(library, goal.against))
            against = (goal.library or goal.against) if goal.against else r.ceiling
            theirs = number(r.libraries.get(goal.library), r.unit)
            verdict = {True: "reached", False: "**missed**", None: f"not measured{f': {why}' * bool(why)}"}
            ratio = goal.got().removesuffix(", ")
            lines.append((r.name, ours, against, theirs, ratio, goal.text, verdict[goal.reached]))
        whole = r.job in WHOLE
        others = [name for name in r.libraries if whole and name not in [goal.library for goal in r.goals]]
        for name in others:
            beside = number(r.libraries[name], r.unit), f"{r.ratios[name]:.2f}x"
            lines.append((r.name, ours, name, *beside, "", ""))
        if whole and not r.libraries and not r.goals:
            lines.append((r.name, ours, "", "", "", "", ""))
    head = ["| job | minast | against | theirs | ratio | goal | |", "| --- | ---: | --- | ---: | ---: | --- | --- |"]
    return head * bool(lines) + ["| " + " | ".join(cells) + " |" for cells in lines]


def kernels_table(rows: list[DeviceRow]) -> list[str]:
    """Lines of Markdown: one for each kernel, a column for each library with its best variant and the ratio."""
    columns = list(dict.fromkeys(name.split(": ")[0] for r in rows for name in [*r.libraries, *r.without]))
    lines = [
        "| job | type | time | rate | of the ceiling |" + "".join(f" {name} |" for name in columns),
        "| --- | --- | ---: | ---: | ---: |" + " ---: |" * len(columns),
    ]
    for r in rows:
        share = "" if r.share is None else f"{r.share:.0%}"
        cells = [r.name, r.dtype, number(r.ours, "s"), speed(r.rate, r.rate_unit), share]
        lines.append("| " + " | ".join(cells + [_library_cell(r, column) for column in columns]) + " |")
    return lines


def _library_cell(r, column):
    """ "0.10 ms (0.40x, flash)", or why there is no number."""
    found = {name: ratio for name, ratio in r.ratios.items() if in_column(name, column)}
    if not found:
        return "; ".join(dict.fromkeys(why for name, why in r.without.items() if in_column(name, column)))
    best = min(found, key=found.get)
    which = f", {best.split(': ')[1]}" if ": " in best else ""
    return f"{number(r.libraries[best], 's')} ({found[best]:.2f}x{which})"


def write(path: str | Path, rows: list[Row], about: dict, picture: str | Path | None = None) -> None:
    """Write the rows of a real GPU into a README. picture: a file to link to. Raises Error as `refuse` does."""
    refuse(path, rows)
    if picture:
        picture = Path(os.path.relpath(picture, Path(path).parent)).as_posix()
    readme.write(path, readme.GPU, markdown(measured(rows), about, picture))


def refuse(path: str | Path, rows: list[Row]) -> None:
    """Raise Error if none of the rows is of a real GPU."""
    if not measured(rows):
        raise Error(f"{path}: nothing was measured on a GPU; the table was not changed.")
