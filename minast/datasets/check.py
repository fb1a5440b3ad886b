"""Every file of a data set is read, and everything that may endanger training is collected."""

import os
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from .. import threads
from ..errors import Error
from ..features import FRAME
from ..text import counted, visible
from . import duplicates
from .common import Clip, Dataset, checked, named
from .labels import alike
from .summary import as_json, understood

FEW = 10  # clips: a class with fewer is named
SHOWN = 20  # files of one kind that are printed; JSON has all


@dataclass
class Report:
    """What the files of a data set are."""

    dataset: Dataset
    seconds: np.ndarray  # (n,) of the files that can be read
    rates: Counter  # Hz: files
    channels: Counter
    formats: Counter  # suffix: files
    unreadable: list[tuple[str, str]]  # name, a sentence that names it
    notes: list[tuple[str, str]]  # name, what is to be said about the file, such as that it is cut short
    silent: list[str]  # files without any sound
    copies: list[list[int]] = field(default_factory=list)  # places in dataset.clips
    refused: str = ""  # why train would not take the data, a sentence

    def few(self) -> list[tuple[str, int]]:
        """Classes with fewer than 10 clips."""
        counts = sum(self.dataset.counts().values())
        return [(name, int(n)) for name, n in zip(self.dataset.labels, counts, strict=True) if n < FEW]

    def as_json(self) -> dict:
        """All of it, as plain values."""
        clips, seconds = self.dataset.clips, self.seconds
        crossing = duplicates.crossing(self.dataset, self.copies)
        return {
            **as_json(self.dataset),
            "seconds": dict(zip(("min", "median", "max", "total"), spread(seconds), strict=True)),
            "rates": {str(rate): n for rate, n in sorted(self.rates.items())},
            "channels": {str(number): n for number, n in sorted(self.channels.items())},
            "formats": dict(self.formats.most_common()),
            "unreadable": [{"file": name, "reason": reason} for name, reason in self.unreadable],
            "remarks": [{"file": name, "note": note} for name, note in self.notes],
            "silent": self.silent,
            "copies": [[clips[i].name for i in group] for group in self.copies],
            "copies_across_the_split": [[clips[i].name for i in group] for group in crossing],
            "labels_alike": alike(self.dataset.labels),
            "few_clips": dict(self.few()),
            "trainable": not self.refused,
            "refused": self.refused,
        }

    def lines(self) -> list[str]:
        """All of it, to print; long lists are cut."""
        found = [*understood(self.dataset), *self._sound()]
        found += listed("files that cannot be read", [visible(reason) for _, reason in self.unreadable])
        found += listed("files with remarks", [f"{visible(name)}: {note}" for name, note in self.notes])
        found += listed("files of digital silence", [visible(name) for name in self.silent])
        found += [f"copies: {sentence}" for sentence in duplicates.sentences(self.dataset, self.copies)]
        found += [f"labels that look alike: {named(group)}" for group in alike(self.dataset.labels)]
        if few := self.few():
            names = ", ".join(f"{visible(name, 40)} ({n})" for name, n in few[:SHOWN])
            found.append(f"classes with fewer than {FEW} clips: {names}{', ...' if few[SHOWN:] else ''}")
        return [*found, self.refused or "These data can be trained on."]

    def _sound(self):
        if not len(self.seconds):
            return []
        least, median, most, total = spread(self.seconds)
        rates = ", ".join(f"{rate} Hz ({n})" for rate, n in sorted(self.rates.items()))
        channels = ", ".join(f"{'mono' if c == 1 else f'{c} channels'} ({n})" for c, n in sorted(self.channels.items()))
        formats = ", ".join(f"{suffix} ({n})" for suffix, n in self.formats.most_common())
        return [
            f"{counted(len(self.seconds), 'file was', 'files were')} read, {duration(total)} in all: "
            f"{least:.2f} to {most:.2f} s, median {median:.2f} s",
            f"  rates: {rates}",
            f"  channels: {channels}",
            f"  formats: {formats}",
        ]


def check(dataset: Dataset) -> Report:
    """Read every file of a data set, with a progress bar."""
    from tqdm import tqdm

    report = Report(dataset, np.zeros(0), Counter(), Counter(), Counter(), [], [], [])
    report.unreadable = [(each.name, each.reason) for each in dataset.bad]
    seconds = []
    with threads.ordered(look, dataset.clips) as results:
        for clip, found in zip(
            dataset.clips,
            tqdm(results, total=len(dataset.clips), desc="reading", unit="file", disable=None, leave=False),
            strict=True,
        ):
            if isinstance(found, Error):
                report.unreadable.append((clip.name, str(found)))
                continue
            length, rate, channels, silent, notes = found
            seconds.append(length)
            report.rates[rate] += 1
            report.channels[channels] += 1
            report.formats[os.path.splitext(clip.path)[1].lower()[1:] if clip.path else "synthesised"] += 1
            report.notes += [(clip.name, note) for note in notes]
            report.silent += [clip.name] if silent else []
    report.seconds = np.array(seconds)
    report.copies = duplicates.groups(dataset)
    report.refused = refusal(report)
    return report


def look(clip: Clip):
    """-> (seconds, rate in Hz, channels, whether it is silent, notes), or the minast.Error"""
    try:
        found = clip.read(None if clip.path else 16000)
        seconds = len(found.wave) / found.rate
        if seconds < FRAME:
            raise Error(f"{visible(clip.name)}: it lasts {seconds:.3f} s, at least {FRAME} s are needed.")
        return seconds, found.rate, found.channels, not np.any(found.wave), found.notes
    except Error as error:
        return error


def refusal(report: Report) -> str:
    """Why `train` would not take the data, or ""."""
    try:
        checked(report.dataset)
    except Error as error:
        return f"train refuses these data: {error}"
    if n := len(report.unreadable):
        files = counted(n, "file cannot", "files cannot")
        return f"train stops at these data: {files} be used; --skip-bad leaves out what cannot be used."
    return ""


def listed(title: str, rows: list[str]) -> list[str]:
    """A title and its rows, at most 20 of them; nothing without rows."""
    if not rows:
        return []
    more = [f"  ... and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
    return [f"{title}: {len(rows)}", *(f"  {row}" for row in rows[:SHOWN]), *more]


def spread(seconds: np.ndarray) -> list[float]:
    """Shortest, median, longest, sum; zeros for none."""
    return [float(f(seconds)) for f in (np.min, np.median, np.max, np.sum)] if len(seconds) else [0.0] * 4


def duration(seconds: float) -> str:
    """ "12.3 s", "4 min 5 s", "3 h 20 min" """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
