"""Checks of the exercises of 01_sound_to_pictures."""

import math

import numpy as np

from .verdict import exercise, expect


@exercise
def level_db(answer):
    """Compared with the definition, for a sine, a square wave, noise and one sample."""
    n = np.arange(1600)
    cases = {
        "a sine of amplitude 0.5": 0.5 * np.sin(2 * np.pi * n / 40),
        "a square wave of amplitude 1": np.where(n // 20 % 2, 1.0, -1.0),
        "noise": np.random.default_rng(0).normal(0.1, 0.01, 999),
        "the one sample -0.25": np.array([-0.25]),
    }
    for given, wave in cases.items():
        power = math.fsum(float(x) ** 2 for x in wave) / len(wave)
        rms, mean = math.sqrt(power), np.abs(wave).mean()
        slips = {
            "10 log10 is for powers; for the root mean square it is 20 log10": 10 * math.log10(rms),
            "20 log10 of the power: the square root is missing": 20 * math.log10(power),
            "you took the mean of |x|, not the root of the mean of x^2": 20 * math.log10(mean),
            "you took the peak": 20 * math.log10(np.abs(wave).max()),
            "the natural logarithm; decibels take log10": 20 * math.log(rms),
            "the factor in front is missing: ten times the logarithm of the power": math.log10(power),
            "you summed the squares; the mean is needed": 10 * math.log10(power * len(wave)),
            "you subtracted the mean first, as a deviation does": lambda w=wave: 20 * math.log10(max(w.std(), 1e-300)),
        }
        expect(answer(wave.copy()), 10 * math.log10(power), given=given, tol=1e-6, slips=slips)


@exercise
def frame_count(answer):
    """Compared with laying the frames down one by one, for twelve waveforms, also shorter than one frame."""
    sizes = [(400, 400, 160), (560, 400, 160), (559, 400, 160), (720, 400, 160), (16000, 400, 160), (160000, 400, 160)]
    for samples, length, shift in [*sizes, (1000, 200, 200), (10, 3, 1), (11, 4, 5), (399, 400, 160), (0, 400, 160)]:
        want = sum(1 for start in range(0, samples, shift) if start + length <= samples)
        plain = 1 + (samples - length) // shift
        slips = {
            "the first frame is missing: shifts that fit are one fewer than frames": plain - 1,
            "you counted the last, incomplete frame": want + 1,
            "you divided without taking the frame's length off first": samples // shift,
            "you rounded up: an incomplete frame does not count": 1 + math.ceil((samples - length) / shift),
            "a waveform too short for one frame has none, never less than none": plain,
        }
        given = f"samples={samples}, length={length}, shift={shift}"
        expect(answer(samples, length, shift), want, given=given, slips=slips)


@exercise
def raised_cosine(answer):
    """Compared value by value with the formula, for Hamming, Hann and a third window, at even and odd lengths."""
    for a, length in ((0.54, 400), (0.5, 400), (0.54, 7), (0.5, 200), (0.42, 33)):
        want = np.array([a - (1 - a) * math.cos(2 * math.pi * k / (length - 1)) for k in range(length)])
        k = np.arange(length)
        slips = {
            "you divided by the length, not by the length - 1: the window is then not symmetric": a
            - (1 - a) * np.cos(2 * np.pi * k / length),
            "a plus where a minus belongs: the window is loudest at its ends": 2 * a - want,
            "a sine where a cosine belongs": a - (1 - a) * np.sin(2 * np.pi * k / (length - 1)),
            "half a cycle only: 2 pi k is needed": a - (1 - a) * np.cos(np.pi * k / (length - 1)),
            "degrees where radians belong": a - (1 - a) * np.cos(360.0 * k / (length - 1)),
            "the second weight is 1 - a, not a": a - a * np.cos(2 * np.pi * k / (length - 1)),
        }
        expect(answer(a, length), want, given=f"a={a}, length={length}", slips=slips)


def _mel(hz):
    return 1127 * math.log(1 + hz / 700)


def _empty(rate, fft_size, mel_bins, low=20.0, bins=None, edges=None, narrow=False):
    """The filters between whose edges no FFT bin lies, one comparison at a time."""
    if edges is None:
        step = (_mel(rate / 2) - _mel(low)) / (mel_bins + 1)
        edges = [_mel(low) + i * step for i in range(mel_bins + 2)]
    bins = [_mel(k * rate / fft_size) for k in range(fft_size // 2)] if bins is None else bins
    pairs = [(edges[m], edges[m + (1 if narrow else 2)]) for m in range(mel_bins)]
    return np.array([m for m, (a, b) in enumerate(pairs) if not any(a < x < b for x in bins)], int)


@exercise
def empty_filters(answer):
    """Compared with asking every filter about every FFT bin, at six sets of rate, FFT length and filters."""
    for rate, fft, mels in (
        *((16000, 512, 128), (8000, 256, 128), (32000, 1024, 128)),
        *((16000, 512, 64), (16000, 256, 128), (44100, 1024, 256)),
    ):
        hz_edges = [20 + i * (rate / 2 - 20) / (mels + 1) for i in range(mels + 2)]
        hz_bins = [k * rate / fft for k in range(fft // 2)]
        stretched = [_mel(k * rate / 2 / (fft // 2 - 1)) for k in range(fft // 2)]
        slips = {
            "the edges are equally spaced in mel, not in Hz": _empty(rate, fft, mels, bins=hz_bins, edges=hz_edges),
            "the lowest edge is at 20 Hz, not at 0": _empty(rate, fft, mels, low=0.0),
            "filter m reaches from edge m to edge m + 2, not to m + 1": _empty(rate, fft, mels, narrow=True),
            "the FFT bins are at k * rate / fft_size Hz; yours are spread up to Nyquist itself": _empty(
                rate, fft, mels, bins=stretched
            ),
        }
        got = answer(rate, fft, mels)
        got = np.asarray(got, int) if isinstance(got, (list, tuple, range)) else got
        want = _empty(rate, fft, mels)
        expect(got, want, given=f"rate={rate}, fft_size={fft}, mel_bins={mels} (which has {len(want)})", slips=slips)


@exercise
def model_input(answer):
    """Compared row by row, for a clip that is too short, one that is too long and one that fits."""
    rng = np.random.default_rng(1)
    for have, frames, mean, std in ((3, 5, -4.27, 4.57), (7, 4, -6.6, 5.4), (6, 6, -7.1, 3.7)):
        mel = rng.normal(mean, std, (have, 8))
        rows = [[float(v) for v in mel[t]] if t < have else [0.0] * 8 for t in range(frames)]
        want = np.array([[(v - mean) / (2 * std) for v in row] for row in rows])
        cut, missing = mel[:frames], max(0, frames - have)
        slips = {
            "divide by twice the deviation, as AST does": 2 * want,
            "you padded after the normalisation; AST pads before": np.pad(
                (cut - mean) / (2 * std), ((0, missing), (0, 0))
            ),
            "the padding goes to the end": (np.pad(cut, ((missing, 0), (0, 0))) - mean) / (2 * std),
            "too long a clip keeps its first frames, not its last": lambda m=mel, n=frames, a=mean, s=std: (
                (m[-n:] - a) / (2 * s)
            ),
            "you padded with silence (-15.94); AST pads with 0": (
                np.pad(cut, ((0, missing), (0, 0)), constant_values=math.log(2.0**-23)) - mean
            )
            / (2 * std),
            "you forgot the mean": want + mean / (2 * std),
            "the brackets: mel - mean / (2 std) divides the mean alone": want * 2 * std + mean - mean / (2 * std),
        }
        given = f"{have} frames where {frames} are wanted, mean={mean}, std={std}"
        expect(answer(mel.copy(), frames, mean, std), want, given=given, slips=slips)


def _cosine(a, length, divisor, sign=-1.0):
    return a + sign * (1 - a) * np.cos(2 * np.pi * np.arange(length) / divisor)


def _padded(x, frames):
    return np.pad(x[:frames], ((0, max(0, frames - len(x))), (0, 0)))


WRONG = {
    "level_db": [
        lambda x: 10 * np.log10(np.sqrt(np.mean(x**2))),
        lambda x: 20 * np.log10(np.abs(x).mean()),
        lambda x: 20 * np.log10(x.std()),
        lambda x: 20 * np.log(np.sqrt(np.mean(x**2))),
        lambda x: 20 * np.log10(np.sqrt(x**2)),
    ],
    "frame_count": [
        lambda n, length, shift: (n - length) // shift,
        lambda n, length, shift: n // shift,
        lambda n, length, shift: 1 + (n - length) / shift,
        lambda n, length, shift: 1 + math.ceil((n - length) / shift),
        lambda n, length, shift: 1 + (n - length) // shift,
    ],
    "raised_cosine": [
        lambda a, n: _cosine(a, n, n),
        lambda a, n: _cosine(a, n, n - 1, 1.0),
        lambda a, n: np.hamming(n),
        lambda a, n: np.hanning(n),
        lambda a, n: _cosine(a, n + 1, n),
    ],
    "empty_filters": [
        lambda rate, fft, mels: _empty(rate, fft, mels, low=0.0),
        lambda rate, fft, mels: _empty(rate, fft, mels, narrow=True),
        lambda rate, fft, mels: np.array([3]),
        lambda rate, fft, mels: len(_empty(rate, fft, mels)),
        lambda rate, fft, mels: np.isin(np.arange(mels), _empty(rate, fft, mels)),
    ],
    "model_input": [
        lambda mel, frames, mean, std: _padded((mel - mean) / (2 * std), frames),
        lambda mel, frames, mean, std: (_padded(mel, frames) - mean) / std,
        lambda mel, frames, mean, std: (_padded(mel, frames) - mean) / std**2,
        lambda mel, frames, mean, std: (mel - mean) / (2 * std),
        lambda mel, frames, mean, std: (_padded(mel[-frames:], frames) - mean) / (2 * std),
    ],
}
