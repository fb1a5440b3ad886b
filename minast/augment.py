"""Augmentation: functions of waveforms or log-mels and an rng that return new arrays and leave their input unchanged.

`training_batch` applies them in AST's order: mixup, background, padding, masks, normalisation, noise, roll.
"""

import numpy as np

from .features import LOG_FLOOR

SILENCE = np.float32(np.log(LOG_FLOOR))
SNR = (0.0, 20.0)  # dB of a clip over the background that is mixed in

# -- of waveforms ------------------------------------------------------------------------------------------------------


def mix_waves(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """share * (a - mean a) + (1 - share) * (b - mean b), minus its own mean.   a (S,), b (R,) -> (S,) float32

    `b` is cut, or padded with zeros, to the length of `a`, after its mean was subtracted.
    Source: the official code's dataloader.py, _wav2fbank.
    """
    mixed = share * centred(a)
    n = min(len(a), len(b))
    mixed[:n] += (1 - share) * centred(b)[:n]
    return centred(mixed).astype(np.float32)


def centred(wave: np.ndarray) -> np.ndarray:
    """A waveform (S,) minus its mean, in float64."""
    wave = wave.astype(np.float64)
    wave -= wave.mean()
    return wave


def mix_background(wave: np.ndarray, background: np.ndarray, snr: float) -> np.ndarray:
    """wave + g * background, g such that the wave has `snr` dB more power than what is added.   (S,), (S,) -> (S,)

    g = sqrt(P_wave / (10^(snr / 10) P_background)), P the mean of squares. If either is silent, nothing is added.
    """
    powers = [float(np.square(x, dtype=np.float64).mean()) for x in (wave, background)]
    if not all(powers):
        return wave
    return wave + np.float32(np.sqrt(powers[0] / powers[1] / 10 ** (snr / 10))) * background


def excerpt(wave: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """`samples` consecutive samples from a random place; a shorter recording is repeated from there.   (S,) -> (n,)"""
    if len(wave) < samples:
        return np.take(wave, np.arange(samples) + rng.integers(len(wave)), mode="wrap")
    start = int(rng.integers(len(wave) - samples + 1))
    return wave[start : start + samples]


# -- of log-mels -------------------------------------------------------------------------------------------------------


def mix(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """The log-mel of share * wave a + (1 - share) * wave b, if the two are uncorrelated.   a (T, F), b (U, F) -> (T, F)

    Powers add: log(share^2 exp(a) + (1 - share)^2 exp(b)), for 0 < share < 1. `b` is cut, or padded with silence, to
    the length of `a`, as AST does with waveforms. Of two waves the power is |share A + (1 - share) B|^2 in each FFT
    bin: there is a third term, 2 share (1 - share) |A| |B| cos(phase). It is 0 where one of the two is silent, so this
    is exact where no filter hears both at once; elsewhere it is right on average over phases, which is what matters
    for noise. No waveform is needed, and no spectrogram is computed: it costs next to nothing.
    """
    b = b[: len(a)]
    if len(b) < len(a):
        b = np.concatenate([b, np.full((len(a) - len(b), a.shape[1]), SILENCE, a.dtype)])
    mixed = np.logaddexp(a + np.float32(2 * np.log(share)), b + np.float32(2 * np.log1p(-share)))
    return np.maximum(mixed, SILENCE)


def mixup_share(rng: np.random.Generator) -> float:
    """lambda ~ Beta(10, 10), near one half, as in AST; within 0.01 to 0.99."""
    return float(np.clip(rng.beta(10, 10), 0.01, 0.99))


def place(length: int, frames: int, rng: np.random.Generator) -> int:
    """Where a random crop of `frames` begins in a clip of `length` frames; 0 for a shorter one."""
    return int(rng.integers(length - frames + 1)) if length > frames else 0


def gain(mel: np.ndarray, limit: float, rng: np.random.Generator) -> np.ndarray:
    """Louder or softer: log power changed by a uniform number in [-limit, limit).   (T, F) -> (T, F)

    limit: natural logarithm of a power ratio; 2.3 is 10 dB. No value falls below log_mel's floor.
    """
    return np.maximum(mel + np.float32(rng.uniform(-limit, limit)), SILENCE)


def mask(x: np.ndarray, widest: int, axis: int, rng: np.random.Generator) -> np.ndarray:
    """SpecAugment: one band of each clip is set to 0.0, its width and position uniform.   (B, T, F) -> same

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


def noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add uniform noise in [0, u / 10), u uniform in [0, 1) per clip, to normalised features.   (B, T, F) -> same

    Source: the official Speech Commands recipe.
    """
    height = rng.random((len(x), 1, 1), np.float32) / 10
    return x + rng.random(x.shape, np.float32) * height


def roll(x: np.ndarray, widest: int, rng: np.random.Generator) -> np.ndarray:
    """Each clip shifted circularly in time, by a number of frames in [-widest, widest).   (B, T, F) -> same"""
    shifts = rng.integers(-widest, widest, len(x))
    return np.stack([np.roll(clip, int(s), axis=0) for clip, s in zip(x, shifts, strict=True)])
