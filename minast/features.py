"""Waveform (S,) -> log-mel spectrogram (T, F), as Kaldi computes it and AST uses it, and AST's padding and scaling.

Source of every constant: the options that the official code's dataloader.py passes to Kaldi's fbank.
"""

from functools import lru_cache

import numpy as np

from . import threads
from .errors import Error

FRAME, SHIFT = 0.025, 0.010  # seconds
PREEMPHASIS = 0.97
LOW_HZ = 20.0
LOG_FLOOR = 1.1920928955078125e-07  # float32's epsilon: silence is log of it, -15.94
WINDOWS = ("hamming", "hann")
BLOCK = 256  # frames that are made together


def mel_from_hz(hz):
    """mel = 1127 ln(1 + hz / 700).   Source: Kaldi (HTK's mel scale)."""
    return 1127.0 * np.log1p(np.asarray(hz, np.float64) / 700.0)


def hz_from_mel(mel):
    """hz = 700 (exp(mel / 1127) - 1)."""
    return 700.0 * np.expm1(np.asarray(mel, np.float64) / 1127.0)


def hz_of(mel_bin, rate, mel_bins, low=LOW_HZ):
    """Where the filter of a mel bin, counted from 0, has its centre: Hz.   A number or an array"""
    bottom, top = mel_from_hz(low), mel_from_hz(rate / 2)
    return hz_from_mel(bottom + (np.asarray(mel_bin) + 1) / (mel_bins + 1) * (top - bottom))


def bin_of(hz, rate, mel_bins, low=LOW_HZ):
    """The mel bin, in general not whole, whose filter would be centred at `hz`: `hz_of` undone."""
    bottom, top = mel_from_hz(low), mel_from_hz(rate / 2)
    return (mel_from_hz(hz) - bottom) / (top - bottom) * (mel_bins + 1) - 1


def sizes(rate):
    """(samples a frame, samples between frames, FFT length), the next power of two: 400, 160, 512 at 16 kHz."""
    frame, shift = int(rate * FRAME), int(rate * SHIFT)
    return frame, shift, 1 << (frame - 1).bit_length()


def frame_count(samples, rate):
    """Whole frames in a waveform, 1 + (S - frame) // shift: 998 for 10 s at 16 kHz; 0 if not even one fits."""
    frame, shift, _ = sizes(rate)
    return 1 + (samples - frame) // shift if samples >= frame else 0


def window_function(name, length):
    """Symmetric Hamming, 0.54 - 0.46 cos(2 pi k / (length - 1)), or Hann, 0.5 - 0.5 cos(...).   -> (length,)"""
    if name not in WINDOWS:
        raise Error(f'window is {name!r}: it must be "hamming" or "hann".')
    a = 0.54 if name == "hamming" else 0.5
    return a - (1 - a) * np.cos(2 * np.pi * np.arange(length) / (length - 1))


@lru_cache(maxsize=16)
def mel_filterbank(rate=16000, mel_bins=128, fft_size=None, low=LOW_HZ, high=None):
    """Triangular filters, equally spaced and linear in mel.   -> (fft_size / 2 + 1, mel_bins) float64, read-only

    Filter m rises from edge m to edge m + 1 and falls to edge m + 2, where the mel_bins + 2 edges are equally spaced
    from `low` Hz to `high` Hz (default: Nyquist). The slopes are straight in mel, not in Hz, the Nyquist bin is never
    used, nothing is normalised by area. At 16 kHz with 128 filters, filter 3 lies between two FFT bins and is empty:
    that is AST's filterbank, not a mistake. Source: Kaldi, mel-computations.
    """
    fft_size = fft_size or sizes(rate)[2]
    high = high or rate / 2
    if not 0 <= low < high <= rate / 2:
        raise Error(f"the mel filters' range is {low} to {high} Hz: it must lie within 0 to {rate / 2} Hz.")
    edges = np.linspace(mel_from_hz(low), mel_from_hz(high), mel_bins + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    mel = mel_from_hz(np.arange(fft_size // 2) * rate / fft_size)[:, None]  # one row an FFT bin
    triangles = np.minimum((mel - left) / (centre - left), (right - mel) / (right - centre))
    bank = np.zeros((fft_size // 2 + 1, mel_bins))
    bank[:-1] = np.maximum(triangles, 0)
    bank.flags.writeable = False
    return bank


@lru_cache(maxsize=16)
def _tables(rate, mel_bins, window):
    frame, _, fft_size = sizes(rate)
    return window_function(window, frame).astype(np.float32), mel_filterbank(rate, mel_bins, fft_size).astype(
        np.float32
    )


def log_mel(wave, rate=16000, mel_bins=128, window="hamming"):
    """Log-mel spectrogram, not normalised.   wave (S,) in [-1, 1] -> (T, mel_bins) float32

    T = 1 + (S - frame) // shift: 998 for 10 s. Each frame (25 ms, every 10 ms): its mean is subtracted; then
    y[t] = x[t] - 0.97 x[t-1], with x[-1] = x[0]; times the window; zero-padded to a power of two; |FFT|^2; mel filters;
    natural log, floored at log(1.19e-7) = -15.94. The unit is nats of power: +2.3 is 10 dB. In float32, filters more
    than 65 dB below the loudest of their frame hold rounding. A waveform gives the same bits each time, on any number
    of threads. The same frame elsewhere in another waveform may differ in its last bits: BLAS adds up the rows of a
    product in an order that depends on their place in it. Raises minast.Error for a waveform that is not
    one-dimensional, not finite, or shorter than one frame.
    """
    from scipy.fft import rfft  # takes as long to import as everything else together

    wave = np.asarray(wave)
    if wave.ndim != 1 or wave.dtype.kind != "f":
        raise Error(
            f"the waveform is {wave.dtype} {wave.shape}: it must be one channel of floats in [-1, 1], (samples,)."
        )
    frame, shift, fft_size = sizes(rate)
    if len(wave) < frame:
        raise Error(
            f"the waveform has {len(wave)} samples ({1000 * len(wave) / rate:.1f} ms at {rate} Hz): "
            f"at least one window of {frame} samples ({1000 * FRAME:.0f} ms) is needed."
        )
    if not np.isfinite(wave).all():
        raise Error(f"the waveform has {np.count_nonzero(~np.isfinite(wave))} samples that are NaN or infinite.")
    taper, bank = _tables(rate, mel_bins, window)
    frames = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float32, copy=False), frame)[::shift]  # (T, frame)
    mel = np.empty((len(frames), mel_bins), np.float32)

    def block(r):  # what a block needs stays in cache; no block depends on the number of threads, so no bit does either
        x = frames[r] - frames[r].mean(axis=1, keepdims=True)
        padded = np.zeros((len(x), fft_size), np.float32)
        y = padded[:, :frame]
        y[:, 0] = (1 - PREEMPHASIS) * x[:, 0]
        np.multiply(x[:, :-1], -PREEMPHASIS, out=y[:, 1:])
        y[:, 1:] += x[:, 1:]
        y *= taper
        spectrum = rfft(padded, axis=1)  # (rows, fft_size / 2 + 1) complex64
        power = np.square(spectrum.real)
        power += np.square(spectrum.imag)
        np.matmul(power, bank, out=mel[r])
        np.maximum(mel[r], LOG_FLOOR, out=mel[r])
        np.log(mel[r], out=mel[r])

    threads.run(block, [slice(i, min(i + BLOCK, len(frames))) for i in range(0, len(frames), BLOCK)])
    return mel


def pad_or_trim(mel, frames):
    """The first `frames` frames; a shorter clip is padded at its end with 0.0.   (T, F) -> (frames, F)

    AST pads BEFORE normalisation. Zero is loud there, silence is -15.94: pretrained weights expect just that.
    """
    if len(mel) >= frames:
        return mel[:frames]
    return np.concatenate([mel, np.zeros((frames - len(mel), mel.shape[1]), mel.dtype)])


def normalise(mel, mean, std):
    """(mel - mean) / (2 std): mean 0 and deviation 0.5. Twice the deviation is AST's choice, not a slip."""
    return ((mel - mean) / (2 * std)).astype(np.float32, copy=False)


def segments(mel, frames):
    """A clip of any length as model inputs, end to end.   (T, F) -> (W, frames, F), padded by `pad_or_trim`

    What is left over after the last whole window is one more if it fills at least half of one.
    """
    count = max(1, len(mel) // frames + (len(mel) % frames >= (frames + 1) // 2))
    return np.stack([pad_or_trim(mel[i * frames :], frames) for i in range(count)])
