"""A recording: measured once, then read in blocks as often as is wanted, as one channel at any rate."""

import os
from collections.abc import Iterator

import numpy as np

from ..errors import Error
from .level import Level, mono
from .notes import CUT
from .resample import MAX_RATE, MIN_RATE, resampled
from .source import streams

KEEP = 2**22  # samples that are kept from the first reading, 16 MiB: short files are decoded once
MOST = 2**30  # samples that `decode` puts into one array, 4 GiB


class Recording:
    """An audio file, decoded once to its end to see what it holds.

    rate: Hz, of its first stream. seconds: how much could be decoded. notes: what the user should know about it.
    Level and channels can only be judged over the whole file, so a long one is decoded twice; memory does not grow with
    its length. Raises minast.Error for a file that is missing, is no sound, holds none, or holds NaN.
    """

    def __init__(self, path: str | os.PathLike):
        self.path, self.notes = os.fspath(path), []
        self._levels, self._kept, kept = [], [], 0
        for stream in streams(self.path, self.notes):
            self._check_rate(stream.rate)
            level, blocks = Level(stream.channels), []
            for block in stream.blocks():
                level.add(block)
                kept += block.size
                if kept <= KEEP:
                    blocks.append(block)
                else:
                    self._kept, blocks = None, []
            self._levels.append((stream.rate, level))
            if self._kept is not None:
                self._kept.append((stream.rate, blocks))
        self._judge()

    @property
    def rate(self) -> int:
        """Hz, of the first stream."""
        return self._levels[0][0]

    @property
    def channels(self) -> int:
        """Of the first stream."""
        return self._levels[0][1].channels

    @property
    def seconds(self) -> float:
        """How much sound could be decoded."""
        return sum(level.frames / rate for rate, level in self._levels)

    @property
    def cut(self) -> bool:
        """Whether sound is missing."""
        return any(note.kind == CUT for note in self.notes)

    @property
    def only(self) -> Level | None:
        """What was measured of its stream, if it has one."""
        return self._levels[0][1] if len(self._levels) == 1 else None

    def blocks(self, rate: int | None = None) -> Iterator[np.ndarray]:
        """The waveform in blocks (n,) float32. rate: Hz (default: `self.rate`). Raises minast.Error as any reading."""
        for (own, blocks), (_, level) in zip(self._streams(), self._levels, strict=False):
            scale, channel = level.scale(), level.loudest_if_cancelled()
            yield from resampled((mono(x, scale, channel) for x in blocks), own, rate or self.rate)

    def _streams(self):
        if self._kept is not None:
            return self._kept
        return ((stream.rate, stream.blocks()) for stream in streams(self.path, []))

    def _check_rate(self, rate):
        if not MIN_RATE <= rate <= MAX_RATE:
            raise Error(f"{self.path}: its header says {rate} Hz: rates from {MIN_RATE} to {MAX_RATE} Hz can be read.")

    def _judge(self):
        """minast.Error for what is no usable sound; notes on its level."""
        if not any(level.frames for _, level in self._levels):
            why = f": {self.notes[0].text}" if self.notes else "."
            raise Error(f"{self.path}: the file holds no sound (0 samples){why}")
        begin = 0.0
        for rate, level in self._levels:
            if level.bad:
                at = begin + level.first_bad / rate
                raise Error(f"{self.path}: {level.bad} samples are NaN or infinite, the first at {at:.3f} s.")
            if level.scale() is None:
                raise Error(
                    f"{self.path}: its samples reach {level.peak:.3g}: they should lie in [-1, 1], and exceed even the "
                    "range of 32-bit integers. Scale them, or export the file again."
                )
            begin += level.frames / rate
            self.notes += [note for note in level.notes() if note not in self.notes]


def longest(recording: Recording, rate: int) -> None:
    """minast.Error for a recording that is too long to be one array."""
    samples = recording.seconds * rate
    if samples > MOST:
        raise Error(
            f"{recording.path}: {recording.seconds / 3600:.1f} h at {rate} Hz are too much to hold in memory at once: "
            "predict and embed read it in blocks; for training, cut it into clips."
        )
