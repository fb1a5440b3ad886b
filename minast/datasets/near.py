"""Clips that hold the same sound: copies at another gain, in another format, resampled, or cut elsewhere.

Landmarks of all clips are sorted, so that equal ones lie side by side; pairs of clips that share several at one shift
are candidates. The waveforms of candidates are then compared (`same_sound`), so what is reported was heard, not
guessed. Time grows with the hours of sound, not with its square: a landmark is compared with a few neighbours only, and
a clip with a few others. A copy of a copy is found through the first.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .. import threads
from ..errors import Error
from .clips import Clip, Clips
from .content import of_clips
from .landmarks import HOP, RATE
from .same_sound import Same, same_sound
from .survey import Recording, recordings

MOST = 5000  # clips for which a command that only trains listens to all of them
LANDMARKS = 2**26  # in memory, 2 GB at worst; of larger data sets a share is used, the same of each clip
NEIGHBOURS = 8  # equal landmarks that each is compared with
LEAST = 3  # landmarks that candidates share at one shift
TRIES = 8  # candidates of a clip that turn out to be other sounds, before no more are compared
TOGETHER = 64  # pairs that are compared at a time
NOTHING = np.zeros((0, 2), np.uint32)  # the landmarks of silence


class Pair(NamedTuple):
    """Two clips that hold the same sound."""

    a: int  # places in the sequence of clips, a < b
    b: int
    same: Same


def affordable(clips: Sequence[Clip]) -> bool:
    """Whether there are so few clips that all can be listened to without asking: 5000 of 10 s take some minutes."""
    return len(clips) <= MOST


def connected(n: int, links: Sequence[tuple[int, int]] | np.ndarray) -> np.ndarray:
    """A number for each of n places, the same for those that links join, directly or through others.   -> (n,)"""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = np.reshape(np.asarray(links, np.int64), (-1, 2))
    return connected_components(coo_matrix((np.ones(len(links)), links.T), (n, n)), directed=False)[1]


class Listener:
    """Hears the recordings of clips one after another, and finds those that hold the same sound.

    Of files with the same bytes the first one is heard; clips that are synthesised or cannot be read are not.
    """

    def __init__(self, clips: Clips):
        known = of_clips(clips, "comparing files")
        first = {}
        for i, value in enumerate(known):
            if value:
                first.setdefault(value, i)
        self.clips, self.index = clips, Index()
        self.places = np.array(sorted(first.values()), int)
        self.wanted = np.zeros(len(clips), bool)
        self.wanted[self.places] = True
        self.key = hashlib.sha256(b"".join(value or bytes(32) for value in known)).digest()

    def hear(self, i: int, found: Recording | Error) -> None:
        """The recording of the next clip, at place i."""
        if self.wanted[i]:
            self.index.add(NOTHING if isinstance(found, Error) else found.landmarks)

    def pairs(self) -> list[Pair]:
        """Enough pairs to connect all clips that hold the same sound."""
        global _last
        heard = confirmed(self.clips[self.places], *self.index.candidates())
        _last = self.key, [Pair(int(self.places[a]), int(self.places[b]), same) for a, b, same in heard]
        return _last[1]


_last: tuple[bytes, list[Pair]] = (b"", [])  # a command asks twice: when it draws the split, and when it warns


def pairs(clips: Clips) -> list[Pair]:
    """Clips that hold the same sound though their files differ; every file is read, or looked up in the cache."""
    listener = Listener(clips)
    if _last[0] == listener.key:
        return _last[1]
    with recordings(clips[listener.places], "listening") as results:
        for i, found in zip(listener.places.tolist(), results, strict=True):
            listener.hear(i, found)
    return listener.pairs()


# -- candidates ----------------------------------------------------------------------------------------------------


class Index:
    """The landmarks of many clips; at most LANDMARKS of them, by keeping only every second, fourth, ... hash."""

    def __init__(self):
        self.clips, self.total, self.step = [], 0, 1

    def add(self, marks: np.ndarray) -> None:
        """The landmarks (n, 2) of the next clip."""
        self.clips.append(self._kept(marks))
        self.total += len(self.clips[-1])
        while self.total > LANDMARKS:
            self.step *= 2
            self.clips = [self._kept(each) for each in self.clips]
            self.total = sum(map(len, self.clips))

    def _kept(self, marks):
        return marks if self.step == 1 else marks[marks[:, 0] % self.step == 0]

    def candidates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs that share landmarks at one shift, those with most first.   -> a, b, shift, each (p,)

        The shift is in frames: b[t] is a[t + shift].
        """
        lengths = np.array([len(each) for each in self.clips], np.int64)
        marks = np.concatenate([NOTHING, *self.clips])
        self.clips = []
        order = np.argsort(marks[:, 0], kind="stable")
        values, frames = marks[order, 0], marks[order, 1].astype(np.int64)
        clip = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)[order]
        del marks, order
        keys = []
        for k in range(1, min(NEIGHBOURS, len(values) - 1) + 1):
            i = np.flatnonzero((values[k:] == values[:-k]) & (clip[k:] != clip[:-k]))
            shift = (frames[i] - frames[i + k]) % 2**16  # clips are in order, so a < b
            keys.append(clip[i].astype(np.uint64) << np.uint64(40) | (clip[i + k] << 16 | shift).astype(np.uint64))
        keys, counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *keys]), return_counts=True)
        beside = np.append(keys[1:] == keys[:-1] + np.uint64(1), False)  # a shift between two frames is in both
        counts = counts + np.where(beside, np.append(counts[1:], 0), 0)
        keys, counts = keys[counts >= LEAST], counts[counts >= LEAST]
        best = np.lexsort((-counts, keys >> np.uint64(16)))
        ends = keys[best] >> np.uint64(16)
        best = best[np.append(True, ends[1:] != ends[:-1])[: len(best)]]
        best = best[np.argsort(-counts[best], kind="stable")]
        keys = keys[best].astype(np.uint64)
        shift = (keys & np.uint64(0xFFFF)).astype(np.int64)
        b = (keys >> np.uint64(16) & np.uint64(0xFFFFFF)).astype(np.int64)
        return (keys >> np.uint64(40)).astype(np.int64), b, np.where(shift >= 2**15, shift - 2**16, shift)


# -- comparing waveforms -------------------------------------------------------------------------------------------


def confirmed(clips: Clips, a: np.ndarray, b: np.ndarray, shift: np.ndarray) -> list[tuple[int, int, Same]]:
    """Of candidates those whose waveforms agree.   a, b, shift as from `candidates`

    Pairs that others connect already are not compared.
    """
    from tqdm import tqdm

    above, failed, found = {}, Counter(), []  # above: a tree of clips with the same sound

    def top(i):
        while i in above:
            i = above[i]
        return i

    def compare(candidate):
        i, j, frames = candidate
        try:
            return same_sound(clips[i].wave(RATE), clips[j].wave(RATE), frames * HOP)
        except Error:  # removed meanwhile
            return None

    left = list(zip(a.tolist(), b.tolist(), shift.tolist(), strict=True))
    with tqdm(total=len(left), desc="comparing sounds", unit="pair", disable=None, leave=False, delay=0.5) as bar:
        for start in range(0, len(left), TOGETHER):
            some = [
                (i, j, frames)
                for i, j, frames in left[start : start + TOGETHER]
                if top(i) != top(j) and failed[i] < TRIES and failed[j] < TRIES
            ]
            with threads.ordered(compare, some) as results:
                for (i, j, _), same in zip(some, results, strict=True):
                    if same is None:
                        failed.update((i, j))
                    elif top(i) != top(j):
                        above[top(j)] = top(i)
                        found.append((i, j, same))
            bar.update(len(left[start : start + TOGETHER]))
    return sorted(found)
