"""Log-mel features: what Kaldi and AST do, including what looks wrong and is not. (Numbers: test_golden.py.)"""

import numpy as np
import pytest
import scipy.signal

import minast
from minast import features, threads
from minast.config import FeatureConfig

SILENCE = -15.942385  # log of float32's epsilon

# What a frame's place in a waveform may change. Nothing but the product of powers and filters sees it: OpenBLAS's AVX2
# kernels add the terms of a row in an order that depends on the row's place. Two sums of n products without a negative
# term differ by 2 n u of their value, u = 2^-24, so their logarithms by 2 n u, and by one rounding each of a number
# below 16 (a unit of 2^-20).
TERMS = int((features.mel_filterbank(16000, 128) > 0).sum(axis=0).max())
ELSEWHERE = 2 * TERMS * 2**-24 + 2 * 2**-20


def noise(samples=8000, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def by_hand(wave, rate, window):
    """The definition, one frame and one filter at a time, in float64."""
    frame, shift, fft_size = features.sizes(rate)
    bank = features.mel_filterbank(rate)
    out = []
    for start in range(0, len(wave) - frame + 1, shift):
        x = wave[start : start + frame].astype(np.float64)
        x = x - x.mean()
        y = np.array([x[0] - 0.97 * x[0], *(x[t] - 0.97 * x[t - 1] for t in range(1, frame))])
        y *= scipy.signal.get_window(window, frame, fftbins=False)
        power = np.abs(np.fft.rfft(y, fft_size)) ** 2
        out.append([np.log(max((power * bank[:, m]).sum(), features.LOG_FLOOR)) for m in range(bank.shape[1])])
    return np.array(out)


# -- frames and windows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "rate", "frames"),
    [
        *((16000, 16000, 98), (80000, 16000, 498), (160000, 16000, 998), (400, 16000, 1), (559, 16000, 1)),
        *((560, 16000, 2), (399, 16000, 0), (0, 16000, 0), (8000, 8000, 98), (44100, 44100, 98), (11025, 11025, 98)),
    ],
)
def test_frame_count(samples, rate, frames):
    assert features.frame_count(samples, rate) == frames
    if frames:
        assert minast.log_mel(noise(samples), rate=rate).shape == (frames, 128)


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [(8000, (200, 80, 256)), (16000, (400, 160, 512)), (22050, (551, 220, 1024)), (44100, (1102, 441, 2048))],
)
def test_sizes(rate, wanted):
    assert features.sizes(rate) == wanted


@pytest.mark.parametrize("length", [200, 400, 551])
def test_windows_are_symmetric(length):
    for name, ends in (("hamming", 0.08), ("hann", 0.0)):
        taper = features.window_function(name, length)
        np.testing.assert_allclose(taper, scipy.signal.get_window(name, length, fftbins=False), atol=1e-14)
        np.testing.assert_allclose(taper, taper[::-1], atol=1e-14)
        assert np.isclose(taper[0], ends, atol=1e-15)
    assert abs(features.window_function("hann", length) - scipy.signal.get_window("hann", length)).max() > 1e-3


# -- mel -------------------------------------------------------------------------------------------------------


def test_mel_scale():
    assert np.isclose(features.mel_from_hz(1000), 999.99, atol=0.01) and features.mel_from_hz(0) == 0
    hz = np.array([0.0, 20.0, 440.0, 8000.0, 22050.0])
    np.testing.assert_allclose(features.hz_from_mel(features.mel_from_hz(hz)), hz, rtol=1e-13)
    assert np.isclose(features.hz_from_mel(1127.0), 700 * (np.e - 1), rtol=1e-14)


@pytest.mark.parametrize(
    ("rate", "empty", "single"),
    [(16000, [3], 24), (8000, [4, 7, 12, 17], 49), (32000, [], 12), (44100, [], 0)],
)
def test_empty_and_single_bin_filters(rate, empty, single):
    """128 filters are more than a short FFT resolves at its low end. AST's weights have seen it so: no repair."""
    bins = (features.mel_filterbank(rate, 128) > 0).sum(axis=0)
    assert np.flatnonzero(bins == 0).tolist() == empty
    assert (bins == 1).sum() == single


def test_filterbank_is_triangles_in_mel():
    bank = features.mel_filterbank(16000, 128)
    assert bank.shape == (257, 128) and bank.dtype == np.float64 and not bank.flags.writeable
    assert bank.min() == 0 and bank.max() <= 1 and not bank[-1].any() and not bank[0].any()
    edges = np.linspace(features.mel_from_hz(20), features.mel_from_hz(8000), 130)
    mel = features.mel_from_hz(np.arange(256) * 8000 / 256)
    m = 100
    np.testing.assert_allclose(bank[:-1, m], np.interp(mel, edges[m : m + 3], [0, 1, 0]), atol=1e-12)
    inside = (mel > edges[1]) & (mel < edges[-2])
    np.testing.assert_allclose(bank[:-1][inside].sum(axis=1), 1, atol=1e-12)  # neighbours share what is between them


def test_filterbank_options():
    bank = features.mel_filterbank(16000, 40, fft_size=1024, low=300, high=3000)
    hz = np.arange(513) * 16000 / 1024
    assert bank.shape == (513, 40) and not bank[(hz <= 300) | (hz >= 3000)].any()
    for low, high in ((-1, 8000), (0, 8001), (500, 500)):
        with pytest.raises(minast.Error, match="range"):
            features.mel_filterbank(16000, 40, low=low, high=high)


# -- log-mel ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", ["hamming", "hann"])
@pytest.mark.parametrize("rate", [16000, 11025])
def test_against_the_definition(rate, window):
    wave = noise(900)
    mel = minast.log_mel(wave, rate=rate, window=window)
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel, by_hand(wave, rate, window), rtol=0, atol=1e-3)
    assert abs(mel - by_hand(wave, rate, window)).mean() < 1e-5


def test_hamming_is_the_default():
    wave = noise()
    np.testing.assert_array_equal(minast.log_mel(wave), minast.log_mel(wave, 16000, 128, "hamming"))
    assert abs(minast.log_mel(wave) - minast.log_mel(wave, window="hann")).max() > 1  # they do differ, at the low end


def test_silence_is_the_floor_and_filter_3_is_silent():
    np.testing.assert_allclose(minast.log_mel(np.zeros(16000, np.float32)), SILENCE, atol=1e-6)
    mel = minast.log_mel(noise())
    np.testing.assert_allclose(mel[:, 3], SILENCE, atol=1e-6)
    assert np.delete(mel, 3, axis=1).min() > -14


def test_an_offset_does_not_matter():
    wave = noise()
    for offset in (0.05, -0.4):  # what float32 makes of the sum differs a little, in the quietest filters
        np.testing.assert_allclose(minast.log_mel(wave + np.float32(offset)), minast.log_mel(wave), atol=2e-3)
    np.testing.assert_allclose(minast.log_mel(np.full(800, 0.5, np.float32)), SILENCE, atol=1e-6)


def test_scale_and_time():
    wave = noise()
    mel = np.delete(minast.log_mel(wave), 3, axis=1)
    louder = np.delete(minast.log_mel(4 * wave), 3, axis=1)
    np.testing.assert_allclose(louder - mel, 2 * np.log(4), atol=2e-5)  # nats of power
    mel = minast.log_mel(wave)
    np.testing.assert_allclose(minast.log_mel(wave[160:]), mel[1:], rtol=0, atol=ELSEWHERE)  # one shift, one frame
    np.testing.assert_allclose(minast.log_mel(wave[: 560 + 159])[0], mel[0], rtol=0, atol=ELSEWHERE)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_bits_depend_on_no_number_of_threads(number, monkeypatch):
    wave = noise(16000 * 6)  # more than two blocks
    before = minast.log_mel(wave)
    monkeypatch.setenv(threads.VARIABLE, str(number))
    np.testing.assert_array_equal(minast.log_mel(wave), before)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_tone_is_loudest_in_its_own_filter(rate):
    hz = 0.2 * rate
    mel = minast.log_mel(0.5 * np.sin(2 * np.pi * hz * np.arange(rate // 4) / rate), rate=rate)
    centres = features.hz_from_mel(np.linspace(features.mel_from_hz(20), features.mel_from_hz(rate / 2), 130))[1:-1]
    assert (abs(mel.argmax(axis=1) - abs(centres - hz).argmin()) <= 1).all()


def test_float64_is_float32_and_the_wave_is_left_alone():
    wave = noise()
    original = wave.copy()
    np.testing.assert_array_equal(minast.log_mel(wave.astype(np.float64)), minast.log_mel(wave))
    np.testing.assert_array_equal(wave, original)
    np.testing.assert_array_equal(minast.log_mel(noise(16000)[::2]), minast.log_mel(noise(16000)[::2].copy()))
    wave.flags.writeable = False
    assert minast.log_mel(wave, mel_bins=40).shape == (48, 40)


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (np.zeros(399, np.float32), r"399 samples \(24.9 ms at 16000 Hz\).*400"),
        (np.zeros(0, np.float32), "0 samples"),
        (np.zeros((16000, 2), np.float32), r"\(16000, 2\)"),
        (np.zeros(16000, np.int16), "int16"),
        ([0] * 16000, "int"),
        (np.zeros(16000, complex), "complex"),
        (np.r_[np.zeros(999), np.nan], "1 samples that are NaN or infinite"),
        (np.r_[np.inf, np.zeros(999), -np.inf], "2 samples"),
    ],
)
def test_bad_waveforms(wave, message):
    with pytest.raises(minast.Error, match=message):
        minast.log_mel(wave)


def test_unknown_window():
    with pytest.raises(minast.Error, match="povey"):
        minast.log_mel(noise(), window="povey")


# -- what the model is given -----------------------------------------------------------------------------------


def test_padding_is_zero_before_normalisation():
    mel = minast.log_mel(noise(1000))  # 4 frames
    padded = features.pad_or_trim(mel, 7)
    assert padded.shape == (7, 128) and padded.dtype == np.float32
    np.testing.assert_array_equal(padded[:4], mel)
    assert not padded[4:].any()
    np.testing.assert_array_equal(features.pad_or_trim(mel, 3), mel[:3])  # a cut keeps the beginning
    np.testing.assert_array_equal(features.pad_or_trim(mel, 4), mel)


@pytest.mark.parametrize(
    ("mean", "std", "padding", "silence"),
    [
        (-4.2677393, 4.5689974, 0.467, -1.278),  # AudioSet
        (-6.6268077, 5.358466, 0.618, -0.869),  # ESC-50
        (-6.845978, 5.5654526, 0.615, -0.817),  # Speech Commands
    ],
)
def test_normalisation_divides_by_twice_the_deviation(mean, std, padding, silence):
    x = features.normalise(np.array([0.0, SILENCE]), mean, std)
    np.testing.assert_allclose(x, [padding, silence], atol=6e-4)
    assert x.dtype == np.float32
    mel = minast.log_mel(noise())
    x = features.normalise(mel, mel.mean(), mel.std())
    assert abs(x.mean()) < 1e-4 and np.isclose(x.std(), 0.5, atol=1e-4)


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        *((1, [0]), (9, [0]), (10, [0]), (11, [0, 1]), (14, [0, 4]), (20, [0, 10]), (21, [0, 10, 11])),
        *((29, [0, 10, 19]), (30, [0, 10, 20])),
    ],
)
def test_segments_reach_the_end_of_the_clip(length, starts):
    mel = noise(length * 3).reshape(length, 3)
    x = features.segments(mel, 10)
    assert list(features.segment_starts(length, 10)) == starts
    assert x.shape == (len(starts), 10, 3)
    for segment, start in zip(x, starts, strict=True):
        np.testing.assert_array_equal(segment, features.pad_or_trim(mel[start:], 10))
    assert length < 10 or (x[-1] == mel[-10:]).all()  # only a clip that is too short is padded


def test_segments_at_a_hop_end_with_the_clip_too():
    assert list(features.segment_starts(27, 10, 4)) == [0, 4, 8, 12, 16, 17]
    assert list(features.segment_starts(26, 10, 4)) == [0, 4, 8, 12, 16]
    assert list(features.segment_starts(30, 10, 15)) == [0, 15, 20]  # frames 10 to 14 are left out, as asked


# -- in blocks -------------------------------------------------------------------------------------------------


def pieces(x, size):
    return (x[i : i + size] for i in range(0, len(x), size))


@pytest.mark.parametrize("rate", [16000, 22050])
@pytest.mark.parametrize("extra", [-1, 0, 1, 159, 160, 5000])
def test_a_log_mel_in_blocks_has_the_same_bits(rate, extra):
    """Around the seam between two blocks: one sample, one frame more or less."""
    frame, shift, _ = features.sizes(rate)
    wave, config = noise((features.STREAM - 1) * shift + frame + extra), FeatureConfig(rate=rate, mel_bins=40)
    whole = minast.log_mel(wave, rate, 40)
    for size in (977, 65536):
        blocks = list(features.log_mel_blocks(pieces(wave, size), config))
        np.testing.assert_array_equal(np.concatenate(blocks), whole)
        assert all(len(block) for block in blocks)


def test_what_is_too_short_is_refused_in_blocks_as_well():
    for blocks in ([], [noise(399)], [noise(200), noise(199)]):
        with pytest.raises(minast.Error, match=f"has {sum(map(len, blocks))} samples"):
            list(features.log_mel_blocks(blocks, FeatureConfig()))


@pytest.mark.parametrize("hop", [None, 1, 4, 13])
def test_segments_of_blocks_are_those_of_the_whole(hop):
    for length in range(1, 45):
        mel = noise(length * 3).reshape(length, 3)
        for size in (1, 7, 100):
            found = list(features.segments_of_blocks(pieces(mel, size), 10, hop))
            np.testing.assert_array_equal(found, features.segments(mel, 10, hop))


# -- loud ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("peak", [1.5, 32.0])
def test_floats_beyond_full_scale_are_normal(peak):
    wave = noise() / 0.5
    louder = minast.log_mel(wave * np.float32(peak / abs(wave).max()))
    assert np.isfinite(louder).all()
    np.testing.assert_allclose(
        np.delete(louder - minast.log_mel(wave), 3, axis=1), 2 * np.log(peak / abs(wave).max()), atol=1e-3
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("peak", [33.0, 32767.0, 1e20, 3e38])
def test_samples_at_the_scale_of_integers_are_refused(peak):
    wave = noise()
    wave[100] = -peak
    with pytest.raises(minast.Error, match=r"the waveform reaches .*must lie in \[-1, 1\].*divided by 32768"):
        minast.log_mel(wave)
