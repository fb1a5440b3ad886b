"""The fingerprint of a sound: which spectral peaks follow one another, as numbers that can be looked up.

A local maximum of the spectrogram survives another gain, another format and some noise, and its distance to its
neighbours does not depend on where a clip was cut. So three neighbouring peaks are one landmark: the frequency of the
first, and the steps in frequency and time to the other two. Clips that share several landmarks at one common shift in
time are candidates for holding the same sound; `same_sound` then compares their waveforms.

Source of the idea: A. Wang, "An Industrial-Strength Audio Search Algorithm", ISMIR 2003, section 2, which pairs peaks.
A third peak makes a landmark ten bits longer, so that fewer of them agree by chance.
"""

from functools import lru_cache

import numpy as np

VERSION = 1  # raise it when the same sound gets other landmarks
RATE = 16000  # Hz: all sounds are compared at this rate
WINDOW, HOP = 1024, 256  # samples: 64 and 16 ms
LOWEST = 3  # FFT bins: below 47 Hz there is hum and wind
AROUND = (4, 2)  # bins and frames on each side in which a peak is the largest: 62 Hz and 32 ms
RANGE = 55.0  # dB below the loudest bin of the clip: what is fainter does not survive a codec
FLOOR = 1e-5  # of full scale, as the amplitude of a sine: dither has no peaks
NEXT = 5  # peaks after each that are combined with it, two at a time
REACH, SPREAD = 31, 31  # frames and bins that they are away at most: 0.5 s and 480 Hz
BLOCK = 512  # frames computed together
KEPT, KEPT_PER_SECOND = 1000, 300  # landmarks of a clip, at most: the larger of the two
PLACES = 2**16  # frames that are told apart: 17 minutes


@lru_cache(maxsize=1)
def window() -> np.ndarray:
    """A periodic Hann window.   -> (WINDOW,) float32"""
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


def spectra(wave: np.ndarray) -> np.ndarray:
    """Complex spectra, one every 16 ms.   wave (S,) at 16 kHz, S at least WINDOW -> (T, WINDOW / 2 + 1)"""
    from scipy.fft import rfft

    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP]
    blocks = [rfft(frames[i : i + BLOCK] * window(), axis=1) for i in range(0, len(frames), BLOCK)]
    return np.concatenate(blocks)


def peaks(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames and FFT bins of the spectrogram's local maxima, ordered by frame.   wave (S,) at 16 kHz -> (n,), (n,)"""
    from scipy.ndimage import maximum_filter1d

    size = np.abs(spectra(np.pad(np.asarray(wave, np.float32), WINDOW // 2)))
    size[:, :LOWEST] = 0
    least = max(float(size.max()) * 10 ** (-RANGE / 20), FLOOR * WINDOW / 4)
    bins, frames = AROUND
    largest = maximum_filter1d(maximum_filter1d(size, 2 * bins + 1, axis=1), 2 * frames + 1, axis=0)
    return np.nonzero((size == largest) & (size > least))


def landmarks(wave: np.ndarray) -> np.ndarray:
    """Triples of peaks.   wave (S,) at 16 kHz -> (n, 2) uint32: the hash of each, and the frame of its first peak

    Silence has none. Of a long or dense sound those are kept whose hash is divisible by a power of two, so that two
    clips with the same sound keep the same ones.
    """
    t, f = (x.astype(np.int64) for x in peaks(wave))
    follow, have = _followers(t, f)
    found = [np.zeros((0, 2), np.int64)]
    for a in range(NEXT - 1):
        for b in range(a + 1, NEXT):
            i = np.flatnonzero(have > b)
            j, k = follow[i, a], follow[i, b]
            value = f[i]  # 9 bits, then 5 + 5 + 6 + 6
            for number in (t[j] - t[i], t[k] - t[i]):
                value = value << 5 | number
            for number in (f[j] - f[i], f[k] - f[i]):
                value = value << 6 | number + SPREAD
            found.append(np.stack([mixed(value), t[i] % PLACES], axis=1))
    found = np.concatenate(found).astype(np.uint32)
    return thinned(found, max(KEPT, int(KEPT_PER_SECOND * len(wave) / RATE)))


def mixed(values: np.ndarray) -> np.ndarray:
    """Numbers below 2^32 with their bits spread, one to one, so that the low bits depend on all.

    Source: the finaliser of MurmurHash3 (A. Appleby).
    """
    h = values.astype(np.uint64)
    for factor, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13), (1, 16)):
        h ^= h >> np.uint64(shift)
        h = h * np.uint64(factor) & np.uint64(0xFFFFFFFF)
    return h.astype(np.int64)


def thinned(found: np.ndarray, most: int) -> np.ndarray:
    """At most about `most` landmarks: those whose hash is divisible by 2, 4, 8, ...   (n, 2) -> (m, 2)"""
    step = 1
    while len(found) > most:
        step *= 2
        found = found[found[:, 0] % step == 0]
    return found


def _followers(t, f):
    """The first peaks in the zone of each.   t, f (n,) -> their places (n, NEXT), how many there are (n,)"""
    follow, have = np.zeros((len(t), NEXT), np.int64), np.zeros(len(t), np.int64)
    for step in range(1, len(t)):
        after = t[step:] - t[:-step]
        if after.min() > REACH:
            break
        near = (after > 0) & (after <= REACH) & (np.abs(f[step:] - f[:-step]) <= SPREAD)
        i = np.flatnonzero(near & (have[:-step] < NEXT))
        follow[i, have[i]] = i + step
        have[i] += 1
    return follow, have
