"""Augmentation: pure functions of (batch, rng). Each takes and returns log-mel; none changes its input.

The order is AST's: mixup, padding, masks (both before normalisation), normalisation, noise, roll.
"""

import numpy as np

from .features import LOG_FLOOR

SILENCE = np.float32(np.log(LOG_FLOOR))


def mix(a, b, share):
    """The log-mel of share * wave a + (1 - share) * wave b, sounds not in phase.   a (T, F), b (U, F) -> (T, F)

    Powers add: log(share^2 exp(a) + (1 - share)^2 exp(b)). `b` is cut, or followed by silence, to the length of `a`,
    as AST does with waveforms.
    """
    b = b[: len(a)]
    if len(b) < len(a):
        b = np.concatenate([b, np.full((len(a) - len(b), a.shape[1]), SILENCE, a.dtype)])
    mixed = np.logaddexp(a + np.float32(2 * np.log(share)), b + np.float32(2 * np.log1p(-share)))
    return np.maximum(mixed, SILENCE)


def mixup_share(rng):
    """lambda ~ Beta(10, 10): near a half, as in AST."""
    return float(np.clip(rng.beta(10, 10), 0.01, 0.99))


def crop(mel, frames, rng):
    """A random stretch of `frames` frames; a shorter clip comes back whole.   (T, F) -> (<= frames, F)"""
    if len(mel) <= frames:
        return mel
    start = int(rng.integers(len(mel) - frames + 1))
    return mel[start : start + frames]


def gain(mel, limit, rng):
    """Louder or softer by up to `limit` nats of power; the floor stays the floor.   (T, F) -> (T, F)"""
    return np.maximum(mel + np.float32(rng.uniform(-limit, limit)), SILENCE)


def mask(x, widest, axis, rng):
    """SpecAugment: one band of each clip set to 0.0, its width and place uniform.   (B, T, F) -> same

    The width lies in [0, widest). axis 1: time, axis 2: frequency. Source: Park et al. 2019;
    fill value and draw are those of the official code's torchaudio.
    """
    x, size = x.copy(), x.shape[axis]
    for clip in x:
        width = rng.uniform(0, min(widest, size))
        start = int(rng.uniform(0, size - width))
        band = slice(start, start + int(width))
        clip[(band, slice(None)) if axis == 1 else (slice(None), band)] = 0.0
    return x


def noise(x, rng):
    """Uniform positive noise in [0, u / 10], u uniform in [0, 1] a clip; after normalisation.   (B, T, F) -> same

    Source: the official Speech Commands recipe.
    """
    height = rng.random((len(x), 1, 1), np.float32) / 10
    return x + rng.random(x.shape, np.float32) * height


def roll(x, widest, rng):
    """Each clip turned in time by a whole number of frames in [-widest, widest).   (B, T, F) -> same"""
    shifts = rng.integers(-widest, widest, len(x))
    return np.stack([np.roll(clip, int(s), axis=0) for clip, s in zip(x, shifts, strict=True)])
