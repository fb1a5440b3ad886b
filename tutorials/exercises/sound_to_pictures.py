"""Checks of the exercises of 01_sound_to_pictures."""

import math

import numpy as np

from .verdict import Wrong, exercise, expect


@exercise
def at_level(answer):
    """Compared with the definition, for a sine, noise with an offset and one sample, louder and softer."""
    n = np.arange(1600)
    cases = [
        ("a sine of amplitude 0.5", 0.5 * np.sin(2 * np.pi * n / 40), -20.0),
        ("noise", np.random.default_rng(0).normal(0.1, 0.01, 999), -35.5),
        ("the one sample -0.25", np.array([-0.25]), -6.0),
        ("a square wave of amplitude 1", np.where(n // 20 % 2, 1.0, -1.0), 0.0),
    ]
    for given, wave, level in cases:
        power = math.fsum(float(x) ** 2 for x in wave) / len(wave)
        now = 10 * math.log10(power)
        rms, factor = math.sqrt(power), 10 ** ((level - now) / 20)
        deviation = max(float(wave.std()), 1e-300)
        slips = {
            "10 log10 is for powers: a factor on samples is an amplitude, and takes 20": wave * factor**2,
            "you set the level that it should have, whatever it has now": wave * 10 ** (level / 20),
            "the wrong way round: the level that it has minus the one wanted": wave / factor,
            "you set the peak, not the root of the mean of x^2": wave / np.abs(wave).max() * 10 ** (level / 20),
            "you took the mean of |x|, not the root of the mean of x^2": wave
            / np.abs(wave).mean()
            * 10 ** (level / 20),
            "you added decibels to samples; they stand for a factor": wave + (level - now),
            "e to the power where 10 to the power belongs": wave * math.exp((level - now) / 20),
            "you subtracted the mean first, as a deviation does": wave * 10 ** (level / 20) / deviation,
            "the square root is missing: you divided by the power": wave * 10 ** (level / 20) / power,
            "you summed the squares; the mean is needed": wave * 10 ** (level / 20) / (rms * math.sqrt(len(wave))),
        }
        given = f"{given}, to be at {level:g} dB (it is at {now:.1f} dB)"
        expect(answer(wave.copy(), level), wave * factor, given=given, tol=1e-6, slips=slips)


@exercise
def frame_count(answer):
    """Compared with laying the frames down one by one, for eleven waveforms, also shorter than one frame."""
    sizes = [(400, 400, 160), (560, 400, 160), (559, 400, 160), (720, 400, 160), (16000, 400, 160), (160000, 400, 160)]
    for samples, length, shift in [*sizes, (1000, 200, 200), (10, 3, 1), (11, 4, 5), (399, 400, 160), (0, 400, 160)]:
        want = sum(1 for start in range(0, samples, shift) if start + length <= samples)
        plain = 1 + (samples - length) // shift
        strict = sum(1 for start in range(0, samples, shift) if start + length < samples)
        slips = {
            "a frame that ends with the very last sample is whole: <= where you have <": strict,
            "the first frame is missing: shifts that fit are one fewer than frames": plain - 1,
            "you counted an incomplete frame at the end": want + 1,
            "you divided without taking the frame's length off first": samples // shift,
            "you rounded up: an incomplete frame does not count": 1 + math.ceil((samples - length) / shift),
        }
        if samples < length:  # whether a slip gives 0 or less here is another matter
            slips = {"a waveform too short for one frame has none, never less than none": plain}
        given = f"samples={samples}, length={length}, shift={shift}"
        expect(answer(samples, length, shift), want, given=given, slips=slips)


def _side_lobe(a, length):
    """The highest side lobe of a - (1 - a) cos, in dB below the top of the main lobe."""
    w = _cosine(a, length, length - 1)
    size = 1 << (64 * length - 1).bit_length()
    lobe = np.abs(np.fft.rfft(w, size)) / w.sum()
    beyond = np.flatnonzero(np.diff(lobe) > 0)[0]
    return 20 * math.log10(lobe[beyond:].max())


@exercise
def lowest_side_lobe(answer):
    """Your windows' highest side lobes are measured: none is lower by a quarter of a decibel, at three lengths."""
    for length in (400, 200, 64):
        grid = np.arange(0.53, 0.55, 0.0002)
        lobes = [_side_lobe(a, length) for a in grid]
        best, lowest = float(grid[int(np.argmin(lobes))]), min(lobes)
        got = answer(length)
        expect(got, got, what="a")  # says where there is no answer
        if np.ndim(got) or not 0.5 <= float(got) <= 1:
            raise Wrong(f"for length={length}, a is {got}: it must be one number from 0.5 to 1.")
        reached = _side_lobe(float(got), length)
        if reached > lowest + 0.25:
            slips = {
                "that is Hann's: its side lobes fall fastest, but the first one is high": abs(got - 0.5) < 1e-3,
                "that is Hamming's rounded value, which can be improved": abs(got - 0.54) < 1e-4,
                "you return the level in dB, where `a` is asked for": float(got) < 0,
                "the highest lobe far away was made low; the highest of all lies near the main lobe": got < 0.52,
                "the first side lobe was made low, but another one has become the highest": got > best,
            }
            slip = next((f" Likely slip: {text}." for text, true in slips.items() if true), "")
            raise Wrong(
                f"for length={length}, a = {float(got):.4g} leaves a side lobe of {reached:.2f} dB, and there is an a "
                f"with {lowest:.2f} dB.{slip}"
            )


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
        if isinstance(got, (list, tuple, range, set, frozenset)):  # numbers in any order
            got = np.array(sorted(got), int)
        if np.shape(got) == (mels,) and np.asarray(got).dtype.kind == "b":
            raise Wrong("you return True or False for each filter: np.flatnonzero makes their numbers of it.")
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
            "`/ 2 * std` divides by 2 and then multiplies by std: it takes brackets": want * std**2,
            "you padded after the normalisation; AST pads before": np.pad(
                (cut - mean) / (2 * std), ((0, missing), (0, 0))
            ),
            "the padding goes to the end": (np.pad(cut, ((missing, 0), (0, 0))) - mean) / (2 * std),
            "too long a clip keeps its first frames, not its last": lambda m=mel, n=frames, a=mean, s=std: (
                (_padded(m[-n:], n) - a) / (2 * s)
            ),
            "you padded with silence (-15.94); AST pads with 0": (
                np.pad(cut, ((0, missing), (0, 0)), constant_values=math.log(2.0**-23)) - mean
            )
            / (2 * std),
            "divide by twice the deviation, not by its square": want * 2 / std,
            "you forgot the mean": want + mean / (2 * std),
            "the brackets: mel - mean / (2 std) divides the mean alone": want * 2 * std + mean - mean / (2 * std),
        }
        given = f"{have} frames where {frames} are wanted, mean={mean}, std={std}"
        expect(answer(mel.copy(), frames, mean, std), want, given=given, slips=slips)


def _cosine(a, length, divisor, sign=-1.0):
    return a + sign * (1 - a) * np.cos(2 * np.pi * np.arange(length) / divisor)


def _padded(x, frames):
    return np.pad(x[:frames], ((0, max(0, frames - len(x))), (0, 0)))


def _lowest(length, step=0.002):
    grid = np.arange(0.5, 0.6, step)
    return float(grid[np.argmin([_side_lobe(a, length) for a in grid])])


def _rms(x):
    return np.sqrt(np.mean(x**2))


WRONG = {
    "at_level": [
        (lambda x, level: x * 10 ** ((level - 20 * np.log10(_rms(x))) / 10), "takes 20"),
        (lambda x, level: x * 10 ** (level / 20), "whatever it has now"),
        (lambda x, level: x * 10 ** ((20 * np.log10(_rms(x)) - level) / 20), "the wrong way round"),
        (lambda x, level: x / np.abs(x).max() * 10 ** (level / 20), "you set the peak"),
        (lambda x, level: x / np.abs(x).mean() * 10 ** (level / 20), "mean of |x|"),
        (lambda x, level: x / max(x.std(), 1e-300) * 10 ** (level / 20), "you subtracted the mean first"),
        (lambda x, level: x / _rms(x) ** 2 * 10 ** (level / 20), "the square root is missing"),
        (lambda x, level: x / np.sqrt(np.sum(x**2)) * 10 ** (level / 20), "you summed the squares"),
        (lambda x, level: 10 ** ((level - 20 * np.log10(_rms(x))) / 20), "a number"),
    ],
    "frame_count": [
        (lambda n, length, shift: max(0, (n - length) // shift), "the first frame is missing"),
        (lambda n, length, shift: n // shift, "without taking the frame's length off"),
        (lambda n, length, shift: 1 + (n - length) / shift, "use // and int()"),
        (lambda n, length, shift: max(0, 1 + math.ceil((n - length) / shift)), "you rounded up"),
        (lambda n, length, shift: 1 + (n - length) // shift, "never less than none"),
        (lambda n, length, shift: sum(i + length < n for i in range(0, n, shift)), "<= where you have <"),
        (lambda n, length, shift: 98, "is 98, expected 1"),
    ],
    "lowest_side_lobe": [
        (lambda length: 0.5, "Hann's"),
        (lambda length: 0.54, "Hamming's rounded value"),
        (lambda length: 0.56, "another one has become the highest"),
        (lambda length: -43.2, "one number from 0.5 to 1"),
        (lambda length: np.full(length, 0.538), "one number from 0.5 to 1"),
    ],
    "empty_filters": [
        (lambda rate, fft, mels: _empty(rate, fft, mels, low=0.0), "at 20 Hz, not at 0"),
        (lambda rate, fft, mels: _empty(rate, fft, mels, narrow=True), "edge m + 2"),
        (lambda rate, fft, mels: np.array([3]), "of shape (1,), expected an array of shape (4,)"),
        (lambda rate, fft, mels: len(_empty(rate, fft, mels)), "a number"),
        (lambda rate, fft, mels: np.isin(np.arange(mels), _empty(rate, fft, mels)), "np.flatnonzero"),
        (lambda rate, fft, mels: set(_empty(rate, fft, mels)) | {0}, "of shape (2,), expected an array of shape (1,)"),
    ],
    "model_input": [
        (lambda mel, frames, mean, std: _padded((mel - mean) / (2 * std), frames), "AST pads before"),
        (lambda mel, frames, mean, std: (_padded(mel, frames) - mean) / std, "twice the deviation"),
        (lambda mel, frames, mean, std: (_padded(mel, frames) - mean) / 2 * std, "takes brackets"),
        (lambda mel, frames, mean, std: (_padded(mel, frames) - mean) / std**2, "not by its square"),
        (lambda mel, frames, mean, std: (mel - mean) / (2 * std), "shape"),
        (lambda mel, frames, mean, std: (_padded(mel[-frames:], frames) - mean) / (2 * std), "its first frames"),
        (lambda mel, frames, mean, std: _padded(mel, frames) - mean / (2 * std), "the brackets"),
    ],
}

# Right answers in other forms: each must be accepted.
RIGHT = {
    "at_level": [lambda x, level: x / _rms(x) * 10 ** (level / 20)],
    "frame_count": [
        lambda n, length, shift: len(range(0, max(0, n - length + 1), shift)),
        lambda n, length, shift: sum(i + length <= n for i in range(0, n, shift)),
    ],
    "lowest_side_lobe": [lambda length: _lowest(length, 0.001), lambda length: np.float32(_lowest(length, 0.0005))],
    "empty_filters": [
        lambda rate, fft, mels: set(_empty(rate, fft, mels)),
        lambda rate, fft, mels: [int(m) for m in _empty(rate, fft, mels)][::-1],
        lambda rate, fft, mels: tuple(_empty(rate, fft, mels)),
    ],
    "model_input": [lambda mel, frames, mean, std: 0.5 * (_padded(mel, frames) - mean) / std],
}
