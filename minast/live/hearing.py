"""The streaming core on sound that is still to come: events as soon as each is known, and how late they are."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ..audio.resample import resampled
from ..features import hop_seconds
from ..streaming.events import Event, Events
from ..streaming.sound import OpenSound, Segment
from ..streaming.work import Scanner
from .source import Source

FRAMES = 4  # of the log-mel that are computed at a time: 40 ms, which a segment waits at most
KEPT = 10**5  # latencies, those of the latest segments


class LiveSound(OpenSound):
    """A sound whose waveform comes in blocks (n,) at the model's rate; see `OpenSound`."""

    together = FRAMES

    def __init__(self, blocks: Iterable[np.ndarray], features, spectrograms):
        super().__init__(np.zeros(0, np.float32), features, spectrograms=spectrograms)
        self._blocks = blocks

    def _counted(self):
        for block in self._blocks:
            self._samples += len(block)
            yield block


class Hearing:
    """A model that listens to a source.

    told: called for each segment with the segment, its scores (K,) and its latency: the seconds from the arrival of
    its last sample to its scores, the wait for the model included, which is long where a whole file is piped in.
    Segments that wait for the model are computed together. `latencies`, `seconds`: of what was heard so far.
    """

    def __init__(self, scanner: Scanner, source: Source, told: Callable[[Segment, np.ndarray, float], object]):
        self.scanner, self.source, self.told = scanner, source, told
        self.latencies, self.seconds, self._waiting = deque(maxlen=KEPT), 0.0, []
        s, f = scanner.settings, scanner.features
        step = hop_seconds(f.rate)
        self._events = Events(np.array(s.thresholds), f.frames * step, s.hop * step, s.merge, s.shortest)

    def run(self, found: Callable[[Event], object]) -> None:
        """Listen until the source ends. found: called for each event as soon as it is known.

        Raises minast.Error for less than a frame of sound, and for samples that are no numbers or out of all bounds.
        """

        def compute():
            for event in self._computed():
                found(event)

        f = self.scanner.features
        blocks = resampled(self.source.blocks(compute), self.source.rate, f.rate)
        sound = LiveSound(blocks, f, self.scanner.spectrograms)
        for segment in sound.timed_segments(self.scanner.settings.hop):
            self._waiting.append(segment)
            if len(self._waiting) == self.scanner.settings.batch:
                compute()
        compute()
        self.seconds = sound.seconds
        for event in self._events.finish(sound.seconds):
            found(event)

    def _computed(self) -> Iterator[Event]:
        """Score the segments that wait.   -> events that are over"""
        if not self._waiting:
            return
        segments, self._waiting = self._waiting, []
        rows = self.scanner.scores(np.stack([segment.x for segment in segments]))
        now = time.monotonic()
        for segment, row in zip(segments, rows, strict=True):
            self.seconds = segment.end
            self.latencies.append(now - self.source.arrival(segment.end))
            self.told(segment, row, self.latencies[-1])
            yield from self._events.add(segment.start, row)
