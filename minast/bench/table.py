"""How rows become text and JSON, and the conditions they were measured under."""

import json
import os
import platform
import re
from dataclasses import asdict
from importlib import metadata

import numpy as np

from ..cli import printable
from ..storage.files import atomic
from . import machine
from .row import Row


def conditions(threads: int) -> dict:
    """{name: value} of what the numbers depend on: processor, threads, kernels, versions, and the load before."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "processor": processor(),
        "threads": threads,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load": round(load, 1),
        **machine.facts(),
        **package_versions("torch", "transformers", "torchaudio", "onnxruntime", "openvino"),
    }


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return re.search(r"model name\s*:\s*(.+)", f.read()).group(1).strip()
    except (OSError, AttributeError):
        return platform.processor() or platform.machine()


def package_versions(*packages: str) -> dict[str, str]:
    """{package: version} of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def number(value: float | None, unit: str) -> str:
    """A value as a table shows it: "12.3 µs", "4.56 ms", "7.89 s", "81%", "1.805 GiB"; "" for None."""
    if value is None:
        return ""
    if unit == "s":
        if value < 1e-4:
            return f"{1e6 * value:.1f} µs"
        return f"{value:.2f} s" if value >= 0.1 else f"{1000 * value:.2f} ms"
    return f"{value:.0%}" if unit == "%" else f"{value:.4g} {unit}"


def markdown(rows: list[Row], about: dict) -> str:
    """The table of README.md, with the conditions under it. Rows of one job follow each other; its name comes once."""
    lines = [
        "| job, float32 | minast | against | it takes | ratio | goal |",
        "| --- | ---: | --- | ---: | ---: | --- |",
    ]
    above = None
    for r in rows:
        ratio = "" if r.ratio is None else f"**{r.ratio:.2f}x**"
        ours = (r.name, number(r.ours, r.unit)) if (r.name, r.ours) != above else ("", "")  # the same measurement
        above = r.name, r.ours
        lines.append("| " + " | ".join([*ours, r.against, number(r.theirs, r.unit), ratio, r.goal]) + " |")
    lines += [f"- {r.name}: {r.note}" for r in rows if r.note]
    facts = ", ".join(f"{name} {value}" for name, value in about.items() if name not in ("load", "device"))
    load = f"load before the run {about.get('load')}"
    lines += ["", f"Medians; ratios compare interleaved runs in one process. {facts}; {load}."]
    return "\n".join(lines)


def write_json(path: str | os.PathLike, rows: list[Row], about: dict) -> None:
    """Write rows and conditions, atomically: a run that is interrupted leaves all that it had measured."""
    with atomic(path, "w", encoding="utf-8") as f:
        json.dump(printable({"about": about, "rows": [asdict(row) for row in rows]}), f, indent=1)
        f.write("\n")
