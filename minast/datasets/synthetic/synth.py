"""What sounds are made of: tones, noise, resonances, envelopes. Pure functions; samples along the only axis."""

import numpy as np
import scipy.fft
from scipy.signal import lfilter


def between(rng, low, high):
    """A random number spread evenly in octaves, as pitch and speed are heard.   0 < low <= high -> float"""
    return low * (high / low) ** rng.random()


def part(x):
    """x - floor(x), where in its cycle a count of cycles is: [0, 1). Three times faster than x % 1."""
    return x - np.floor(x)


def phase(hz, rate, start=0.0):
    """2 pi (start + integral of hz): the running phase of a tone whose pitch may move.   hz (S,) -> (S,) radians"""
    return 2 * np.pi * (start + np.cumsum(hz) / rate)


def overdriven(angle, drive, bias=0.0):
    """tanh(drive sin + bias), less its mean: a sine at drive 0.1, near a square at 5; bias adds even harmonics."""
    y = np.tanh(drive * np.sin(angle) + bias)
    return y - y.mean()


def noise(rng, samples, rate, slope, more=0.0, slope2=0.0):
    """Gaussian noise of amplitude f^(-slope / 2) + more f^(-slope2 / 2), RMS 1.   -> (S,)

    Slopes are of power: 0 white, 1 pink, 2 brown. f counts from 500 Hz, where both parts are equal if `more` is 1.
    """
    fast = scipy.fft.next_fast_len(samples, real=True)
    half = fast // 2 + 1
    log_f = np.log(np.maximum(np.arange(half) * rate / fast, 20.0) / 500)  # flat below 20 Hz
    shape = np.exp(-slope / 2 * log_f) + more * np.exp(-slope2 / 2 * log_f)
    spectrum = rng.standard_normal(2 * half).view(complex)
    return unit(scipy.fft.irfft(spectrum * shape, fast)[:samples])


def unit(x):
    """x / RMS(x); silence stays silence."""
    return x / max(np.sqrt(np.mean(x * x)), 1e-12)


def impulses(samples, rate, times, sizes=1.0):
    """Single-sample hits at `times` (seconds); those outside the clip are dropped.   -> (S,)"""
    place = np.rint(np.asarray(times) * rate).astype(int)
    inside = (place >= 0) & (place < samples)
    weights = np.broadcast_to(np.asarray(sizes, float), place.shape)[inside]
    return np.bincount(place[inside], weights, samples)


def copies(x, samples, rate, times):
    """The short sound x begins anew at each of `times` (seconds) and is cut at the clip's ends.   -> (S,)"""
    y = np.zeros(samples + len(x))
    for start in np.rint(np.asarray(times) * rate).astype(int):
        if -len(x) < start < samples:
            y[max(start, 0) : start + len(x)] += x[max(-start, 0) :]
    return y[:samples]


def ring(x, rate, hz, decay):
    """A struck body: x filtered by exp(-t / decay) sin(2 pi hz t), a two-pole resonance.   decay in seconds -> (S,)"""
    angle, r = 2 * np.pi * min(hz, 0.45 * rate) / rate, np.exp(-1 / (decay * rate))
    return lfilter([np.sin(angle)], [1, -2 * r * np.cos(angle), r * r], x)


def smoothed(x, rate, seconds):
    """One-pole low-pass with unit gain at 0 Hz: y += (x - y) / (seconds * rate).   -> (S,)"""
    keep = np.exp(-1 / (seconds * rate))
    return lfilter([1 - keep], [1, -keep], x)


def hump(u, width, edge=0.3):
    """An envelope over a cycle u in [0, 1): up, flat, down within `width`, then 0; `edge` of it is slope.   -> (S,)"""
    v = u / width
    return np.clip(np.minimum(v, 1 - v) / edge, 0, 1)


def wander(rng, samples, rate, every):
    """A slow random line through standard normal points, one each `every` seconds.   -> (S,)"""
    knots = rng.standard_normal(int(samples / rate / every) + 3)
    return np.interp(np.arange(samples) / rate / every, np.arange(len(knots)) - rng.random(), knots)
