"""Ten everyday sounds made on the fly from a seed: a data set without a download.

Level (25 dB), background (white, pink, brown, mains hum, faint tones; 3 to 28 dB below), recording colour, and place in
the clip are drawn independently of the class, pitch and speed from wide ranges that overlap between classes: what tells
the classes apart is how sound moves in time and frequency.
"""

import numpy as np
import scipy.fft

from ...errors import Error
from .sounds import SOUNDS
from .synth import between, noise, overdriven, unit

LABELS = tuple(SOUNDS)
SPLITS = ("train", "valid", "test")  # a clip's random numbers start from its split's place here
LEVEL_DB = (-45.0, -20.0)  # RMS of the clip below full scale
SNR_DB = (3.0, 28.0)  # sound over background, both as RMS over the clip
LEAST_SECONDS = 0.5  # a shorter clip may contain no heartbeat


def synthesise(label, rng, rate=16000, seconds=1.0):
    """One clip of the named sound.   rng: np.random.Generator -> (S,) float32 in [-1, 1], S = round(rate * seconds)

    rate in Hz, at least 4000. Raises minast.Error for a name that is not in LABELS, or too little rate or time.
    """
    if label not in SOUNDS:
        raise Error(f"there is no built-in sound {label!r}: choose one of {', '.join(LABELS)}.")
    if rate < 4000 or seconds < LEAST_SECONDS:
        raise Error(f"the clip is {seconds} s at {rate} Hz: it must be at least {LEAST_SECONDS} s at 4000 Hz.")
    samples = round(rate * seconds)
    sound = unit(_placed(SOUNDS[label], rng, samples, rate))
    snr = 10 ** (rng.uniform(*SNR_DB) / 20)
    mix = _coloured(snr * sound + _background(rng, samples, rate), rng, rate)
    mix = unit(mix) * 10 ** (rng.uniform(*LEVEL_DB) / 20)
    return (mix / max(1.0, np.abs(mix).max())).astype(np.float32)


def clip(index, seed, rate=16000, seconds=1.0, split="train"):
    """Clip `index` of an endless set.   -> (wave (S,) float32, class index); any ten neighbours hold each class once

    The same (seed, split, index) is the same clip, whatever was made before it; splits never share a clip.
    """
    if split not in SPLITS:
        raise Error(f"there is no split {split!r}: choose one of {', '.join(SPLITS)}.")
    target = index % len(LABELS)
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    return synthesise(LABELS[target], rng, rate, seconds), target


def _placed(make, rng, samples, rate):
    """The sound at a random place: it fills 70 to 100 % of the clip; its cut ends fade within 10 ms.   -> (S,)"""
    length = int(samples * rng.uniform(0.7, 1))
    start = rng.integers(0, samples - length + 1)
    edge = min(int(0.01 * rate), length // 2)
    fade = np.minimum(np.minimum(np.arange(length), np.arange(length)[::-1]) / edge, 1)
    clip = np.zeros(samples)
    clip[start : start + length] = make(rng, length, rate) * fade
    return clip


def _background(rng, samples, rate):
    """Noise of any slope from white to brown, often mains hum, sometimes faint tones that drift; RMS 1.   -> (S,)"""
    t = np.arange(samples) / rate
    mix = noise(rng, samples, rate, rng.uniform(0, 2), rng.uniform(0, 2), rng.choice([0.0, 1.0, 2.0]))
    if rng.random() < 0.4:  # hum of 50 or 60 Hz with its odd harmonics
        mains = 2 * np.pi * (rng.choice([50, 60]) * t + rng.random())
        mix += rng.uniform(0.1, 1) * overdriven(mains, between(rng, 0.3, 3))
    for _ in range(rng.integers(0, 3)):
        hz, drift = between(rng, 150, 0.35 * rate), rng.uniform(-0.2, 0.2)  # share of the pitch, from begin to end
        mix += between(rng, 0.05, 0.5) * np.sin(2 * np.pi * hz * (t + drift / 2 * t * t / t[-1]))
    return unit(mix)


def _coloured(x, rng, rate):
    """Another microphone, another room: the spectrum tilts by up to 3 dB an octave about 1 kHz.   (S,) -> (S,)"""
    spectrum = scipy.fft.rfft(x)
    hz = np.maximum(np.arange(len(spectrum)) * rate / len(x), 30.0)
    return scipy.fft.irfft(spectrum * (hz / 1000) ** rng.uniform(-0.5, 0.5), len(x))
