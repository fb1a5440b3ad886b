"""Is this recording at the scale that everything expects, and do its channels add up? Judged over a whole recording."""

from dataclasses import dataclass, field

import numpy as np

from .notes import LEVEL, PHASE, Note

LOUDEST = 32.0  # 30 dB over full scale: mixes in float reach 2 to 4, quiet speech at the scale of 16 bits hundreds
SCALES = (15, 23, 31)  # bits of a sample without its sign: a float file may hold integers of 16, 24 or 32 bits
CANCELLED = 0.01  # the mean of unrelated channels has 1 / C of their power: 20 dB below that, they cancel


@dataclass
class Level:
    """What was measured over the blocks of a stream with C channels."""

    channels: int
    frames: int = 0
    peak: float = 0.0  # of all samples
    bad: int = 0  # frames with a NaN or an infinity
    first_bad: int = -1
    sums: np.ndarray = field(init=False)  # (2, C + 1): of samples and of their squares; the last column is the mean's

    def __post_init__(self):
        self.sums = np.zeros((2, self.channels + 1))

    def add(self, x: np.ndarray) -> None:
        """One block (n, C)."""
        low, high = float(x.min()), float(x.max())
        if not np.isfinite(low + high):
            wrong = ~np.isfinite(x).all(axis=1)
            if wrong.any():
                self.first_bad = self.frames + int(wrong.argmax()) if self.first_bad < 0 else self.first_bad
                self.bad += int(wrong.sum())
        else:
            self.peak = max(self.peak, -low, high)
            if self.channels > 1 and self.peak <= 2 ** SCALES[-1]:
                y = np.column_stack([x, x.mean(axis=1)]).astype(np.float64)
                self.sums += y.sum(axis=0), np.square(y).sum(axis=0)
        self.frames += len(x)

    def scale(self) -> int | None:
        """What to divide the samples by: 1, or the full scale of integers. None: they are out of all bounds."""
        if self.peak <= LOUDEST:
            return 1
        return next((2**bits for bits in SCALES if self.peak <= 2**bits), None)

    def loudest_if_cancelled(self) -> int | None:
        """The channel with the most power if the mean of all has almost none, else None."""
        if self.channels == 1 or not self.frames:
            return None
        mean, square = self.sums / self.frames
        *each, mixed = square - mean**2  # variances: an offset that all channels share does not count
        return int(np.argmax(each)) if self.channels * mixed < CANCELLED * np.mean(each) else None

    def notes(self) -> list[Note]:
        """What a user should know about the level and the channels."""
        found, scale, channel = [], self.scale(), self.loudest_if_cancelled()
        if scale and scale > 1:
            taken = f"they were taken for {scale.bit_length()}-bit integers and divided by {scale}"
            found.append(Note(LEVEL, f"its float samples reach {self.peak:.6g}: {taken}."))
        if channel is not None:
            used = f"only channel {channel + 1} was used"
            found.append(
                Note(PHASE, f"its {self.channels} channels cancel each other out (opposite polarity): {used}.")
            )
        return found


def mono(x: np.ndarray, scale: float, channel: int | None) -> np.ndarray:
    """One channel of a block: the mean of all, or the one that is given; divided by `scale`.   (n, C) -> (n,)"""
    wave = x[:, 0] if x.shape[1] == 1 else x.mean(axis=1) if channel is None else x[:, channel]
    return wave / np.float32(scale) if scale != 1 else np.ascontiguousarray(wave)
