"""The numbers of a run, as `--json` writes them: whatever else is shown is made from this file alone."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...cli import printable
from ...errors import Error
from ...storage.files import atomic
from ...storage.schema import Flag, ListOf, Number, OneOf, Plain, Record, Text, Whole, as_json, checked
from ...text import visible
from .plan import AXES, JOBS, Point

MOST = 10_000  # points, or rounds of one
SAME = ("processor", "threads", "python", "numpy", "blas", "kernels", "held")  # what must not change within a file


@dataclass
class Measured:
    """What was measured at one point.

    x, work, size: as in `plan.Point`. seconds: of each round. start, peak: the largest memory of its process in bytes,
    after the job at its smallest, and after all rounds of this size.
    """

    axis: str
    job: str
    x: float
    work: float
    size: float
    seconds: list[float]
    start: int
    peak: int

    @property
    def curve(self) -> tuple[str, str]:
        """The name of the curve that it is on."""
        return self.axis, self.job


@dataclass
class Found:
    """All that a run has measured so far.

    about: conditions. said: for each axis, what stays as it is. lost: [axis, job, x, why] of points that could not be
    measured. rehearsal: whether the sizes were toys.
    """

    about: dict
    said: dict[str, str]
    points: list[Measured] = field(default_factory=list)
    lost: list[tuple[str, str, float, str]] = field(default_factory=list)
    rehearsal: bool = False

    def curves(self) -> dict[tuple[str, str], list[Measured]]:
        """The points of each curve, by what grows; in the order of AXES and JOBS."""
        order = [(axis, job) for axis in AXES for job in JOBS]
        found = {key: sorted((p for p in self.points if p.curve == key), key=lambda p: p.x) for key in order}
        return {key: points for key, points in found.items() if points}

    def without(self, curve: tuple[str, str]) -> None:
        """Forget all of one curve."""
        self.points = [p for p in self.points if p.curve != curve]
        self.lost = [each for each in self.lost if tuple(each[:2]) != curve]

    def has(self, points: list[Point], rounds: int) -> bool:
        """Whether these, a curve as it is planned, were all measured in so many rounds, or found to be impossible."""
        rounds_of = {(*p.curve, p.x): len(p.seconds) for p in self.points}
        rounds_of |= {(axis, job, x): rounds for axis, job, x, _ in self.lost}
        return all(rounds_of.get((*p.curve, p.x), 0) >= rounds for p in points)


ABOVE = Number(above=0, most=1e30)
PLACE = {"axis": OneOf(tuple(AXES)), "job": OneOf(tuple(JOBS)), "x": ABOVE}
POINT = PLACE | {"work": ABOVE, "size": ABOVE, "seconds": ListOf(Number(above=0, most=1e9), MOST)}
POINT |= {"start": Whole(1, 2**60), "peak": Whole(1, 2**60)}
FILE = Record(
    {
        "about": Record({}, others=Plain(1)),
        "said": Record(dict.fromkeys(AXES, Text(200))),
        "rehearsal": Flag(),
        "points": ListOf(Record(POINT), MOST),
        "lost": ListOf(Record(PLACE | {"why": Text(1000)}), MOST),
    }
)


def write(path: str | os.PathLike, found: Found) -> None:
    """Write all of it, atomically: a run that is interrupted leaves what it had measured."""
    lost = [dict(zip((*PLACE, "why"), each, strict=True)) for each in found.lost]
    kept = {"about": found.about, "said": found.said, "rehearsal": found.rehearsal, "lost": lost}
    with atomic(path, "w", encoding="utf-8") as f:
        json.dump(printable(kept | {"points": [asdict(p) for p in found.points]}), f, indent=1)
        f.write("\n")


def read(path: str | os.PathLike) -> Found:
    """What `write` wrote. Raises Error for anything else."""
    shown = visible(os.fspath(path))
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise Error(f"{shown}: {error.strerror}.") from None
    except (ValueError, RecursionError):  # no JSON, or no text
        raise Error(f"{shown} is damaged, or was not written by python -m minast.bench growth --json.") from None
    kept = checked(FILE, value, f"{shown}, which is not as python -m minast.bench growth writes it:", as_json)
    points = [Measured(**point) for point in kept["points"]]
    _refuse_odd(points, shown)
    lost = [tuple(each.values()) for each in kept["lost"]]
    return Found(kept["about"], kept["said"], points, lost, kept["rehearsal"])


def _refuse_odd(points, shown):
    """Raise Error for points without a round, twice the same, or on a curve whose rounds are not equally many."""
    rounds: dict[Any, int] = {}
    seen = set()
    for p in points:
        where = f"{shown}: {JOBS[p.job][0]}, {AXES[p.axis][0]} {p.x:g}"
        if (*p.curve, p.x) in seen:
            raise Error(f"{where} is there twice.")
        seen.add((*p.curve, p.x))
        if not p.seconds or rounds.setdefault(p.curve, len(p.seconds)) != len(p.seconds):
            raise Error(f"{where} has {len(p.seconds)} rounds: the points of a curve have equally many, at least one.")


def refuse_other(path: str | os.PathLike, found: Found, about: dict, rehearsal: bool) -> None:
    """Raise Error unless a run under these conditions may go on with what was measured before."""
    for name in SAME:
        if found.about.get(name) != about.get(name):
            raise Error(
                f"{visible(os.fspath(path))} was measured with {name} {visible(str(found.about.get(name)), 80)}, here "
                f"it is {visible(str(about.get(name)), 80)}: measure all of it again, without --resume."
            )
    if found.rehearsal != rehearsal:
        raise Error(f"{visible(os.fspath(path))}: a rehearsal and a measurement do not go into one file.")
