"""The log-mel kernels, every version and FFT length, against features.py and against float64."""

import numpy as np
import pytest

from minast import features
from minast.backend import Backend, choose
from minast.config import FeatureConfig
from minast.cuda import log_mel
from minast.datasets import Clip
from minast.errors import Error
from minast.features import ON_CPU, Spectrograms, sizes
from minast.training.feature_cache import FeatureCache
from tests import kernel_cases

put = kernel_cases.put  # a fixture: pytest finds it by this name

RATES = {4000: 128, 8000: 256, 16000: 512, 22050: 1024, 44100: 2048, 96000: 4096}  # Hz -> FFT length
NEAR = 60 / 10 * np.log(10)  # 60 dB: what is further below the loudest filter of its frame is rounding in part


def module_of(put):
    """NumPy or CuPy: where `put` puts arrays."""
    import sys

    return sys.modules[type(put(np.zeros(1))).__module__.split(".")[0]]


def in_float64(wave, rate, bins=128, window="hamming"):
    """The definition: no FFT tricks, no float32."""
    frame, shift, size = sizes(rate)
    x = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float64), frame)[::shift]
    x = x - x.mean(axis=1, keepdims=True)
    y = x - 0.97 * np.concatenate([x[:, :1], x[:, :-1]], axis=1)
    power = np.abs(np.fft.rfft(y * features.window_function(window, frame), size)) ** 2
    return np.log(np.maximum(power @ features.mel_filterbank(rate, bins, size), features.LOG_FLOOR))


def sounds(rate, rng):
    """Noise of one frame and of a few with a rest, a tone far above its noise, silence, and a constant."""
    frame, shift, _ = sizes(rate)
    noise = 0.1 * rng.standard_normal(frame + 2 * shift + 7)
    t = np.arange(frame + shift) / rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * t) + 1e-3 * rng.standard_normal(len(t))
    return [x.astype(np.float32) for x in (noise[:frame], noise, tone, np.zeros(frame + 1), np.full(frame, 0.25))]


def check_log_mel(put, rng, rate=16000, version=2, bins=128, window="hamming"):
    waves = sounds(rate, rng)
    found = log_mel.log_mels(waves, rate, bins, window, module_of(put), version)
    for wave, mel in zip(waves, found, strict=True):
        wanted, exact = features.log_mel(wave, rate, bins, window), in_float64(wave, rate, bins, window)
        assert mel.shape == wanted.shape and mel.dtype == np.float32 and np.isfinite(mel).all()
        heard = exact > np.maximum(exact.max(axis=1, keepdims=True) - NEAR, np.log(features.LOG_FLOOR) + 1)
        error = np.abs(mel - wanted)
        assert error[heard].max(initial=0) < 1e-4, f"{error[heard].max():.1e}"
        assert error.max() < 1e-3  # the rest of these sounds is not much fainter
        # on its own scale, and not by comparison with another float32 computation
        assert np.abs(mel - exact)[heard].max(initial=0) < 1.5e-4


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_log_mel(put, rate, version):
    assert sizes(rate)[2] == RATES[rate] and log_mel.fits(rate)
    check_log_mel(put, np.random.default_rng(3), rate, version)


@pytest.mark.parametrize("rate", [4000, 16000])
def test_the_definition(put, rate):
    check_log_mel(put, np.random.default_rng(3), rate, 0)


@pytest.mark.parametrize(("bins", "window"), [(1, "hann"), (23, "hamming"), (80, "hann"), (257, "hamming")])
def test_other_numbers_of_filters_and_windows(put, bins, window):
    """257 filters at 16 kHz: many are narrower than a bin, hence empty, and there are more than threads."""
    check_log_mel(put, np.random.default_rng(3), 16000, 2, bins, window)


def test_silence_is_the_floor(put):
    (mel,) = log_mel.log_mels([np.zeros(400, np.float32)], xp=module_of(put))
    assert (mel == np.log(np.float32(features.LOG_FLOOR))).all()


def test_a_clip_has_the_same_bits_alone_and_among_others(put):
    waves = sounds(16000, np.random.default_rng(8))
    alone = [log_mel.log_mels([wave], xp=module_of(put))[0] for wave in waves]
    together = log_mel.log_mels(waves[::-1], xp=module_of(put))[::-1]
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    # and in blocks, as a long recording comes
    where = Spectrograms("emulator", lambda w, *settings: log_mel.log_mels(w, *settings, xp=module_of(put)))
    blocks = features.log_mel_blocks([waves[1][:450], waves[1][450:]], FeatureConfig(), where)
    assert np.array_equal(np.concatenate(list(blocks)), alone[1])


def test_launches_are_limited():
    assert log_mel.groups([], 10) == []
    assert log_mel.groups([4, 6, 1, 30, 2, 2], 10) == [range(0, 2), range(2, 3), range(3, 4), range(4, 6)]


def test_many_launches_give_the_same(put, monkeypatch):
    waves = sounds(16000, np.random.default_rng(8))
    wanted = log_mel.log_mels(waves, xp=module_of(put))
    monkeypatch.setattr(log_mel, "SAMPLES", 700)
    assert all(map(np.array_equal, log_mel.log_mels(waves, xp=module_of(put)), wanted))
    assert log_mel.log_mels([], xp=module_of(put)) == []


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (np.zeros(399, np.float32), "399 samples"),
        (np.zeros((2, 400), np.float32), "one channel"),
        (np.full(400, np.nan, np.float32), "400 samples that are NaN"),
        (np.full(400, 100.0), "reaches 100"),
    ],
)
def test_waveforms_are_refused_as_on_the_cpu(wave, message):
    with pytest.raises(Error, match=message):
        log_mel.log_mels([np.zeros(400, np.float32), wave], xp=np)
    with pytest.raises(Error, match=message):
        features.log_mel(wave)


# -- who uses it -------------------------------------------------------------------------------------------------------


def test_only_cuda_computes_features_on_the_gpu():
    assert choose("emulator").spectrograms(16000) is ON_CPU and choose("numpy").spectrograms(16000) is ON_CPU
    cuda = Backend("cuda", np, None)
    assert cuda.spectrograms(16000) == Spectrograms("cuda", log_mel.log_mels, log_mel.TOGETHER)
    assert cuda.spectrograms(1000) is ON_CPU  # an FFT of 32 has no kernel


def test_the_cache_keeps_features_apart_by_who_computed_them(tmp_path, monkeypatch):
    """Clips are computed together, a bad one costs only itself, and each maker finds its own entries again."""
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    calls = []

    def marked(waves, *settings):
        calls.append(len(waves))
        return [mel + np.float32(1) for mel in features.log_mels(waves, *settings)]

    clips = [wav(tmp_path / f"{i}.wav", 0.03 if i != 2 else 0.01, i) for i in range(5)]
    bad = []
    ours = FeatureCache(clips, FeatureConfig(), quiet=True, bad=bad)
    there = Spectrograms("cuda", marked, together=3)
    theirs = FeatureCache(clips, FeatureConfig(), quiet=True, bad=bad, spectrograms=there)
    assert [clip.name for clip, _ in bad] == ["2.wav"] * 2 and sorted(calls) == [2, 2]
    assert all(np.array_equal(a + np.float32(1), b) for a, b in zip(ours, theirs, strict=True))
    again = FeatureCache(clips, FeatureConfig(), quiet=True, bad=bad, spectrograms=there)
    assert sorted(calls)[-2:] == [2, 2] and sum(calls) == 4  # all from disk
    assert all(map(np.array_equal, theirs, again))


def wav(path, seconds, seed):
    import soundfile

    wave = 0.1 * np.random.default_rng(seed).standard_normal(int(16000 * seconds))
    soundfile.write(path, wave, 16000)
    return Clip(path.name, (0,), path=str(path))
