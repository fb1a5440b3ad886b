"""Reading what `--json FILE` wrote, so that tables and pictures can be made elsewhere than where it was measured."""

import json
import os
from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path

from ..errors import Error
from .gpu.rows import DeviceRow, Goal
from .row import Row

NUMBERS = {float: int | float, float | None: int | float | None}  # JSON tells 1 from 1.0


def read(paths: Iterable[str | os.PathLike]) -> tuple[list[Row], dict]:
    """The rows and conditions of one file or more, joined.   -> (rows, about)

    `about` is the first file's, with what held libraries back in any of them, and the highest load. Of rows of one job,
    and on a CPU against one library, the last one counts. Raises Error for anything that `table.write_json` did not
    write, and for files of different devices.
    """
    rows, abouts = {}, []
    for path in paths:
        found, about = _one(path)
        rows.update({_key(row): row for row in found})
        abouts.append(about)
        if about.get("device") != abouts[0].get("device"):
            devices = " and ".join(str(a.get("device", "no GPU")) for a in (abouts[0], about))
            raise Error(f"{path}: these files are of different devices: {devices}.")
    held = list(dict.fromkeys(about["held"] for about in abouts if about.get("held")))
    about = abouts[0] | ({"held": " and ".join(held)} if held else {})
    loads = [each["load"] for each in abouts if isinstance(each.get("load"), int | float)]
    return _of_jobs(rows.values()), about | ({"load": max(loads)} if loads else {})


def _key(row):
    return row.name if isinstance(row, DeviceRow) else (row.name, row.against)


def _of_jobs(rows):
    """The rows of each job together; a row without a comparison gives way to those that have one."""
    jobs = {}
    for row in rows:
        jobs.setdefault(row.name, []).append(row)
    return [row for job in jobs.values() for row in job if len(job) == 1 or row.against]


def _one(path):
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as error:
        raise Error(f"{path}: {error.strerror}.") from None
    except (ValueError, RecursionError):  # no JSON, or no text
        raise Error(f"{path} is damaged, or was not written by python -m minast.bench --json.") from None
    if not isinstance(stored, dict) or set(stored) != {"about", "rows"}:
        raise Error(
            f"{path} was not written by python -m minast.bench --json: it needs about and rows, and nothing else."
        )
    about, rows = stored["about"], stored["rows"]
    plain = isinstance(about, dict) and all(isinstance(v, str | int | float | None) for v in about.values())
    if not plain or not isinstance(rows, list):
        raise Error(
            f"{path} was not written by python -m minast.bench --json: about must be a dictionary, rows a list."
        )
    return [_row(row, f"{path}, row {i}") for i, row in enumerate(rows)], about


def _no_constant(name):
    """Refuse NaN and infinities: `table.write_json` writes null instead."""
    raise ValueError(name)


def _row(stored, where):
    if not isinstance(stored, dict):
        raise Error(f"{where}: a dictionary is expected, not {type(stored).__name__}.")
    row = _made(DeviceRow if "device" in stored else Row, stored, where)
    if not row.ours > 0:
        raise Error(f"{where}: ours is {row.ours}; it must be above 0.")
    if isinstance(row, DeviceRow):
        row.goals = [_made(Goal, goal, f"{where}, goal {i}") for i, goal in enumerate(row.goals)]
        for name, kind in (("libraries", int | float), ("ratios", int | float), ("without", str)):
            values = getattr(row, name).values()
            if not all(isinstance(v, kind) and (kind is str or v > 0) for v in values):
                wanted = "texts" if kind is str else "numbers above 0"
                raise Error(f"{where}: the values of {name} must be {wanted}.")
        if row.job == "attention forward" and row.version is None:
            raise Error(f"{where}: a row of the attention kernel must have a version.")
        if set(row.libraries) != set(row.ratios):
            raise Error(f"{where}: libraries and ratios have different names.")
    return row


def _made(kind, stored, where):
    """A dataclass from its dictionary, with all fields there and of the right type."""
    if not isinstance(stored, dict):
        raise Error(f"{where}: a dictionary is expected, not {type(stored).__name__}.")
    known = {f.name: f for f in fields(kind)}
    for name in stored:
        if name not in known:
            raise Error(f"{where}: there is no field {name!r}.")
    for name, f in known.items():
        if name not in stored:
            if f.default is MISSING and f.default_factory is MISSING:
                raise Error(f"{where}: the field {name!r} is missing.")
        elif not _fits(stored[name], f.type):
            wanted = getattr(f.type, "__name__", f.type)
            raise Error(f"{where}: {name} is {str(stored[name])[:40]!r}, it should be {wanted}.")
    return kind(**stored)


def _fits(value, kind):
    return isinstance(value, NUMBERS.get(kind, kind)) and (not isinstance(value, bool) or kind == bool | None)
