"""Clips that are computed when a batch first needs them: for data sets too large to be read before the first step.

What a run computes does not depend on when a clip is read: a batch is a function of its step and of the files. Three
things are different from a small data set. Mean, deviation and lengths are those of SAMPLE clips, drawn by the seed. A
file that cannot be read is found late: with --skip-bad, another training clip stands in for it wherever it is drawn,
always the same one; else the run is saved and stops with a sentence. And which clips the model was trained on is known
by and by, so that the files need not be read for it.
"""

import json
import math
from collections.abc import Sequence

import numpy as np

from .. import threads
from ..console.say import note
from ..datasets import Clip
from ..datasets.content import SHORT, distinct, of_some_part, shortened
from ..errors import Error
from ..parallel import world
from ..text import counted, visible

SAMPLE = 2000  # clips that mean, deviation and lengths are measured on
MEASURE = 16  # the purpose of this draw, beside those of batches.py
SHOWN = 20  # bad files, and recordings with notes, that are named
UNKNOWN, GOOD, BAD = 0, 1, 2
TOGETHER = 64  # clips that a thread looks at in one go
GIVE_UP = 1000  # files in a row, in the order of `stand_in`, that cannot be read


class FoundLate(Error):
    """A file that cannot be used was found after training had begun: what was done is saved, and can be resumed."""


class Late:
    """How the clips of a cache are computed later, and what is known of them by then.

    seed: draws the sample. skip_bad: whether other clips stand in for those that cannot be read. leader: of another
    cache of the same clips, which decides what stands in for what: so that the waveform, the features and the targets
    of a place are those of one clip.
    sampled: the places of the sample, sorted.   (<= SAMPLE,)
    """

    def __init__(self, seed: int = 0, skip_bad: bool = False, leader: "Late | None" = None):
        self.seed, self.skip_bad, self.leader = seed, skip_bad and leader is None, leader
        self.bad = self.noted = self._said = 0
        self.settled = False  # whether all clips have been looked at

    def begin(self, cache: Sequence) -> None:
        """Called once by the cache whose clips these are."""
        n = len(cache.clips)
        self.cache = cache
        self._state, self._digests = np.zeros(n, np.int8), np.zeros(n, "<u8")
        self._cut = set()  # of files that parts are from, `content.of_some_part`
        self._step = next(k for k in range(max(1, round(n * 0.618)), n + 2) if math.gcd(k, n) == 1) if n else 1
        rng = np.random.default_rng([self.seed, MEASURE])
        self.sampled = np.sort(rng.choice(n, min(n, SAMPLE), replace=False))

    def row(self, i: int) -> np.ndarray:
        """What the cache has of clip i, or of the one that stands in for it. Raises FoundLate if there is nothing."""
        i = range(len(self._state))[i]
        return self._read(self.leader.stand_in(i) if self.leader else i)[1]

    def stand_in(self, i: int) -> int:
        """i, or the clip that stands in for it: the first that can be read of i + s, i + 2 s, ..., modulo n.

        s is near 0.618 n and prime to it, so that neighbours, which are often damaged together, are not tried, and all
        clips are in the end. It depends on the files alone.
        """
        i = range(len(self._state))[i]
        return i if self._state[i] == GOOD or not self.skip_bad else self._read(i)[0]

    def _read(self, i):
        """-> the clip that could be read, what is computed of it"""
        for _ in range(min(len(self._state), GIVE_UP)):
            if self._state[i] != BAD:
                try:
                    _, row, notes = self.cache.compute(i)
                    if self._state[i] == UNKNOWN:
                        self._first(i, notes)
                    return i, row
                except Error as error:
                    if self._state[i] == GOOD or not self.skip_bad:
                        raise FoundLate(str(error)) from None
                    self._mark_bad(i, error)
            i = (i + self._step) % len(self._state)
        raise FoundLate(f"{GIVE_UP} files, from all over the data set, cannot be read: is the drive there?")

    def settle(self, bad: list[tuple[Clip, Error]], label: str = "features") -> None:
        """Compute all clips now, with a progress bar, and leave out of the cache those that cannot be read.

        For clips that are scored: no other can stand in for one of them. bad: gets (clip, minast.Error) of each.
        """
        from tqdm import tqdm

        mine = []

        def look(places):
            return [(i, self._fault(i)) for i in places if self._state[i] != GOOD]

        n, group = len(self._state), world()
        parts = [range(i, min(i + TOGETHER, n)) for i in range(0, n, TOGETHER)][group.rank :: group.size]
        with (
            threads.ordered(look, parts) as results,
            tqdm(total=n, desc=label, unit="clip", disable=self.cache.quiet or None, leave=False) as bar,
        ):
            for part, found in zip(parts, results, strict=True):
                mine += [(i, str(error)) for i, error in found if error]
                bar.update(len(part) * group.size)
        for said in group.talk(json.dumps(mine).encode()):
            for i, sentence in json.loads(said):
                self._state[i] = BAD
                bad.append((self.cache.clips[i], Error(sentence)))
        self._state[self._state == UNKNOWN] = GOOD  # as another process has found
        self.settled, good = True, self._state == GOOD
        self.sampled = np.flatnonzero(np.isin(np.flatnonzero(good), self.sampled))
        self._state, self._digests = self._state[good], self._digests[good]
        self.cache.keep(good)

    def _fault(self, i):
        """Compute clip i.   -> why that is impossible, or None"""
        try:
            self._first(i, self.cache.compute(i)[2])
        except Error as error:
            return error

    def _first(self, i, notes):
        clip = self.cache.clips[i]
        if found := self.cache.digest(clip):
            self._digests[i] = int.from_bytes(found[:SHORT], "little")
        if found and clip.part is not None:
            self._cut.add(of_some_part(self.cache.digest(clip, whole=True)))
        with self.cache._lock:
            if self._state[i] == UNKNOWN:
                self._state[i] = GOOD
                self.noted += bool(notes)
                self.cache.notes += [(clip, each) for each in notes if len(self.cache.notes) < SHOWN]

    def _mark_bad(self, i, error):
        with self.cache._lock:
            new, self._state[i] = self._state[i] != BAD, BAD
            self.bad += new
        if new and self.bad <= SHOWN:
            note(f"left out: {error}")

    def trained_on(self) -> np.ndarray:
        """What a checkpoint keeps (`content.with_files`) of the clips that were read.   -> (n,) uint64, sorted"""
        return distinct(np.concatenate([self._digests[self._digests != 0], shortened(self._cut.copy())]))

    def report(self) -> str | None:
        """One sentence on what was found since the last one, None if that is nothing."""
        if self.bad + self.noted == self._said:
            return None
        self._said, said = self.bad + self.noted, []
        if self.bad:
            clips = counted(self.bad, "clip")
            said.append(f"{clips} of {len(self._state)} could not be read, others stand in for them")
        if self.noted:
            clip, sentence = self.cache.notes[0]
            notes = f"there are notes on {counted(self.noted, 'clip')}"
            said.append(f"{notes}, such as {visible(clip.name)}: {sentence.rstrip('.')}")
        return "; ".join(said)


class StandIns:
    """targets[i] of the clips that stand in for those that cannot be read: what `mels[i]` is, targets[i] says.

    targets: (n, K), an array or `datasets.targets.Targets`.
    """

    def __init__(self, targets, late: Late):
        self.targets, self.late, self.shape = targets, late, targets.shape

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i) -> np.ndarray:
        if isinstance(i, (int, np.integer)):
            return self.targets[self.late.stand_in(int(i))]
        places = np.arange(len(self))[i]
        return self.targets[np.array([self.late.stand_in(int(k)) for k in places], int)]

    def counts(self) -> np.ndarray:
        """Clips of each class, those that cannot be read included.   -> (K,)"""
        return self.targets.counts()

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """targets @ weights, as `Targets.sums`.   weights (K,) -> (n,)"""
        return self.targets.sums(weights)
