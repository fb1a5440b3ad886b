"""Do two waveforms hold the same sound? How well they agree, where, and at which shift.

Two takes of a word, or two turns of a machine, have alike spectra but other phases. A copy has the same phases too, at
another gain, resampled, or after a codec. So the measure is the correlation of complex spectra that are aligned to a
fraction of a sample, with magnitudes to the power of 0.3, so that neither a hum nor a single loud moment decides.

Measured on ESC-10, FSDD and the coffee orders: copies at another gain, resampled, as mp3 or ogg, or cut elsewhere have
0.75 to 1.00 over the stretch that they share, one of 960 had 0.62. Of the most suspicious pairs of other clips, takes
of a word by a speaker at one pitch, stretches of half a second have at most 0.43, shorter ones at most 0.75.
"""

from typing import NamedTuple

import numpy as np

from .landmarks import HOP, RATE, WINDOW, spectra

LONG, ENOUGH = 0.5, 0.6  # seconds that are called the same, from this correlation on
PART, ENOUGH_IF_SHORT = 0.7, 0.77  # of less, that part of the shorter clip, from this correlation on
PIECE = 60 * RATE  # samples that are compared at a time
POWER = 0.3  # of magnitudes
FLOOR = 3e-3  # of the largest magnitude: what is fainter counts less, as codecs change it
LAGS = 3 * HOP  # samples around the shift that landmarks suggest
FRACTIONS = np.arange(-16, 17) / 16  # of a sample: a resampled copy lies between samples
LOW, HIGH = 4, 448  # FFT bins that are compared: 62 Hz to 7 kHz
AGREES = 0.3  # correlation of the frames in a stretch
AVERAGED = 5  # frames over which that is averaged


class Same(NamedTuple):
    """A stretch that two recordings share; times in seconds."""

    start: float  # in the first
    other: float  # in the second
    seconds: float
    correlation: float  # 1 for the same samples at any gain, about 0 for other sounds


def same_sound(a: np.ndarray, b: np.ndarray, shift: int) -> Same | None:
    """The longest stretch in which two waveforms agree, or None if they hold other sounds.

    a, b (S,) at 16 kHz; shift: in samples, b[t] sounds like a[t + shift]; it is improved within 48 ms. Of long
    recordings a minute is compared at a time.
    """
    first, end = max(0, shift), min(len(a), len(b) + shift)
    starts = range(first, max(first + 1, end - PIECE // 2), PIECE)
    pieces = [_compared(a[i : i + PIECE], b[max(0, i - shift) :][:PIECE], i, max(0, i - shift)) for i in starts]
    shorter = min(len(a), len(b)) / RATE
    found = [each for each in pieces if each and _is_enough(each, shorter)]
    return max(found, key=lambda each: each.seconds, default=None)


def _is_enough(found, shorter):
    """Whether a stretch is called the same.   shorter: length of the shorter recording in seconds

    Two takes of a word that are spoken at the same pitch agree for some 0.3 s, with up to 0.75.
    """
    if found.seconds >= LONG:
        return found.correlation >= ENOUGH
    return found.seconds >= PART * shorter and found.correlation >= ENOUGH_IF_SHORT


def _compared(a, b, a_start, b_start):
    """The stretch in which two waveforms agree, which begin at about the same time.   -> Same or None"""
    shift = _lag(*_overlap(a, b, 0)) if min(len(a), len(b)) else 0
    x, y = _overlap(a, b, shift)
    length = len(x)
    x, y = (_compressed(np.pad(v, (0, max(0, WINDOW - length)))) for v in (x, y))  # (T, F)
    cross = x * y.conj()
    turns = np.exp(2j * np.pi * FRACTIONS[:, None] * np.arange(LOW, HIGH) / WINDOW)  # (fractions, F)
    cross = (cross * turns[np.argmax((turns @ cross.sum(axis=0)).real)]).real
    sums = np.stack([v.sum(axis=1) for v in (cross, np.abs(x) ** 2, np.abs(y) ** 2)])  # (3, T)
    first, end = _stretch(sums)
    if first == end:
        return None
    seconds = min((end - first - 1) * HOP + WINDOW, length) / RATE
    begin, other = a_start + max(shift, 0) + first * HOP, b_start + max(-shift, 0) + first * HOP
    return Same(begin / RATE, other / RATE, seconds, float(_correlation(sums[:, first:end].sum(axis=1))))


# -- steps ---------------------------------------------------------------------------------------------------------


def _overlap(a, b, shift):
    """What sounds together if b begins `shift` samples after a.   -> two views of one length, which may be 0"""
    a, b = a[max(shift, 0) :], b[max(-shift, 0) :]
    n = min(len(a), len(b))
    return a[:n], b[:n]


def _lag(x, y):
    """By how many samples x is late, -LAGS to LAGS: where the correlation of spectra with flattened sizes is largest"""
    from scipy.fft import irfft, next_fast_len, rfft

    n = next_fast_len(len(x) + LAGS, real=True)
    cross = rfft(x, n) * rfft(y, n).conj()
    cross /= np.sqrt(np.abs(cross)) + 1e-12
    found = irfft(cross, n)
    return int(np.argmax(np.concatenate([found[-LAGS:], found[: LAGS + 1]]))) - LAGS


def _compressed(wave):
    """Complex spectra with magnitudes to the power of 0.3.   wave (S,) -> (T, F)"""
    found = spectra(np.asarray(wave, np.float32))[:, LOW:HIGH]
    size = np.abs(found)
    return found * np.maximum(size, FLOOR * size.max() + 1e-9) ** (POWER - 1)


def _correlation(sums):
    """sums (3, ...): of the products, and of the two squares   -> (...)"""
    return sums[0] / np.sqrt(sums[1] * sums[2] + 1e-30)


def _stretch(sums):
    """The longest run of frames that agree.   sums (3, T) -> its first frame, and the one after its last"""
    around = np.ones(min(AVERAGED, sums.shape[1]))
    agree = _correlation(np.stack([np.convolve(row, around, "same") for row in sums])) > AGREES
    edges = np.flatnonzero(np.diff(np.concatenate([[0], agree.astype(np.int8), [0]]))).reshape(-1, 2)
    return max(edges.tolist(), key=lambda edge: edge[1] - edge[0], default=(0, 0))
