"""Clips and data sets; a split for data that come without one; finding audio files."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ..audio import EXTENSIONS, load_audio
from ..errors import Error

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Clip:
    """One recording: its name for people, its class numbers, its split, and where its waveform comes from."""

    name: str
    labels: tuple[int, ...]  # class numbers
    split: str = ""  # "train", "valid", "test", or "" before the split is drawn
    path: str | None = None  # of the audio file, if there is one
    make: Callable | None = None  # rate -> wave (S,), for sounds that are synthesised

    def wave(self, rate: int) -> np.ndarray:
        """The waveform, (S,) float32 in [-1, 1] at `rate` Hz. Raises minast.Error as `load_audio` does."""
        return load_audio(self.path, rate) if self.make is None else self.make(rate)


@dataclass(frozen=True)
class Dataset:
    """Clips, and the names of their classes. Class number k is called `labels[k]`."""

    name: str
    labels: list[str]
    clips: list[Clip] = field(repr=False)
    multilabel: bool = False  # whether a clip may have several classes
    split_from: str = "given"  # where the splits come from, for people
    kind: str = "own"  # which training recipe fits: "builtin", "fsdd", "esc" or "own"

    def of(self, *splits: str) -> list[Clip]:
        """The clips of these splits, in order."""
        return [clip for clip in self.clips if clip.split in splits]

    @property
    def validation_split(self) -> str:
        """The split that is evaluated after each epoch: "valid" if there is one, else "test"."""
        return "valid" if self.of("valid") else "test"

    def targets(self, clips: list[Clip]) -> np.ndarray:
        """1 for each class that a clip has, else 0.   n clips -> (n, K) float32"""
        y = np.zeros((len(clips), len(self.labels)), np.float32)
        for row, clip in zip(y, clips, strict=True):
            row[list(clip.labels)] = 1
        return y


def checked(dataset: Dataset) -> Dataset:
    """The same data set, or minast.Error if it cannot be trained on."""
    if not dataset.clips:
        raise Error(f"{dataset.name}: there is no audio here.")
    if len(dataset.labels) < 2:
        raise Error(
            f"{dataset.name}: there is only one class ({dataset.labels[0]!r}): a classifier needs at least two, "
            "each in a sub-folder of its own or named in the manifest's labels."
        )
    for split in ("train", dataset.validation_split):
        if not dataset.of(split):
            raise Error(
                f"{dataset.name}: no clip is in the {split} split (there are {len(dataset.clips)} clips in all)."
            )
    return dataset


def stratified(clips: list[Clip], seed: int, share: float = 0.2) -> list[Clip]:
    """The clips with a split: `share` of each class (at least one clip, if it has two) is "test", the rest "train".

    seed: draws it. A clip with several labels counts for its rarest one.
    """
    counts = np.bincount([k for clip in clips for k in clip.labels])
    groups = {}
    for i, clip in enumerate(clips):
        rarest = min(clip.labels, key=lambda k: (counts[k], k)) if clip.labels else -1
        groups.setdefault(rarest, []).append(i)
    test = set()
    for k in sorted(groups):
        order = np.random.default_rng([seed, k + 1]).permutation(groups[k])
        take = max(1, round(share * len(order))) if len(order) > 1 else 0
        test.update(int(i) for i in order[:take])
    return [replace(clip, split="test" if i in test else "train") for i, clip in enumerate(clips)]


def audio_files(folder: str, report: Callable | None = None) -> list[str]:
    """All audio files in a folder and its sub-folders, sorted, without hidden ones (their names begin with a dot).

    A file counts by its suffix (`audio.EXTENSIONS`). A folder that cannot be read raises minast.Error, or is left out
    after `report` was called with that error.
    """
    found = []

    def unreadable(error):
        sentence = Error(f"{error.filename}: this folder cannot be read: {error.strerror}.")
        if report is None:
            raise sentence
        report(sentence)

    for root, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.join(root, n) for n in sorted(names) if n.lower().endswith(EXTENSIONS) and n[0] != "."]
    return found
