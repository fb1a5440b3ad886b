"""Splits as earlier versions drew them, for the runs and models of that time: train and test, and no groups."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from . import content
from .clips import Clip

SHARE = 0.2  # of each class is held out


def drawn(clips: Sequence[Clip], seed: int, by: str, trained_on: np.ndarray | None = None) -> list[Clip]:
    """The clips with a split.   by: "position" in the list, as in version 0.1, or "content" of the files"""
    return draw_by_position(clips, seed) if by == "position" else draw_by_content(clips, seed, trained_on)


def draw_by_content(clips: Sequence[Clip], seed: int, trained_on: np.ndarray | None = None) -> list[Clip]:
    """The clips with a split: a fifth of each class (at least one clip, if it has two) is "test", the rest "train".

    The content of a file and the seed decide, not its name or place: clips are held out in the order of a hash of the
    two, round(SHARE * n) of a class of n. So renaming moves no clip, and adding or deleting one moves at most one other
    of its class, since round(SHARE * n) then changes. Copies of a file go together; where they do not fit in, fewer
    are held out. A clip with several labels counts for its rarest one. trained_on: clips (`content.shortened`) that are
    never held out.
    """
    found = content.of_clips(clips, "drawing the split")
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
    test = {i for k in classes for i in _held_out(classes[k], never)}
    return [replace(clip, split="test" if i in test else "train") for i, clip in enumerate(clips)]


def _held_out(units: Sequence[tuple[bytes, list[int]]], never: set[int]) -> list[int]:
    """Of one class: `units` are (order, places of the copies).   -> the places held out, none of them in `never`"""
    if len(units) < 2:
        return []
    wanted = max(1, round(SHARE * sum(len(members) for _, members in units)))
    chosen, units = [], [unit for unit in units if unit[1][0] not in never]
    for _, members in sorted(units):
        if len(chosen) + len(members) <= wanted:
            chosen += members
    return chosen or min(units, key=lambda unit: (len(unit[1]), unit[0]), default=(b"", []))[1]


def draw_by_position(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """The split as version 0.1 drew it, by a clip's place in the list: for runs and models from that time."""
    counts = np.bincount([k for clip in clips for k in clip.labels])
    groups = {}
    for i, clip in enumerate(clips):
        rarest = min(clip.labels, key=lambda k: (counts[k], k)) if clip.labels else -1
        groups.setdefault(rarest, []).append(i)
    test = set()
    for k in sorted(groups):
        order = np.random.default_rng([seed, k + 1]).permutation(groups[k])
        take = max(1, round(SHARE * len(order))) if len(order) > 1 else 0
        test.update(int(i) for i in order[:take])
    return [replace(clip, split="test" if i in test else "train") for i, clip in enumerate(clips)]
