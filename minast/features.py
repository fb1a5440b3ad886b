"""Waveform (S,) -> log-mel spectrogram (T, F), as Kaldi computes it for AST; then AST's padding and scaling.

Source of every constant: the options that the official code's dataloader.py passes to Kaldi's fbank.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import threads
from .audio.level import LOUDEST
from .config import WINDOWS, FeatureConfig
from .errors import Error

FRAME, SHIFT = 0.025, 0.010  # seconds
PREEMPHASIS = 0.97
LOW_HZ = 20.0
LOG_FLOOR = 1.1920928955078125e-07  # float32's epsilon: silence is log of it, -15.94
BLOCK = 256  # frames computed together
STREAM = 8 * BLOCK  # frames of a waveform that comes in blocks: 20 s; a multiple of BLOCK, so that bits stay the same


def mel_from_hz(hz: ArrayLike) -> np.ndarray:
    """Frequency in Hz -> mel: mel = 1127 ln(1 + hz / 700).   Source: Kaldi (HTK's mel scale)."""
    return 1127.0 * np.log1p(np.asarray(hz, np.float64) / 700.0)


def hz_from_mel(mel: ArrayLike) -> np.ndarray:
    """Mel -> frequency in Hz: hz = 700 (exp(mel / 1127) - 1). The inverse of `mel_from_hz`."""
    return 700.0 * np.expm1(np.asarray(mel, np.float64) / 1127.0)


def hz_of(mel_bin: ArrayLike, rate: int, mel_bins: int, low: float = LOW_HZ) -> np.ndarray:
    """The centre frequency, in Hz, of the filter of each mel bin.   mel_bin: a number or an array, counted from 0"""
    bottom, top = mel_from_hz(low), mel_from_hz(rate / 2)
    return hz_from_mel(bottom + (np.asarray(mel_bin) + 1) / (mel_bins + 1) * (top - bottom))


def bin_of(hz: ArrayLike, rate: int, mel_bins: int, low: float = LOW_HZ) -> np.ndarray:
    """The inverse of `hz_of`: the mel bin, usually fractional, whose filter would be centred at `hz`."""
    bottom, top = mel_from_hz(low), mel_from_hz(rate / 2)
    return (mel_from_hz(hz) - bottom) / (top - bottom) * (mel_bins + 1) - 1


def sizes(rate: int) -> tuple[int, int, int]:
    """Samples in a frame, samples from one frame to the next, FFT length.   16000 Hz -> (400, 160, 512)

    The FFT length is the frame's, rounded up to a power of two.
    """
    frame, shift = int(rate * FRAME), int(rate * SHIFT)
    return frame, shift, 1 << (frame - 1).bit_length()


def hop_seconds(rate: int) -> float:
    """Seconds between the beginnings of two frames, a whole number of samples: 0.01, or a little less at 22050 Hz."""
    return sizes(rate)[1] / rate


def frame_count(samples: int, rate: int) -> int:
    """The number of whole frames in a waveform, 1 + (S - frame) // shift: 998 for 10 s; 0 if it is below one frame."""
    frame, shift, _ = sizes(rate)
    return 1 + (samples - frame) // shift if samples >= frame else 0


def window_function(name: str, length: int) -> np.ndarray:
    """The STFT window: w[k] = a - (1 - a) cos(2 pi k / (length - 1)), symmetric.   -> (length,) float64

    a is 0.54 for "hamming" and 0.5 for "hann". Raises minast.Error for another name.
    """
    if name not in WINDOWS:
        raise Error(f'window is {name!r}: it must be "hamming" or "hann".')
    a = 0.54 if name == "hamming" else 0.5
    return a - (1 - a) * np.cos(2 * np.pi * np.arange(length) / (length - 1))


@lru_cache(maxsize=16)
def mel_filterbank(
    rate: int = 16000, mel_bins: int = 128, fft_size: int | None = None, low: float = LOW_HZ, high: float | None = None
) -> np.ndarray:
    """Triangular filters, equally spaced and linear in mel.   -> (fft_size / 2 + 1, mel_bins) float64, read-only

    Filter m rises from edge m to edge m + 1 and falls to edge m + 2; the mel_bins + 2 edges are equally spaced in mel
    from `low` to `high` Hz (default: the Nyquist frequency). The slopes are linear in mel, not in Hz; the Nyquist bin
    is never used; filters are not normalised by area. At 16 kHz with 128 filters, filter 3 falls between two FFT bins
    and is empty: AST's filterbank is like that. fft_size: default as in `sizes`.
    Raises minast.Error unless 0 <= low < high <= rate / 2. Source: Kaldi, mel-computations.
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


def log_mel(wave: np.ndarray, rate: int = 16000, mel_bins: int = 128, window: str = "hamming") -> np.ndarray:
    """Log-mel spectrogram, not normalised.   wave (S,) in [-1, 1] -> (T, mel_bins) float32, T of `frame_count`

    Of each frame (25 ms, one every 10 ms) the mean is subtracted; then pre-emphasis, y[t] = x[t] - 0.97 x[t-1] with
    x[-1] = x[0]; the window, "hamming" or "hann"; zero-padding to a power of two; |FFT|^2; the mel filters; the natural
    log, floored at log(1.19e-7) = -15.94. The unit is nats of power: +2.3 is 10 dB. Computed in float32: filters more
    than 65 dB below the loudest of their frame hold rounding errors only. rate: Hz. The same waveform gives the same
    bits on any number of threads; the same frame at another place in a waveform may differ in its last bits, because
    BLAS sums a row of a product in an order that depends on the row.

        >>> minast.log_mel(minast.load_audio("street.wav")).shape           # 10 s
        (998, 128)

    Raises minast.Error for a waveform that is not one channel of floats, not finite, beyond [-32, 32] (30 dB over full
    scale: samples of that size are integers in the guise of floats), or shorter than one frame.
    Source: Kaldi's fbank with the options of the official code's dataloader.py.
    """
    from scipy.fft import rfft  # slow to import

    wave = checked_wave(wave, rate)
    frame, shift, fft_size = sizes(rate)
    taper, bank = _tables(rate, mel_bins, window)
    frames = np.lib.stride_tricks.sliding_window_view(wave, frame)[::shift]  # (T, frame)
    mel = np.empty((len(frames), mel_bins), np.float32)

    def block(r):  # fits into the CPU's cache; does not depend on the number of threads
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


def checked_wave(wave: np.ndarray, rate: int) -> np.ndarray:
    """The waveform in float32, if `log_mel` can take it. Raises minast.Error as `log_mel` says."""
    wave = np.asarray(wave)
    if wave.ndim != 1 or wave.dtype.kind != "f":
        raise Error(
            f"the waveform is {wave.dtype} {wave.shape}: it must be one channel of floats in [-1, 1], (samples,)."
        )
    frame = sizes(rate)[0]
    if len(wave) < frame:
        raise Error(
            f"the waveform has {len(wave)} samples ({1000 * len(wave) / rate:.1f} ms at {rate} Hz): "
            f"at least one frame of {frame} samples ({1000 * FRAME:.0f} ms) is needed."
        )
    peak = max(-float(wave.min()), float(wave.max()))
    if not np.isfinite(peak):
        raise Error(f"the waveform has {np.count_nonzero(~np.isfinite(wave))} samples that are NaN or infinite.")
    if peak > LOUDEST:
        raise Error(
            f"the waveform reaches {peak:.6g}: it must lie in [-1, 1], or exceed it a little. Samples at the scale of "
            "16-bit integers must be divided by 32768."
        )
    return wave.astype(np.float32, copy=False)


def log_mels(
    waves: Sequence[np.ndarray], rate: int = 16000, mel_bins: int = 128, window: str = "hamming"
) -> list[np.ndarray]:
    """`log_mel` of each waveform.   waves: n arrays (S_i,) -> n arrays (T_i, mel_bins). Raises as `log_mel` does."""
    return [log_mel(wave, rate, mel_bins, window) for wave in waves]


class Spectrograms(NamedTuple):
    """Where log-mel spectrograms are computed.

    made_by: "cpu", "cuda" or "emulator"; a GPU's results differ in their last bits, so a cache keeps them apart.
    log_mels: a function like the one above. together: how many clips it should be given at a time.
    """

    made_by: str
    log_mels: Callable[..., list[np.ndarray]]
    together: int = 1


ON_CPU = Spectrograms("cpu", log_mels)


def pad_or_trim(mel: np.ndarray, frames: int) -> np.ndarray:
    """The first `frames` frames; a shorter clip is padded at its end with 0.0.   mel (T, F) -> (frames, F)

    AST pads before it normalises. There 0.0 is loud (silence is -15.94), but that is what pretrained weights expect.
    Source: the official code's dataloader.py.
    """
    if len(mel) >= frames:
        return mel[:frames]
    return np.concatenate([mel, np.zeros((frames - len(mel), mel.shape[1]), mel.dtype)])


def normalise(mel: np.ndarray, mean: float, std: float) -> np.ndarray:
    """(mel - mean) / (2 std): mean 0, standard deviation 0.5.   any shape -> the same, float32

    AST divides by twice the standard deviation, on purpose. Source: the paper, section 2, and dataloader.py.
    """
    return ((mel - mean) / (2 * std)).astype(np.float32, copy=False)


def segment_starts(length: int, frames: int, hop: int | None = None) -> np.ndarray:
    """The first frame of each segment that a clip of `length` frames is cut into.   -> (W,), at least one

    One segment every `hop` frames (default: end to end, a hop of `frames`), as long as they are whole. If that leaves
    frames at the end of the clip, one more is taken, flush with the end: it overlaps the one before, and all of the
    clip is heard. A clip shorter than a segment is one segment, which `pad_or_trim` pads.
    """
    last = max(0, length - frames)
    starts = np.arange(0, last + 1, hop or frames)
    return starts if starts[-1] == last else np.append(starts, last)


def segments(mel: np.ndarray, frames: int, hop: int | None = None) -> np.ndarray:
    """A clip of any length cut into segments of the model's length, at `segment_starts`.   mel (T, F) -> (W, frames, F)

    In the mean over a clip's segments, the frames that the last two share count twice.
    """
    return np.stack([pad_or_trim(mel[i:], frames) for i in segment_starts(len(mel), frames, hop)])


def model_inputs(mel: np.ndarray, features: FeatureConfig) -> np.ndarray:
    """All segments of a clip, padded and normalised: what `AST.forward` takes.   (T, F) -> (W, frames, F)"""
    return normalise(segments(mel, features.frames), features.mean, features.std)


# -- the same in blocks, for recordings of any length ----------------------------------------------------------


def log_mel_blocks(
    waves: Iterable[np.ndarray], features: FeatureConfig, spectrograms: Spectrograms = ON_CPU, together: int = STREAM
) -> Iterator[np.ndarray]:
    """`log_mel` of a waveform that comes in blocks (n,).   -> (together, F) each, (t, F) the last

    spectrograms: where it is computed. together: frames; at multiples of BLOCK it is `log_mel` bit for bit, a smaller
    number waits less for sound that is still to come. Raises minast.Error as `log_mel` does.
    """

    def computed(wave):
        return spectrograms.log_mels([wave], features.rate, features.mel_bins, features.window)[0]

    frame, shift, _ = sizes(features.rate)
    wanted, waiting, count = (together - 1) * shift + frame, [], 0
    for wave in waves:
        waiting.append(wave)
        count += len(wave)
        if count < wanted + shift:  # one frame more is kept back, so that the last block is not empty
            continue
        wave = np.concatenate(waiting)
        while len(wave) >= wanted + shift:
            yield computed(wave[:wanted])
            wave = wave[together * shift :]
        waiting, count = [wave], len(wave)
    wave = np.concatenate(waiting) if waiting else np.zeros(0, np.float32)
    yield computed(wave)


def segments_of_blocks(mels: Iterable[np.ndarray], frames: int, hop: int | None = None) -> Iterator[np.ndarray]:
    """`segments` of a log-mel that comes in blocks (t, F): each (frames, F), as soon as it is complete."""
    hop = hop or frames
    kept, start, base = None, 0, 0  # the latest frames, the next segment's first frame, and that of `kept`
    for mel in mels:
        kept = mel if kept is None else np.concatenate([kept, mel])
        while start + frames <= base + len(kept):
            yield kept[start - base : start - base + frames]
            start += hop
        drop = max(0, min(start - base, len(kept) - frames))  # the last `frames` may become the last segment
        kept, base = kept[drop:], base + drop
    length = base + len(kept)
    if length < frames or start - hop + frames < length:
        yield pad_or_trim(kept[-frames:], frames)
