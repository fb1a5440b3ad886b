"""Data sets: clips, and the names of their classes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import Error
from ..text import counted, visible
from .clips import CODES, SPLITS, Clip, Clips
from .targets import Targets


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
    """Clips, and the names of their classes. Class number k is called `labels[k]`.

    clips: given as any sequence of Clip, or a generator; it becomes `Clips`, which keeps them in arrays.
    """

    name: str
    labels: list[str]
    clips: Sequence[Clip] = field(repr=False)
    multilabel: bool = False  # whether a clip may have several classes
    split_from: str = "given"  # where the splits (or the folds) come from, for people
    kind: str = "own"  # a key of training.recipes.RECIPES; "own" for all without defaults of their own
    fold: int | None = None  # the fold that is the test set, if the data come in folds
    drawn: bool = False  # whether the split was drawn by a seed
    notes: tuple[str, ...] = ()  # what was assumed, a sentence each
    skipped: tuple[Skipped, ...] = ()
    bad: tuple[Bad, ...] = ()  # files that are named but not there
    joined: str = ""  # of a split that was drawn: how equal sounds join recordings, a clause
    alike: str = ""  # clips with the same sound that a drawn split keeps together: `content.pack_groups`

    def __post_init__(self):
        object.__setattr__(self, "clips", Clips.of(self.clips))

    def of(self, *splits: str) -> Clips:
        """The clips of these splits, in order."""
        return self.clips[np.isin(self.clips.splits, [CODES[split] for split in splits])]

    @property
    def validation_split(self) -> str:
        """The split that is evaluated after each epoch: "valid" if there is one, else "test"."""
        return "valid" if len(self.of("valid")) else "test"

    @property
    def scored_as(self) -> str:
        """How results are measured: "bce" (mAP) where a clip may have several labels, else "ce" (accuracy).

        It does not depend on the loss of training: words are trained with "bce", and have one label each.
        """
        return "bce" if self.multilabel else "ce"

    @property
    def folds(self) -> list[int]:
        """The numbers of its folds; [] if it has none."""
        return [int(fold) for fold in np.unique(self.clips.folds) if fold >= 0]

    def targets(self, clips: Sequence[Clip]) -> np.ndarray:
        """1 for each class that a clip has, else 0.   n clips -> (n, K) float32. For many clips use `Targets`."""
        return Targets.of(clips, len(self.labels))[:]

    def counts(self) -> dict[str, np.ndarray]:
        """Clips of each class, for each split that has any.   -> {split: (K,) int}"""
        return {split: Targets.of(clips, len(self.labels)).counts() for split in SPLITS if len(clips := self.of(split))}

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
            why = "; a class needs two different recordings or groups for one to be held out" if dataset.drawn else ""
            if dataset.joined:
                why += (
                    f"{', and' if dataset.drawn else ';'} {dataset.joined}: python -m minast.data check DATA names them"
                )
            total = counted(len(dataset.clips), "clip")
            raise Error(f"{visible(dataset.name)}: no clip is in the {split} split, of {total} in all{why}.")
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
    """Names in a sentence: "'a', 'b' and 12 more" """
    rest = len(names) - most
    return ", ".join(quoted(name) for name in names[:most]) + (f" and {rest} more" if rest > 0 else "")
