"""What a benchmark's row is, how two sides are timed against each other, and how the table is written."""

import json
import os
import platform
import re
import time
from dataclasses import asdict, dataclass

import numpy as np

from ..cli import printable
from ..errors import Error
from ..files import atomic


class Skip(Exception):
    """A row that cannot be run here, with the reason."""


@dataclass
class Row:
    """One line of the table. ours, theirs: medians; ratio: the median of theirs / ours over the rounds."""

    name: str
    ours: float
    unit: str = "s"
    against: str = ""
    theirs: float | None = None
    ratio: float | None = None
    goal: str = ""
    note: str = ""


PAUSE = 0.1  # seconds


def interleaved(functions, rounds, clock=time.perf_counter, pause=PAUSE):
    """Seconds of each function in each round, all functions taking turns in one process.   -> (functions, rounds)

    One round before the first is not counted. What disturbs the machine disturbs all of them. Before each turn there is
    a pause: threads of PyTorch's and of BLAS's pool go on spinning for a while after their work, on the other's cores.
    """
    times = np.zeros((len(functions), rounds))
    for r in range(-1, rounds):
        for i, function in enumerate(functions):
            time.sleep(pause)
            began = clock()
            function()
            times[i, r] = clock() - began  # round -1 is overwritten by the last one
    return times


def compare(name, ours, theirs, rounds, against, goal=""):
    """A Row from two functions that do the same job."""
    a, b = interleaved([ours, theirs], rounds)
    ratio = float(np.median(b / a))
    return Row(name, float(np.median(a)), "s", against, float(np.median(b)), ratio, goal)


def close(got, wanted, tolerance, what):
    """The check before the timing: an error if the two sides do not give the same."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    error = float(abs(got - wanted).max() / max(abs(wanted).max(), 1e-30))
    if got.shape != wanted.shape or not error <= tolerance:
        raise Error(f"{what}: the two sides differ by {error:.1e} of the largest value: nothing was timed.")


def conditions(threads):
    """What the numbers depend on, for the table's last line."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "processor": processor(),
        "threads": threads,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load": round(load, 1),
        **versions("torch", "transformers"),
    }


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return re.search(r"model name\s*:\s*(.+)", f.read()).group(1).strip()
    except (OSError, AttributeError):
        return platform.processor() or platform.machine()


def versions(*packages):
    from importlib import metadata

    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def number(value, unit):
    if value is None:
        return ""
    if unit == "s":
        if value < 1e-4:
            return f"{1e6 * value:.1f} µs"
        return f"{value:.2f} s" if value >= 0.1 else f"{1000 * value:.2f} ms"
    return f"{value:.0%}" if unit == "%" else f"{value:.4g} {unit}"


def markdown(rows, about):
    """The table as it stands in the README."""
    lines = [
        "| job, float32 | minast | against | it takes | ratio | goal |",
        "| --- | ---: | --- | ---: | ---: | --- |",
    ]
    for r in rows:
        ratio = "" if r.ratio is None else f"**{r.ratio:.2f}x**"
        cells = [r.name, number(r.ours, r.unit), r.against, number(r.theirs, r.unit), ratio, r.goal]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [f"- {r.name}: {r.note}" for r in rows if r.note]
    load = about.pop("load", None)
    text = ", ".join(f"{name} {value}" for name, value in about.items())
    about["load"] = load
    lines += ["", f"Medians; a ratio is one of both sides taking turns in one run. {text}; load before the run {load}."]
    return "\n".join(lines)


def write_json(path, rows, about):
    """Whole or not at all, so that a run that ends early leaves what it had measured till then."""
    with atomic(path, "w", encoding="utf-8") as f:
        json.dump(printable({"about": about, "rows": [asdict(row) for row in rows]}), f, indent=1)
        f.write("\n")
