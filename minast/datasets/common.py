"""What every data set is made of, and the split for those that come without one."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ..audio import EXTENSIONS, load_audio
from ..errors import Error

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Clip:
    """One recording: its name for people, its class numbers, its split, and how to get the waveform."""

    name: str
    labels: tuple  # class numbers
    split: str = ""  # "train", "valid", "test", or "" for not decided
    path: str | None = None  # of the audio file, if there is one
    make: Callable | None = None  # rate -> wave (S,), for sounds that are synthesised

    def wave(self, rate):
        """(S,) float32 at `rate` Hz."""
        return load_audio(self.path, rate) if self.make is None else self.make(rate)


@dataclass(frozen=True)
class Dataset:
    """Clips with the names of their classes. `multilabel`: a clip may have any number of classes."""

    name: str
    labels: list
    clips: list = field(repr=False)
    multilabel: bool = False
    split_from: str = "given"  # where the splits come from, for the log
    kind: str = "own"  # which recipe fits: "builtin", "fsdd", "esc" or "own"

    def of(self, *splits):
        """The clips of these splits, in order."""
        return [clip for clip in self.clips if clip.split in splits]

    @property
    def validation_split(self):
        """What is looked at after each epoch: "valid" where there is one, else "test"."""
        return "valid" if self.of("valid") else "test"

    def targets(self, clips):
        """(n, K) float32 of 0 and 1."""
        y = np.zeros((len(clips), len(self.labels)), np.float32)
        for row, clip in zip(y, clips, strict=True):
            row[list(clip.labels)] = 1
        return y


def checked(dataset):
    """The data set itself, or minast.Error if nothing can be learnt from it."""
    if not dataset.clips:
        raise Error(f"{dataset.name}: there is no audio here.")
    if len(dataset.labels) < 2:
        raise Error(
            f"{dataset.name}: there is one class only ({dataset.labels[0]!r}): a classifier needs at least two, "
            "each in a sub-folder of its own or named in the manifest's labels."
        )
    for split in ("train", dataset.validation_split):
        if not dataset.of(split):
            raise Error(
                f"{dataset.name}: no clip is in the {split} split (there are {len(dataset.clips)} clips in all)."
            )
    return dataset


def stratified(clips, seed, share=0.2):
    """Give each clip a split: `share` of each class (at least one clip, if it has two) to test, the rest to train.

    Drawn by `seed`; a clip with several labels counts for its rarest one.
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


def audio_files(folder):
    """All audio files under a folder, sorted, hidden ones left out."""
    found = []

    def unreadable(error):
        raise Error(f"{error.filename}: this folder cannot be read: {error.strerror}.")

    for root, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.join(root, n) for n in sorted(names) if n.lower().endswith(EXTENSIONS) and n[0] != "."]
    return found
