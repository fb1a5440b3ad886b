"""A waveform at another rate, at once or in blocks; both give the same bits."""

from collections.abc import Iterable, Iterator

import numpy as np

from ..errors import Error

MIN_RATE, MAX_RATE = 100, 768000  # Hz: no recorder has less or more


def checked_rate(rate: float) -> float:
    """The rate, or minast.Error for one below 100 or above 768000 Hz, or that is no number."""
    number = isinstance(rate, (int, float, np.number)) and not isinstance(rate, bool)
    if not number or not MIN_RATE <= rate <= MAX_RATE:
        raise Error(f"a sample rate is {rate!r}: it must be a number from {MIN_RATE} to {MAX_RATE} Hz.")
    return rate


def resample(wave: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """A waveform at another rate, both in Hz.   wave (S,) -> (S * new_rate / rate,), same dtype

    Raises minast.Error for a rate below 100 or above 768000 Hz. Source: soxr, quality HQ.
    """
    import soxr

    return soxr.resample(wave, checked_rate(rate), checked_rate(new_rate), quality="HQ")


def resampled(blocks: Iterable[np.ndarray], rate: float, new_rate: float) -> Iterator[np.ndarray]:
    """`resample` of float32 blocks (n,) that follow one another: together they are what `resample` gives at once."""
    if checked_rate(rate) == checked_rate(new_rate):
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate, new_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        out = stream.resample_chunk(block)
        if len(out):
            yield out
    out = stream.resample_chunk(np.zeros(0, np.float32), last=True)
    if len(out):
        yield out
