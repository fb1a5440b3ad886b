"""Who is trained on and who is held out: names of splits and folds, and a split for data that come without one."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import Error
from . import content
from .clips import CODES, SPLITS, Clip
from .common import Dataset

SHARE = 0.2  # of each class is held out
ALIASES = {"train": "train", "training": "train", "trn": "train"}
ALIASES |= {"valid": "valid", "validation": "valid", "validate": "valid", "val": "valid", "dev": "valid"}
ALIASES |= {"test": "test", "testing": "test", "tst": "test", "eval": "test", "evaluation": "test"}
ALIASES |= {"heldout": "test", "holdout": "test"}
FILLING = ("set", "sets", "data", "split", "part", "audio", "wav", "wavs", "clips", "sounds", "recordings", "files")
FOLD = re.compile(r"fold[ _.-]*0*(\d{1,4})", re.IGNORECASE)


def split_of(name: str) -> str | None:
    """The split that a folder or a table means: "Training set", "audio_test", "VAL" -> "train", "test", "valid"."""
    words = [word for word in _words(name) if word not in FILLING and len(word) > 1 and not word.isdecimal()]
    return ALIASES.get(re.sub(r"(sets?|data|split|part)$", "", words[0]) or words[0]) if len(words) == 1 else None


def hinted_split(name: str) -> str | None:
    """The split that some word of a name means, as in "FSD50K.dev_audio"."""
    return next((ALIASES[word] for word in _words(name) if word in ALIASES), None)


def _words(name):
    """ "AudioTrain2017" -> ["audio", "train", "2017"]"""
    name = re.sub(r"(?<=[^\W\d_])(?=\d)|(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return [word for word in re.split(r"[\W_]+", name.casefold()) if word]


def fold_of(name: str) -> int | None:
    """The number in "fold3", "Fold_03"."""
    match = FOLD.fullmatch(name.strip())
    return int(match[1]) if match else None


def assigned(
    dataset: Dataset,
    seed: int,
    fold: int | None = None,
    usual_fold: int | None = None,
    drawn_by: str = "content",
    trained_on: np.ndarray | None = None,
) -> Dataset:
    """The data set with a split for each clip: its own, the fold's, or one drawn by `seed`.

    Arguments as in `open_dataset`. Raises minast.Error for a fold that is not there, and for any where there is none.
    """
    folds = dataset.folds
    if drawn_by == "position" and dataset.kind == "own" and fold is None and usual_fold is None:
        folds = []  # version 0.1 knew no folds in a user's own data
    if fold is not None and not folds:
        raise Error(f"{dataset.name}: these data have no folds: leave out --fold.")
    if folds:
        test = fold if fold is not None else usual_fold if usual_fold in folds else folds[0]
        if test not in folds or len(folds) < 2:
            numbers = ", ".join(map(str, folds))
            raise Error(f"{dataset.name}: fold {test} is to be the test set; there are the folds {numbers}.")
        clips = dataset.clips.with_splits(np.where(dataset.clips.folds == test, CODES["test"], CODES["train"]))
        return replace(dataset, clips=clips, fold=test, split_from=f"{dataset.split_from}: fold {test} is the test set")
    if (dataset.clips.splits > 0).all():
        return dataset
    by_place = drawn_by == "position"
    clips = draw_by_position(dataset.clips, seed) if by_place else draw(dataset.clips, seed, trained_on=trained_on)
    return replace(dataset, clips=clips, drawn=True, split_from=f"a fifth of each class held out, seed {seed}")


def draw(clips: list[Clip], seed: int, share: float = SHARE, trained_on: np.ndarray | None = None) -> list[Clip]:
    """The clips with a split: `share` of each class (at least one clip, if it has two) is "test", the rest "train".

    The content of a file and the seed decide, not its name or place: clips are held out in the order of a hash of the
    two, round(share * n) of a class of n. So renaming moves no clip, and adding or deleting one moves at most one other
    of its class, since round(share * n) then changes. Copies of a file go together; where they do not fit in, fewer
    are held out. A clip with several labels counts for its rarest one. trained_on: clips (`content.shortened`) that are
    never held out.
    """
    found = content.digests([clip.path for clip in clips], "drawing the split")
    never = set() if trained_on is None else set(np.flatnonzero(content.among(found, trained_on)))
    units = {}  # the places of all copies of a recording
    for i, (clip, value) in enumerate(zip(clips, found, strict=True)):
        units.setdefault(value or clip.name.encode("utf-8", "surrogateescape"), []).append(i)
    counts = np.bincount([k for clip in clips for k in clip.labels])
    classes = {}
    for value, members in units.items():
        labels = [k for i in members for k in clips[i].labels]
        rarest = min(labels, key=lambda k: (counts[k], k), default=-1)
        order = hashlib.sha256(b"%d:" % seed + value).digest()
        classes.setdefault(rarest, []).append((order, members))
    test = {i for k in classes for i in _held_out(classes[k], share, never)}
    return [replace(clip, split="test" if i in test else "train") for i, clip in enumerate(clips)]


def _held_out(units: Sequence[tuple[bytes, list[int]]], share: float, never: set[int]) -> list[int]:
    """Of one class: `units` are (order, places of the copies).   -> the places held out, none of them in `never`"""
    if len(units) < 2:
        return []
    wanted = max(1, round(share * sum(len(members) for _, members in units)))
    chosen, units = [], [unit for unit in units if unit[1][0] not in never]
    for _, members in sorted(units):
        if len(chosen) + len(members) <= wanted:
            chosen += members
    return chosen or min(units, key=lambda unit: (len(unit[1]), unit[0]), default=(b"", []))[1]


def draw_by_position(clips: list[Clip], seed: int, share: float = SHARE) -> list[Clip]:
    """The split as version 0.1 drew it, by a clip's place in the list: for runs and models from that time."""
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


def in_order(split: str) -> int:
    """For sorting: train, valid, test; 0 for clips without a split."""
    return SPLITS.index(split) if split else 0
