"""A sound on its way to the model, whatever its length: its segments as soon as they are complete, with their times."""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ..audio import Recording, resample
from ..config import FeatureConfig
from ..errors import Error
from ..features import (
    ON_CPU,
    STREAM,
    Spectrograms,
    frame_count,
    hop_seconds,
    log_mel_blocks,
    normalise,
    segments_of_blocks,
)

SHORT = 60  # seconds: the log-mel of a sound up to this long is kept, 3 MiB


class Segment(NamedTuple):
    """One input of the model, and where in its sound it lies."""

    start: float  # s
    end: float  # s; that of a sound's last segment may be up to 25 ms before the sound's
    x: np.ndarray  # (frames, F), normalised


class OpenSound:
    """A recording or a waveform, with the features of a model.

    source: the path of an audio file, or a float waveform (S,) in [-1, 1]. rate: Hz, of a waveform that is not at
    `features.rate`; files say their own. spectrograms: where the log-mel is computed.
    heard: is given each block of the waveform (n,) at that rate, on its way to the log-mel.
    notes: what the user should know about the file (`audio.Recording`). Memory does not grow with the length of a file.
    Raises minast.Error, naming the file, for one that cannot be read.
    """

    together = STREAM  # frames of the log-mel that are computed at a time

    def __init__(
        self,
        source: str | os.PathLike | np.ndarray,
        features: FeatureConfig,
        rate: float | None = None,
        spectrograms: Spectrograms = ON_CPU,
        heard: Callable[[np.ndarray], object] | None = None,
    ):
        self.features, self.spectrograms, self._samples, self._mels = features, spectrograms, 0, None
        self._heard = heard
        self.file = None if isinstance(source, np.ndarray) else os.fspath(source)
        if self.file is not None:
            self._recording = Recording(self.file)
            self.notes = self._recording.notes
            if self._recording.seconds <= SHORT:
                self._mels = list(self._computed())
        else:
            usable = source.ndim == 1 and source.dtype.kind == "f"  # anything else is refused by log_mel
            if usable and rate not in (None, features.rate):
                source = resample(source.astype(np.float32, copy=False), rate, features.rate)
            self._wave, self.notes = source, []

    def mels(self) -> Iterator[np.ndarray]:
        """The log-mel in blocks (t, F), not normalised; together those of the whole sound, bit for bit."""
        return self._computed() if self._mels is None else iter(self._mels)

    def mel(self) -> np.ndarray:
        """All of it at once.   -> (T, F)"""
        return np.concatenate(list(self.mels()))

    def segments(self, hop: int | None = None) -> Iterator[np.ndarray]:
        """The model's inputs (frames, F), normalised, as soon as each is complete: those of `features.segments`.

        hop: frames from one to the next (default: end to end).
        """
        f = self.features
        for segment in segments_of_blocks(self.mels(), f.frames, hop):
            yield normalise(segment, f.mean, f.std)

    def timed_segments(self, hop: int | None = None) -> Iterator[Segment]:
        """`segments` with their times: number i begins at min(i hop, T - frames) 10 ms, T being the sound's frames.

        The times are those of `scoring.segment_times`, but that of the very end, which is `seconds`.
        """
        f = self.features
        step = hop_seconds(f.rate)
        for i, x in enumerate(self.segments(hop)):
            last = max(0, frame_count(self._samples, f.rate) - f.frames)  # of what was read so far, so never too early
            start = min(i * (hop or f.frames), last) * step
            yield Segment(start, min(start + f.frames * step, self.seconds), x)

    @property
    def seconds(self) -> float:
        """How long the sound is. Known when `mels` or `segments` has come to its end."""
        return self._samples / self.features.rate

    @property
    def rate(self) -> int:
        """Hz, of the file; of a waveform, the model's."""
        return self._recording.rate if self.file is not None else self.features.rate

    @property
    def expected_seconds(self) -> float:
        """How long the sound is, before it is read: up to a sample of the model's rate it is `seconds`."""
        return self._recording.seconds if self.file is not None else len(self._wave) / self.features.rate

    def _computed(self):
        self._samples = 0
        try:
            yield from log_mel_blocks(self._counted(), self.features, self.spectrograms, self.together)
        except Error as error:
            text = str(error)
            named = self.file is None or text.startswith(f"{self.file}: ")
            raise Error(text if named else f"{self.file}: {text}") from None

    def _counted(self):
        blocks = [self._wave] if self.file is None else self._recording.blocks(self.features.rate)
        for block in blocks:
            self._samples += len(block)
            if self._heard:
                self._heard(block)
            yield block
