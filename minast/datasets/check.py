"""Every file of a data set is read, and everything that may endanger training is collected."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import Error
from ..text import counted, duration, visible
from . import duplicates, near
from .common import Dataset, checked, named, quoted
from .labels import alike
from .summary import as_json, understood
from .survey import recordings

FEW = 10  # clips: a class with fewer is named
UNEVEN = 10  # times as many clips in the largest class as in the smallest
UNUSUAL = 4  # times the median length, or a fourth of it
RARE = 0.1  # of all clips; if more are that long or short, lengths simply differ
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
    pairs: list[near.Pair] | None = None  # clips that hold the same sound; None: they were not looked for
    unusual: list[tuple[str, float]] = field(default_factory=list)  # much longer or shorter than the others, seconds
    dangers: list[str] = field(default_factory=list)  # what endangers a result
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
            "unusual_lengths": dict(self.unusual),
            "copies": [[clips[i].name for i in group] for group in self.copies],
            "copies_across_the_split": [[clips[i].name for i in group] for group in crossing],
            "same_sound": None if self.pairs is None else [self._pair(pair) for pair in self.pairs],
            "groups_across_the_split": dict(duplicates.leaked(self.dataset)),
            "labels_alike": alike(self.dataset.labels),
            "few_clips": dict(self.few()),
            "smallest_and_largest_class": [{"label": k, "training_clips": n} for k, n in balance(self.dataset)],
            "dangers": self.dangers,
            "trainable": not self.refused,
            "refused": self.refused,
        }

    def lines(self) -> list[str]:
        """All of it, to print; long lists are cut."""
        found = [*understood(self.dataset), *self._sound()]
        found += listed("files that cannot be read", [visible(reason) for _, reason in self.unreadable])
        found += listed("files with remarks", [f"{visible(name)}: {note}" for name, note in self.notes])
        found += listed("files of digital silence", [visible(name) for name in self.silent])
        found += listed("clips much longer or shorter than the others", self._unusual())
        found += listed("pairs of clips that hold the same sound", self._heard())
        found += [f"labels that look alike: {named(group)}" for group in alike(self.dataset.labels)]
        if few := self.few():
            names = ", ".join(f"{visible(name, 40)} ({n})" for name, n in few[:SHOWN])
            found.append(f"classes with fewer than {FEW} clips: {names}{', ...' if few[SHOWN:] else ''}")
        found += self._balance()
        found += [f"beware: {sentence}." for sentence in self.dangers]
        if self.pairs is None:
            found.append("whether different files hold the same sound was not looked for")
        return [*found, self.refused or "These data can be trained on."]

    def _balance(self):
        (rare, least), (common, most) = balance(self.dataset)
        if least == most:
            return []
        names = f"{visible(common, 40)} has {counted(most, 'training clip')}, {visible(rare, 40)} {least}"
        return [f"largest and smallest class: {names}, a ratio of {most / least:.1f}"]

    def _unusual(self):
        median = np.median(self.seconds) if self.unusual else 0
        return [f"{visible(name)}: {seconds:.2f} s (the median is {median:.2f} s)" for name, seconds in self.unusual]

    def _heard(self):
        """A line for each pair of clips with the same sound; those across the split, or with other labels, say so."""
        clips, lines = self.dataset.clips, []
        for pair in self.pairs or ():
            a, b = clips[pair.a], clips[pair.b]
            more = f" [{a.split} and {b.split}]" if a.split != b.split else ""
            more += " [different labels]" if a.labels != b.labels else ""
            lines.append(duplicates.heard(self.dataset, pair) + more)
        return lines

    def _pair(self, pair):
        """A pair with the same sound, as plain values."""
        clips = [self.dataset.clips[i] for i in (pair.a, pair.b)]
        times = (pair.same.start, pair.same.other)
        files = [{"file": c.name, "split": c.split, "start": t} for c, t in zip(clips, times, strict=True)]
        return {"clips": files, "seconds": pair.same.seconds, "correlation": pair.same.correlation}

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


def check(dataset: Dataset, sound: bool = True) -> Report:
    """Read every file of a data set, with a progress bar.   sound: also look for clips that hold the same sound"""
    report = Report(dataset, np.zeros(0), Counter(), Counter(), Counter(), [], [], [])
    report.unreadable = [(each.name, each.reason) for each in dataset.bad]
    report.copies = duplicates.groups(dataset)
    listener = near.Listener(dataset.clips) if sound else None
    seconds = np.full(len(dataset.clips), np.nan)
    with recordings(dataset.clips, sound=sound) as results:
        for i, (clip, found) in enumerate(zip(dataset.clips, results, strict=True)):
            if listener:
                listener.hear(i, found)
            if isinstance(found, Error):
                report.unreadable.append((clip.name, str(found)))
                continue
            seconds[i] = found.seconds
            report.rates[found.rate] += 1
            report.channels[found.channels] += 1
            report.formats[os.path.splitext(clip.path)[1].lower()[1:] if clip.path else "synthesised"] += 1
            report.notes += [(clip.name, note) for note in found.notes]
            report.silent += [clip.name] if found.silent else []
    report.seconds = seconds[~np.isnan(seconds)]
    report.unusual = unusual(dataset, seconds)
    report.pairs = listener.pairs() if listener else None
    report.dangers = dangers(dataset, report.pairs or ())
    report.refused = refusal(report)
    return report


def dangers(dataset: Dataset, pairs: Sequence[near.Pair] | None = None, balanced: bool = False) -> list[str]:
    """What endangers a result, a sentence each: copies and groups across the split, labels that contradict, imbalance.

    pairs: clips that hold the same sound, if that is known. Otherwise they are looked for: of at most `near.MOST`
    clips, whose files are read once and then known from the cache; of more, a sentence says that nobody has looked.
    balanced: whether rare classes are trained on more often, or weigh more: nothing is advised against imbalance then.
    """
    said = duplicates.leaks(dataset)
    if pairs is None and near.affordable(dataset.clips):
        pairs = near.pairs(dataset.clips)
    elif pairs is None:
        said.append(
            f"whether some of the {len(dataset.clips)} clips hold the same sound as others is not known: "
            f"python -m minast.data check {visible(dataset.name)} listens to all of them"
        )
    said += duplicates.sentences(dataset, duplicates.groups(dataset), pairs or ())
    (rare, least), (common, most) = balance(dataset)
    if most >= UNEVEN * least > 0:
        said.append(
            f"class {quoted(common, 40)} has {counted(most, 'training clip')} and {quoted(rare, 40)} has {least}, "
            f"{most / least:.0f} times fewer: rare classes are recognised less often"
            + ("" if balanced else "; with --sampler balanced they are trained on more often")
        )
    return said


def balance(dataset: Dataset) -> tuple[tuple[str, int], tuple[str, int]]:
    """The class with fewest training clips and that with most, of those that have any.   -> (name, clips) of both"""
    counts = dataset.counts().get("train", np.zeros(len(dataset.labels), int))
    some = np.flatnonzero(counts)
    if not len(some):
        return ("", 0), ("", 0)
    rare, common = some[np.argmin(counts[some])], some[np.argmax(counts[some])]
    return (dataset.labels[rare], int(counts[rare])), (dataset.labels[common], int(counts[common]))


def unusual(dataset: Dataset, seconds: np.ndarray) -> list[tuple[str, float]]:
    """Clips that are much longer or shorter than the others, with their length; [] where lengths differ anyway.

    seconds (n,), NaN for what cannot be read.
    """
    known = seconds[~np.isnan(seconds)]
    if not len(known):
        return []
    times = np.abs(np.log(seconds / np.median(known)))
    far = np.flatnonzero(times > np.log(UNUSUAL))
    far = far[np.argsort(-times[far], kind="stable")].tolist()
    return [(dataset.clips[i].name, float(seconds[i])) for i in far] if len(far) <= RARE * len(known) else []


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
