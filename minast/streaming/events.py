"""Scores of segments -> events: what is heard from when to when.

A model hears segments of L seconds, one every h seconds (h <= L): segment i begins at s_i and is centred at s_i + L /
2. Its score stands for the h seconds around its centre, its cell:

    cell i = [s_i + L / 2 - h / 2, s_i + L / 2 + h / 2)

The first cell begins with the recording, at 0, and the last one ends with it: so cells follow one another without gap
or overlap, whatever h is, and with segments end to end (h = L) they are the segments themselves. The last segment,
which is flush with the recording's end, has what is left behind the cell before it.

An event of a label is a longest run of cells whose scores are at least the label's threshold. It starts where its first
cell starts, ends where its last cell ends, and its score is the highest of its cells:

    start = max(0, s_a + (L - h) / 2),   end = s_b + (L + h) / 2,   score = max(p_a, ..., p_b)

Events of a label with at most `merge` seconds between them are one; then those shorter than `shortest` are dropped.

How exact the times are. Let a score pass the threshold when the sound fills half of a segment. Then for a sound of L
seconds or more the first cell's centre lies in [onset, onset + h), so that the start is at most h / 2 from the onset;
and likewise the end. If the score passes the threshold when a share c of the segment is filled, start and end move by
(c - 1/2) L into the sound or out of it, so it takes |c - 1/2| L <= h / 2 for the error to stay within one hop. A sound
that is shorter than a segment cannot be placed better than the segment: its event is about L wide.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

CLOSE = 1e-6  # s: gaps and lengths that differ by less are equal


class Event(NamedTuple):
    """A label that is heard from `start` to `end`, in seconds."""

    start: float
    end: float
    label: int  # number of its class
    score: float  # the highest of its segments


class Events:
    """The events of one recording, from the scores of its segments in their order; holds a few numbers per label.

    thresholds: (K,), infinite for labels that are not wanted. length: L, the seconds of a segment. hop: h, in seconds.
    merge, shortest: in seconds.
    """

    def __init__(self, thresholds: np.ndarray, length: float, hop: float, merge: float = 0.0, shortest: float = 0.0):
        self.thresholds, self.reach, self.merge, self.shortest = thresholds, (length + hop) / 2, merge, shortest
        k = len(thresholds)
        self.open = np.zeros(k, bool)  # labels with an event that may still grow
        self.start, self.end, self.score = np.zeros(k), np.zeros(k), np.zeros(k)
        self.edge = 0.0  # where the next cell begins

    def add(self, start: float, row: np.ndarray) -> Iterator[Event]:
        """The next segment's begin (s) and scores (K,).   -> events that cannot grow any more, by label"""
        begin, self.edge = self.edge, start + self.reach
        on = row >= self.thresholds
        if not (on.any() or self.open.any()):
            return
        soonest = np.where(on, begin, self.edge)  # where the label may be heard again
        over = self.open & (soonest - self.end > self.merge + CLOSE)
        yield from self._closed(over)
        fresh = on & ~self.open
        self.start[fresh], self.score[fresh] = begin, -np.inf
        self.end[on] = self.edge
        self.score[on] = np.maximum(self.score[on], row[on])
        self.open |= on

    def finish(self, seconds: float) -> Iterator[Event]:
        """The recording has ended after so many seconds.   -> the events that are left"""
        self.end[self.open & (self.end >= self.edge)] = seconds
        yield from self._closed(self.open.copy())

    def _closed(self, labels):
        """End the events of these labels (K,) bool."""
        self.open &= ~labels
        for k in np.flatnonzero(labels & (self.end - self.start >= self.shortest - CLOSE)):
            yield Event(float(self.start[k]), float(self.end[k]), int(k), float(self.score[k]))


def thresholds(info, least: float | None, wanted: np.ndarray | None = None) -> np.ndarray:
    """The score from which each label counts as heard.   -> (K,)

    least: for all labels (default: the checkpoint's own, for calibrated scores; without any, 0.5).
    wanted: class numbers; all others are never heard (default: all are).
    """
    own, k = getattr(info, "decisions", None), len(info.labels)
    if least is None and own is not None:
        found = np.array([np.inf if level is None else level for level in own.thresholds], float)  # None: never heard
    else:
        found = np.full(k, 0.5 if least is None else least)
    return found if wanted is None else np.where(np.isin(np.arange(k), wanted), found, np.inf)
