"""The table of minast/bench/README.md: each curve's ends, its slope beside the expected one, and what does not fit."""

import os
from pathlib import Path

from .. import readme
from ..table import number
from . import slopes
from .plan import AXES, JOBS
from .stored import Found

TABLE = "growth"  # its name in the marker lines
OTHERS = ("load", "torch", "torchaudio", "transformers", "onnxruntime", "openvino")  # conditions, of other tables
UNIT = {"forward": "FLOP/s", "step": "FLOP/s", "manifest": "clips/s", "prepare": "clips/s"}
NONE = "no curve, which takes two points"
HEAD = (
    "| what grows | cost | at the ends | expected slope | measured | deviation | fitted | |",
    "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |",
)


def fits(found: Found) -> list[slopes.Fit]:
    """All curves that can be drawn: for each job its time, then its memory where it says something of its own."""
    made = []
    for (_, job), points in found.curves().items():
        made += [slopes.time_of(points), slopes.memory_of(points) if JOBS[job][1] else None]
    return [fit for fit in made if fit]


def markdown(found: Found, picture: str | None = None) -> str:
    """The table, what stayed as it was, and the conditions. picture: a path to show above it."""
    lines, made = [], fits(found)
    if picture:
        lines += [f"![Time and memory against what grows, measured and expected]({picture})", ""]
    lines += [*HEAD, *(_row(fit) for fit in made), ""]
    there = {fit.axis for fit in made}
    lines += [f"- {AXES[axis][0]}: {found.said[axis] if axis in there else NONE}" for axis in AXES]
    lines += [f"- not measured: {JOBS[job][0]}, {AXES[axis][0]} {size(x)}: {why}" for axis, job, x, why in found.lost]
    off = [fit for fit in made if fit.verdict]
    verdict = f"{len(off)} of {len(made)} slopes are" if off else f"None of the {len(made)} slopes is"
    lines += [
        "",
        f"{verdict} more than {slopes.TOLERANCE:g} from the expected one. {conditions(found)}",
    ]
    return "\n".join(lines)


def conditions(found: Found) -> str:
    """Where it was measured, in a sentence."""
    rounds = sorted({len(p.seconds) for p in found.points})
    many = " to ".join(dict.fromkeys(map(str, (rounds[0], rounds[-1])))) if rounds else "0"
    facts = ", ".join(f"{name} {value}" for name, value in found.about.items() if name not in OTHERS)
    return f"Medians of {many} interleaved rounds. {facts}; load before the run {found.about.get('load')}."


def flagged(fit: slopes.Fit) -> str:
    """A curve that does not grow as expected, in words."""
    words = f"{AXES[fit.axis][0]}, {JOBS[fit.job][0]}, {fit.cost}: slope {shown(fit.slope)}"
    return f"{words}, {fit.verdict} than the expected {shown(fit.wanted)}"


def write(path: str | os.PathLike, found: Found, picture: str | os.PathLike | None) -> None:
    """Write the table between the marker lines of a README, which then shows the picture."""
    if picture:
        picture = Path(os.path.relpath(picture, Path(path).parent)).as_posix()
    readme.write(path, TABLE, markdown(found, picture))


def cost(fit: slopes.Fit, value: float) -> str:
    """A time or an amount of memory, for people."""
    if fit.cost == slopes.TIME:
        return number(value, "s")
    return number(value / 2**30, "GiB") if value >= 2**30 else number(value / 2**20, "MiB")


def size(x: float) -> str:
    """What grows, as a number: 0.5, 60, 1 000 000."""
    return f"{x:,.0f}".replace(",", " ") if x == int(x) else f"{x:g}"


def shown(slope: float, sign: str = "") -> str:
    """A slope with two digits, and no sign before a zero. sign: "+" to have one before all others."""
    return f"{slope:{sign}.2f}" if round(slope, 2) else "0.00"


def _row(fit):
    name, unit = AXES[fit.axis]
    ends = [f"{size(fit.x[i])}{f' {unit}' * bool(unit)}: {cost(fit, fit.y[i])}" for i in (0, -1)]
    spread = "" if fit.spread is None else f" ± {fit.spread:.2f}"
    verdict = f"**{fit.verdict}**" if fit.verdict else ""
    cells = [name, f"{JOBS[fit.job][0]}, {fit.cost}", "; ".join(ends), shown(fit.wanted)]
    cells += [f"{shown(fit.slope)}{spread}", f"{shown(fit.deviation, '+')}", scale(fit), verdict]
    return "| " + " | ".join(cells) + " |"


def scale(fit: slopes.Fit) -> str:
    """The constant that was fitted: "310 GFLOP/s", "1.12 of what is counted", "183 bytes a clip"; "" without one."""
    if fit.cost == slopes.MEMORY:
        return f"{fit.scale:.0f} bytes a clip" if fit.axis == "clips" else f"{fit.scale:.2f} of what is counted"
    unit = UNIT.get(fit.job)
    if not unit:
        return ""
    if unit == "FLOP/s" and fit.axis != "threads":
        return f"{1e-9 / fit.scale:.0f} GFLOP/s"
    return "" if unit == "FLOP/s" else f"{size(round(1 / fit.scale))} {unit}"
