"""Clips and data sets."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from .. import audio
from ..errors import Error
from ..text import visible

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Clip:
    """One recording: its name for people, its class numbers, its split, and where its waveform comes from."""

    name: str
    labels: tuple[int, ...]  # class numbers
    split: str = ""  # "train", "valid", "test", or "" before the split is drawn
    path: str | None = None  # of the audio file, if there is one
    make: Callable | None = None  # rate -> wave (S,), for sounds that are synthesised
    fold: int | None = None  # for data that come in folds

    def read(self, rate: int) -> audio.Decoded:
        """The recording at `rate` Hz, with what is to be said about its file. Raises minast.Error as `decode` does."""
        if self.make is not None:
            return audio.Decoded(self.make(rate), rate)
        try:
            return audio.decode(self.path, rate)
        except UnicodeError:
            raise Error(f"{visible(self.path)}: the file's name cannot be passed to the decoder: rename it.") from None

    def wave(self, rate: int) -> np.ndarray:
        """The waveform, (S,) float32 in [-1, 1] at `rate` Hz. Raises minast.Error as `load_audio` does."""
        return self.read(rate).wave


@dataclass(frozen=True)
class Skipped:
    """Files or folders that are no part of a data set, and why."""

    what: str  # in the plural, such as "files that need conversion"
    paths: tuple[str, ...]
    advice: str = ""  # a sentence: what to do about it

    def __str__(self):
        count = len(self.paths)
        what = singular(self.what) if count == 1 else self.what
        shown = ", ".join(visible(path, 80) for path in self.paths[:3]) + (", ..." if count > 3 else "")
        return f"{count} {what}: {shown}" + (f". {self.advice}" if self.advice else "")


@dataclass(frozen=True)
class Bad:
    """A file that belongs to a data set and cannot be used."""

    name: str
    labels: tuple[str, ...]
    reason: str  # a sentence that names the file


@dataclass(frozen=True)
class Dataset:
    """Clips, and the names of their classes. Class number k is called `labels[k]`."""

    name: str
    labels: list[str]
    clips: list[Clip] = field(repr=False)
    multilabel: bool = False  # whether a clip may have several classes
    split_from: str = "given"  # where the splits (or the folds) come from, for people
    kind: str = "own"  # which training recipe fits: "builtin", "fsdd", "esc" or "own"
    fold: int | None = None  # the fold that is the test set, if the data come in folds
    drawn: bool = False  # whether the split was drawn by a seed
    notes: tuple[str, ...] = ()  # what was assumed, a sentence each
    skipped: tuple[Skipped, ...] = ()
    bad: tuple[Bad, ...] = ()  # files that are named but not there

    def of(self, *splits: str) -> list[Clip]:
        """The clips of these splits, in order."""
        return [clip for clip in self.clips if clip.split in splits]

    @property
    def validation_split(self) -> str:
        """The split that is evaluated after each epoch: "valid" if there is one, else "test"."""
        return "valid" if self.of("valid") else "test"

    @property
    def folds(self) -> list[int]:
        """The numbers of its folds; [] if it has none."""
        return sorted({clip.fold for clip in self.clips if clip.fold is not None})

    def targets(self, clips: list[Clip]) -> np.ndarray:
        """1 for each class that a clip has, else 0.   n clips -> (n, K) float32"""
        y = np.zeros((len(clips), len(self.labels)), np.float32)
        for row, clip in zip(y, clips, strict=True):
            row[list(clip.labels)] = 1
        return y

    def counts(self) -> dict[str, np.ndarray]:
        """Clips of each class, for each split that has any.   -> {split: (K,) int}"""
        return {
            split: np.bincount([k for clip in clips for k in clip.labels], minlength=len(self.labels))
            for split in SPLITS
            if (clips := self.of(split))
        }

    def noting(self, *sentences: str) -> "Dataset":
        """The same data set with further notes."""
        return replace(self, notes=(*self.notes, *sentences))


def checked(dataset: Dataset) -> Dataset:
    """The same data set, or minast.Error if it cannot be trained on."""
    if not dataset.clips:
        raise Error(f"{dataset.name}: there is no audio here.")
    if len(dataset.labels) < 2:
        raise Error(
            f"{dataset.name}: there is only one class ({quoted(dataset.labels[0])}): a classifier needs at least "
            "two, each in a sub-folder of its own or named in the manifest's labels."
        )
    for split in ("train", dataset.validation_split):
        if not dataset.of(split):
            raise Error(
                f"{visible(dataset.name)}: no clip is in the {split} split (there are {len(dataset.clips)} clips in "
                f"all){'; a class needs two different recordings for one to be held out' if dataset.drawn else ''}."
            )
    counts = dataset.counts()
    untrained = [name for name, n in zip(dataset.labels, counts["train"], strict=True) if n == 0]
    if untrained and not dataset.multilabel:
        others = " and ".join(split for split in counts if split != "train")
        raise Error(
            f"{dataset.name}: no training clip is of class {named(untrained)}, which the {others} split has: is it "
            "spelt differently there? Add training clips, or take it out."
        )
    return dataset


def singular(text: str) -> str:
    """ "files that need conversion" -> "file that needs conversion" """
    return (
        re.sub(r"(folder|file|table|link)s\b", r"\1", text, count=1)
        .replace(" that are ", " that is ")
        .replace(" that need ", " that needs ")
    )


def quoted(text: str, limit: int = 120) -> str:
    """A name in a sentence: in quotes, and safe to show."""
    return f"'{visible(text, limit)}'"


def named(names: list[str], most: int = 5) -> str:
    """Names in a sentence: "'a', 'b', ..." """
    return ", ".join(quoted(name) for name in names[:most]) + (", ..." if len(names) > most else "")
