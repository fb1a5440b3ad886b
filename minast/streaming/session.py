"""Work on an archive, as `scan` and `embed` do it: their flags, the journal, who works, what was skipped."""

import contextlib
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

from ..config import FeatureConfig
from ..console.arguments import MANY, number, whole
from ..console.say import complain, note
from ..errors import Error
from ..features import hop_seconds
from ..scoring import BATCH
from ..storage.tables import write_table
from ..text import counted, duration, size, visible
from . import archive
from .inputs import recordings
from .journal import ENDING, Journal
from .pools import OneProcess, Processes
from .progress import Progress
from .remote import is_remote
from .work import Common

DAY = 86400.0  # s
PATHS = "audio files, folders, patterns, addresses (s3://...); - reads a list of them, one a line"


def add_archives(parser: ArgumentParser, what: str) -> None:
    """The flags that say how an archive is worked through. what: the work, such as "a scan"."""
    g = parser.add_argument_group("archives")
    g.add_argument("--resume", action="store_true", help=f"go on with {what} that was stopped")
    text = "processes on this machine, with a model each (default: 1)"
    g.add_argument("--workers", type=whole(1, 1024), default=1, metavar="N", help=text)
    text = "do the work on a dask cluster: its scheduler's address, or scheduler file (.json)"
    g.add_argument("--cluster", metavar="ADDRESS", help=text)
    text = f"segments computed together (default: {BATCH})"
    g.add_argument("--batch", type=whole(1, MANY), default=BATCH, metavar="N", help=text)


def add_hop(group: ArgumentParser) -> None:
    """--hop, in seconds; `frames_of` takes it."""
    text = "from one segment to the next (default: a segment, end to end)"
    group.add_argument("--hop", type=number(0, DAY, above=True), metavar="SECONDS", help=text)


def frames_of(hop: float | None, features: FeatureConfig) -> int:
    """--hop in frames. Raises minast.Error for one that is longer than a segment."""
    step = hop_seconds(features.rate)
    found = features.frames if hop is None else max(1, round(hop / step))
    if found > features.frames:
        length = features.frames * step
        raise Error(f"--hop is {hop:g} s: it may be at most a segment, {length:g} s, or sound would be missed.")
    return found


def refuse(args: Namespace) -> None:
    """minast.Error for flags of `add_archives` that do not go together."""
    if args.cluster and args.workers > 1:
        raise Error("--workers is for this machine, --cluster for others: give one of them.")


def part_of(out: str) -> str:
    """The journal of work that writes `out`."""
    return out.rstrip("/" + os.sep) + ENDING


class Complaints:
    """Says what is wrong with a PATH, which costs no other. `status` is the exit status then: 2."""

    def __init__(self):
        self.status = 0

    def __call__(self, error: Error) -> None:
        complain(error)
        self.status = 2


def journal_of(
    args: Namespace,
    common: dict,
    what: str,
    complaints: Complaints,
    check: Callable[[Sequence], object] | None = None,
) -> Journal:
    """The journal, of new work or of what was stopped. args: with paths, out, resume.

    common: {flag: plain value}, what a resumed one must have in common. what: the work, such as "a scan". complaints:
    about PATHs that name nothing. check: is called with the recordings of new work, before anything is written.
    """
    path = part_of(args.out)
    if not args.resume and os.path.exists(path):
        raise Error(f"{visible(path)} is of {what} that was stopped: add --resume to go on with it, or remove it.")
    journal = Journal.resume(path, common) if args.resume else None
    if args.resume and journal is None:
        note("nothing that was stopped is there to go on with: this one begins anew.")
    if journal is None:
        files = recordings(args.paths, complaints)
        if check:
            check(files)
        relative = any(not is_remote(name) and not os.path.isabs(name) for name, _ in files)
        return Journal.begin(path, common | ({"folder": os.getcwd()} if relative else {}), files)
    folder = journal.settings.get("folder")
    if folder is not None and not _here(folder, journal.files):
        journal.close()
        raise Error(
            f"{visible(path)} was begun in {visible(folder)}, from where its recordings are named: resume it there."
        )
    return journal


def _here(folder: str, files: Sequence[tuple[str, int]]) -> bool:
    """Whether relative names mean what they meant in a folder: it is this one, or has moved, and the files are here."""
    with contextlib.suppress(OSError):
        return os.path.samefile(folder, os.curdir)
    with contextlib.suppress(OSError):
        relative = [each for each in files if not is_remote(each[0]) and not os.path.isabs(each[0])]
        return all(os.path.getsize(name) == size for name, size in relative[:100])
    return False


def size_of(journal: Journal) -> str:
    """How much there is to do, in words."""
    return f"{counted(len(journal.files), 'recording')}, {size(sum(count for _, count in journal.files))}"


def work(args: Namespace, settings: Common, journal: Journal, name: str) -> float:
    """Do what is left.   -> seconds of audio a second, 0 if nothing was left.   name: of the work, on the bar"""
    left = journal.left()
    if len(journal.files) > (files := sum(len(unit.files) for unit in left)):
        note(f"{len(journal.files) - files} of {counted(len(journal.files), 'recording')} are done already.")
    if not left:
        return 0.0
    sizes = [size for _, size in journal.files]
    todo = sum(size for unit in left for size in sizes[unit.first : unit.first + len(unit.files)])
    progress = Progress(sizes, sum(sizes) - todo, name=name)
    with contextlib.closing(progress), contextlib.closing(_pool(args, settings, progress, len(left))) as pool:
        try:
            archive.work(pool, journal, left, progress.unit)
        except KeyboardInterrupt:
            done = len(journal.files) - sum(len(unit.files) for unit in journal.left())
            total = counted(len(journal.files), "recording")
            note(f"{done} of {total} are done: the same command with --resume goes on.")
            raise
        return progress.speed


def _pool(args, settings, progress, most):
    """Who does the work."""
    if args.cluster:
        from .cluster import Cluster

        return Cluster(settings, progress.part, args.cluster)
    if args.workers == 1:
        return OneProcess(settings, progress.part)
    return Processes(settings, progress.part, min(args.workers, most))


def skipped(journal: Journal) -> list[tuple[str, str]]:
    """The recordings that could not be read, and why."""
    return [(name, result["error"]) for name, result in journal if "error" in result]


def write_skipped(table: str, rows: list[tuple[str, str]]) -> None:
    """The table of `skipped`; without any, that of earlier work goes."""
    if rows:
        write_table(table, ("file", "reason"), rows)
        return
    with contextlib.suppress(OSError):
        os.unlink(table)


def refuse_nothing(out: str, journal: Journal, rows: list[tuple[str, str]]) -> None:
    """minast.Error, and the journal goes, if no recording could be read."""
    if len(rows) == len(journal.files):
        journal.remove()
        some = f"{visible(rows[0][0])}: {rows[0][1]}"
        raise Error(f"{visible(out)} is not written: no recording can be read ({len(rows)} tried). {some}")


def at_speed(seconds: float, speed: float) -> str:
    """How much audio there was, and how fast it went, in words.   speed: of `work`"""
    return f"{duration(seconds)} of audio" + (f", {speed:.0f} x real time" if speed else "")
