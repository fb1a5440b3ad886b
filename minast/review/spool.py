"""The log-mel of one recording on the disk, a byte a value: its pictures need it twice, and memory must not grow."""

import tempfile
from collections.abc import Iterator

import numpy as np

LOW, HIGH = -16.0, 16.0  # nats: silence is -15.94, and the loudest that is read about 20
STEP = (HIGH - LOW) / 255  # 0.125 nats, half a decibel
IN_MEMORY = 2**23  # bytes: 11 minutes; longer ones are in a temporary file
DARK, BRIGHT = 0.01, 0.998  # shares of the values below which all is dark, and above which all is bright, as in `pages`


class Spool:
    """A spectrogram that grows.   bins: F. frames: T so far. Use it in a `with` statement."""

    def __init__(self, bins: int):
        self.bins, self.frames = bins, 0
        self._counts = np.zeros(256, np.int64)
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, prefix="minast-")  # noqa: SIM115  closed by __exit__

    def add(self, mel: np.ndarray) -> None:
        """The next frames (t, F), in nats."""
        values = np.clip(np.rint((mel - LOW) / STEP), 0, 255).astype(np.uint8)
        self._counts += np.bincount(values.ravel(), minlength=256)
        self._file.seek(0, 2)
        self._file.write(values.tobytes())
        self.frames += len(values)

    def mel(self, first: int, last: int) -> np.ndarray:
        """Frames as they were given, to half a STEP.   -> (last - first, F) float32"""
        return self._read(first, last) * np.float32(STEP) + np.float32(LOW)

    def levels(self, together: int) -> Iterator[np.ndarray]:
        """All frames, `together` at a time, as brightness: 0 for the darkest 1 %, 255 for the brightest.   (t, F)"""
        share = np.cumsum(self._counts) / max(1, self._counts.sum())
        low, high = np.searchsorted(share, (DARK, BRIGHT))
        shown = np.clip((np.arange(256) - low) / max(1, high - low) * 255, 0, 255).astype(np.uint8)
        for first in range(0, self.frames, together):
            yield shown[self._read(first, min(first + together, self.frames))]

    def _read(self, first, last):
        self._file.seek(first * self.bins)
        return np.frombuffer(self._file.read((last - first) * self.bins), np.uint8).reshape(-1, self.bins)

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_):
        self._file.close()
