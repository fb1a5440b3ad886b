"""Drawing a split: which clips are held out, class by class, without tearing groups apart.

What stays together is a unit: copies of a file, clips of one group, clips that hold the same sound, and whatever hangs
together by several of these. The content of the files and the seed decide, not names or places: units are taken in the
order of a hash of the two. So renaming moves no clip, and adding or deleting one moves few others.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import content
from .clips import Clips
from .near import connected
from .ragged import Ragged

NO_PAIRS = np.zeros((0, 2), int)


@dataclass(frozen=True, eq=False)
class Units:
    """What a split never tears apart, and how many clips of which class are in each. Clips without a class have one."""

    of_clip: np.ndarray  # (n,) the unit of each clip
    order: np.ndarray  # (U,) uint64: they are taken by it
    size: np.ndarray  # (U,) clips
    classes: Ragged  # the classes in each unit
    counts: np.ndarray  # of clips, for each of classes.values
    total: np.ndarray  # (K + 1,) clips of each class, the last for clips without one

    @classmethod
    def of(
        cls, clips: Clips, classes: int, seed: int, found: Sequence[bytes | None], same: np.ndarray = NO_PAIRS
    ) -> "Units":
        """The units of clips.   found: their digests; same (p, 2): places of clips with the same sound"""
        links = np.concatenate([np.reshape(same, (-1, 2)), linked(numbers(found)), linked(clips.groups)])
        of_clip = connected(len(clips), links)
        number = int(of_clip.max(initial=-1)) + 1
        order = np.full(number, 2**64 - 1, np.uint64)
        np.minimum.at(order, of_clip, _orders(clips, seed, found))
        labels = clips.labels
        bare = np.flatnonzero(labels.lengths == 0)
        units = np.concatenate([of_clip[labels.rows], of_clip[bare]]).astype(np.int64)
        values = np.concatenate([labels.values, np.full(len(bare), classes)])
        pairs, counts = np.unique(units * (classes + 1) + values, return_counts=True)
        starts = np.searchsorted(pairs, np.arange(number + 1) * (classes + 1))
        total = np.bincount(values.astype(int), minlength=classes + 1)
        size = np.bincount(of_clip, minlength=number)
        return cls(of_clip, order, size, Ragged(starts, pairs % (classes + 1)), counts, total)

    def __len__(self) -> int:
        return len(self.order)

    def content(self, unit: int) -> tuple[np.ndarray, np.ndarray]:
        """Its classes, and how many clips it has of each."""
        where = slice(self.classes.starts[unit], self.classes.starts[unit + 1])
        return self.classes.values[where], self.counts[where]

    def containing(self, clips: np.ndarray) -> np.ndarray:
        """Which units have a clip of these.   clips (n,) bool -> (U,) bool"""
        return np.bincount(self.of_clip[clips], minlength=len(self)) > 0


def held_out(
    units: Units, share: float, free: np.ndarray, never: np.ndarray, keep: int, last: bool = False
) -> np.ndarray:
    """The units to hold out: of each class about `share` of its clips, at least one unit.   -> (U,) bool

    free (U,): units to choose from; never (U,): those that stay. keep: of each class at least so many units stay; a
    class that has no more gives none. last: take those that are last in order. Rare classes come first, and a unit is
    taken if no class then exceeds its share; if none is small enough for a class, its smallest is taken.
    """
    belongs = free[units.classes.rows]
    left = np.bincount(units.classes.values[belongs], minlength=len(units.total))  # units of each class that stay
    total = np.bincount(units.classes.values[belongs], units.counts[belongs], minlength=len(units.total))
    wanted, held = np.maximum(1, np.round(share * total)), np.zeros(len(total))
    chosen, able, order = np.zeros(len(units), bool), free & ~never, ~units.order if last else units.order
    rows = units.classes.rows
    entries = np.lexsort((order[rows], units.classes.values))
    starts = np.searchsorted(units.classes.values[entries], np.arange(len(total) + 1))

    def take(unit, most):
        classes, counts = units.content(unit)
        if chosen[unit] or (left[classes] <= keep).any() or (held[classes] + counts > most[classes]).any():
            return
        chosen[unit] = True
        left[classes] -= 1
        held[classes] += counts

    for k in np.argsort(total, kind="stable"):
        own = entries[starts[k] : starts[k + 1]]
        own = own[able[rows[own]] & ~chosen[rows[own]]]
        mine, counts = rows[own], units.counts[own]
        alone = units.classes.lengths[mine] == 1
        sums = held[k] + np.cumsum(units.size[mine])
        easy = int(np.argmin(np.append(alone & (sums <= wanted[k]) & (np.arange(len(mine)) < left[k] - keep), False)))
        chosen[mine[:easy]] = True  # the first ones at once: they are of this class alone, and all of them fit
        left[k] -= easy
        held[k] = sums[easy - 1] if easy else held[k]
        for unit, count in zip(mine[easy:].tolist(), counts[easy:].tolist(), strict=True):
            if held[k] >= wanted[k] or left[k] <= keep:
                break
            if held[k] + count <= wanted[k]:
                take(unit, wanted)
        if not held[k]:
            for unit in mine[np.lexsort((order[mine], units.size[mine]))]:
                if held[k]:
                    break
                take(unit, np.full(len(total), np.inf))
    return chosen


def dealt(units: Units, folds: int) -> np.ndarray:
    """A fold for each unit, from 1: each class is spread as evenly as the units allow.   -> (U,)

    Large units come first. Each goes where its classes least exceed an equal share, and of such folds to the one that
    its hash names, or the next.
    """
    share, held = units.total / folds, np.zeros((folds, len(units.total)))
    found = np.zeros(len(units), np.int32)
    for unit in np.lexsort((units.order, -units.size)):
        classes, counts = units.content(unit)
        excess = np.maximum(held[:, classes] + counts - share[classes], 0).sum(axis=1)
        preferred = np.roll(np.arange(folds), -int(units.order[unit] % np.uint64(folds)))
        fold = preferred[np.argmin(np.round(excess[preferred], 6))]
        held[fold, classes] += counts
        found[unit] = fold + 1
    return found


# -- what belongs together -----------------------------------------------------------------------------------------


def numbers(found: Sequence[bytes | None]) -> np.ndarray:
    """A number for each digest, the same for the same, -1 for None.   -> (n,)"""
    known = {}
    return np.array([-1 if value is None else known.setdefault(value, len(known)) for value in found], np.int64)


def linked(numbers: np.ndarray) -> np.ndarray:
    """Each place with the next of the same number, which is not -1.   (n,) -> (p, 2)"""
    order = np.argsort(numbers, kind="stable")
    same = (numbers[order[1:]] == numbers[order[:-1]]) & (numbers[order[1:]] >= 0)
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def _orders(clips, seed, found):
    """A hash of the seed and the content of each clip, or of its name if it has no file.   -> (n,) uint64"""
    start = b"%d:" % seed
    names = (value or clips[i].name.encode("utf-8", "surrogateescape") for i, value in enumerate(found))
    hashes = b"".join(hashlib.sha256(start + name).digest()[: content.SHORT] for name in names)
    return np.frombuffer(hashes, ">u8").astype(np.uint64)
