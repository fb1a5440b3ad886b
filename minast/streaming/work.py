"""A unit of work: a few recordings, done one after another. Every kind of worker does it by this code.

The recordings of a unit share batches, and no batch holds segments of two units. BLAS rounds a product by its shape and
a row by its place in it; so a unit has the same results to the last bit whoever computes it, and whenever.

`Worker` reads; what it gathers from the segments is said by its kinds: `Scanner` finds events, `embeddings.work` keeps
embeddings. Each has settings of its own, plain values that can be sent to another process, whose `worker()` makes it.
"""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..checkpoint import load
from ..errors import Error
from ..features import hop_seconds
from ..scoring import segment_scores
from . import remote
from .core import Ended, Scored, scored
from .events import Event, Events
from .sound import OpenSound

MOST_FILES, MOST_BYTES = 32, 2**25  # of a unit: what a stopped scan computes again, at most, for each worker
EVERY = 0.5  # seconds between two reports of how far a unit is


class Unit(NamedTuple):
    """Some of an archive's recordings."""

    first: int  # the number of the first one
    files: tuple[str, ...]


@dataclass(frozen=True)
class Common:
    """What every worker needs to know: plain values, which can be sent to another process or machine."""

    checkpoint: str  # path of the model
    digest: str  # of that file
    hop: int  # frames from one segment to the next
    batch: int  # segments that go through the model together
    backend: str | None

    def worker(self) -> "Worker":
        """A worker with these settings. Raises as `Worker` does."""
        raise NotImplementedError


@dataclass(frozen=True)
class Settings(Common):
    """What a `Scanner` needs to know."""

    thresholds: tuple[float, ...]  # of each label; infinite for those that are not wanted
    merge: float = 0.0  # s
    shortest: float = 0.0  # s

    def worker(self) -> "Scanner":
        """A Scanner."""
        return Scanner(self)


def units(files: Sequence[tuple[str, int]]) -> list[Unit]:
    """Neighbours together, up to MOST_FILES and MOST_BYTES; a larger file is alone.   files: [(path, bytes)]"""
    found, names, size = [], [], 0
    for i, (name, more) in enumerate(files):
        if names and (len(names) == MOST_FILES or size + more > MOST_BYTES):
            found.append(Unit(i - len(names), tuple(names)))
            names, size = [], 0
        names.append(name)
        size += more
    if names:
        found.append(Unit(len(files) - len(names), tuple(names)))
    return found


def digest_of(path: str) -> str:
    """SHA-256 of a file, to tell one checkpoint from another."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha(file)
    except OSError as error:
        raise Error(f"{path}: this file cannot be read: {error.strerror or error}.") from None


def _sha(file):
    """hashlib.file_digest, for Python 3.10."""
    found = hashlib.sha256()
    while block := file.read(2**20):
        found.update(block)
    return found.hexdigest()


class Worker(ABC):
    """A model with its settings, ready for units. Raises minast.Error if the checkpoint is another one than was
    meant."""

    def __init__(self, settings: Common):
        if digest_of(settings.checkpoint) != settings.digest:
            raise Error(f"{settings.checkpoint}: this is not the checkpoint that the work was begun with.")
        self.settings = settings
        self.model, self.info = load(settings.checkpoint, settings.backend)
        self.model.cuda_graphs = True
        self.features = self.info.features
        self.spectrograms = self.model.backend.spectrograms(self.features.rate)

    @abstractmethod
    def compute(self, x: np.ndarray) -> np.ndarray:
        """What the model says of segments.   (B, frames, F) -> (B, ...)"""

    @abstractmethod
    def gathered(self) -> Any:
        """What gathers the results of a recording: `add(Scored)` for each segment, then `result(OpenSound)`."""

    def do(self, files: Sequence[str], report: Callable[[int, float, float], object] | None = None) -> list[dict]:
        """The result of each file.   -> a dictionary each

        {"error": sentence} for a file that could not be read; else what `gathered().result` gives, with "seconds", and
        "notes": [sentence, ...]. report: is told now and then how far it is: the number of the file, the share of it
        that is done, and its seconds.
        """
        results, told, own = [], time.monotonic(), None
        with ExitStack() as copies:
            paths, sounds = {}, {}

            def open_sound(i):
                paths[i] = copies.enter_context(remote.local(files[i]))
                sounds[i] = OpenSound(paths[i], self.features, spectrograms=self.spectrograms)
                return sounds[i]

            for each in scored(self.compute, range(len(files)), open_sound, self.settings.hop, self.settings.batch):
                own = own or self.gathered()
                if not isinstance(each, Ended):
                    own.add(each)
                    if report and time.monotonic() > told + EVERY:
                        told = time.monotonic()
                        report(each.key, min(1.0, each.end / sounds[each.key].expected_seconds), each.end)
                    continue
                if each.error:
                    results.append({"error": _without_path(each.error, files[each.key], paths.get(each.key))})
                else:
                    results.append(own.result(each.sound))
                own = None
                sounds.pop(each.key, None)
        return results


class Scanner(Worker):
    """Finds events. A result is

    {"seconds", "rate" (Hz, the file's), "notes": [sentence, ...], "events": [[start, end, label, score], ...]} with
    times rounded to 1 ms and scores to 4 digits.
    """

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self._scores = segment_scores(self.model, self.info.loss)
        self._decisions = getattr(self.info, "decisions", None)  # a calibrated model's scores are calibrated everywhere

    def compute(self, x: np.ndarray) -> np.ndarray:
        """`scores`"""
        return self.scores(x)

    def gathered(self) -> "Found":
        """See `Worker`."""
        s, step = self.settings, hop_seconds(self.features.rate)
        length, hop = self.features.frames * step, s.hop * step
        return Found(Events(np.array(s.thresholds), length, hop, s.merge, s.shortest))

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of segments, calibrated if the model is.   (B, frames, F) -> (B, K)

        Raises minast.Error if they are not finite.
        """
        rows = self._scores(x)
        if not np.isfinite(rows).all():
            raise Error(
                f"{self.settings.checkpoint}: the model's scores are not numbers: its weights are damaged or were "
                "never trained."
            )
        return rows if self._decisions is None else self._decisions.calibrated(rows)


class Found:
    """The events of a recording, as a `Scanner` gathers them."""

    def __init__(self, events: Events):
        self.events, self.found = events, []

    def add(self, segment: Scored) -> None:
        """The next segment."""
        self.found += self.events.add(segment.start, segment.row)

    def result(self, sound: OpenSound) -> dict:
        """The recording has ended."""
        self.found += self.events.finish(sound.seconds)
        return {
            "seconds": round(sound.seconds, 3),
            "rate": sound.rate,
            "notes": [note.text for note in sound.notes],
            "events": [list(row) for row in sorted(map(rounded, self.found))],
        }


def rounded(e: Event) -> tuple[float, float, int, float]:
    """An event as tables have it: start and end to 1 ms, label, score to 4 digits."""
    return round(e.start, 3), round(e.end, 3), e.label, round(e.score, 4)


def _without_path(text, name, path):
    """A reason, for a table that has the file's name in another column."""
    for each in (name, path):
        text = text.removeprefix(f"{each}: ") if each else text
    return text
