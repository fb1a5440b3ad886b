"""Batches of mixed waveforms: AST's mixup to the letter, background recordings, and the run that has them."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

import minast
from minast import augment, optim, train
from minast.config import FeatureConfig, TrainConfig
from minast.errors import Error
from minast.features import log_mel
from minast.training import batches
from minast.training.finish import wav
from minast.training.waveforms import Waveforms
from tests.conftest import TINY_RUN

FEATURES = FeatureConfig(frames=30, mel_bins=16, rate=8000, mean=0.0, std=0.5)  # normalisation changes nothing
LENGTHS = (30, 30, 12, 30, 50, 21)  # frames


def sounds(seed=0, lengths=LENGTHS, offset=0.1):
    """Noise of these lengths in frames, each with a DC offset of its own."""
    rng = np.random.default_rng(seed)
    made = [rng.normal(offset * (i + 1), 0.1, 200 + 80 * (n - 1) + 17) for i, n in enumerate(lengths)]
    return [wave.astype(np.float32) for wave in made]


def made(config, waves, features=FEATURES, epoch=0, step=0, targets=None):
    mels = [log_mel(wave, 8000, 16) for wave in waves.clips]
    targets = np.eye(len(mels), dtype=np.float32) if targets is None else targets
    chosen = np.arange(len(mels))
    return batches.training_batch(mels, targets, chosen, features, config, epoch, step, waves=waves)


def official(first, second, share):
    """_wav2fbank of the official dataloader.py, line by line."""
    first, second = first - first.mean(), second - second.mean()
    if len(first) > len(second):
        padded = np.zeros(len(first))
        padded[: len(second)] = second
        second = padded
    else:
        second = second[: len(first)]
    mixed = share * first + (1 - share) * second
    return mixed - mixed.mean()


@pytest.mark.parametrize("lengths", [(400, 400), (400, 90), (90, 400)])
def test_mixed_waveforms_are_those_of_the_official_code(lengths):
    rng = np.random.default_rng(1)
    a, b = (rng.normal(0.3, 0.2, n) for n in lengths)
    got = augment.mix_waves(a.astype(np.float32), b.astype(np.float32), 0.37)
    np.testing.assert_allclose(got, official(a, b, 0.37), atol=1e-7)
    assert got.dtype == np.float32 and abs(got.mean()) < 1e-7


def test_a_mixed_clip_is_the_log_mel_of_the_mixed_waveform():
    """Every clip and partner, shares as drawn, labels as shares, shared labels 1, unmixed clips whole."""
    lengths = (30, 30, 12, 30, 30, 21)
    waves = Waveforms(sounds(lengths=lengths))
    config, targets = TrainConfig(mixup=0.5, seed=4), np.c_[np.eye(6), np.ones(6)].astype(np.float32)
    shares, pairs = [], set()
    for step in range(60):
        x, y = made(config, waves, step=step, targets=targets)
        np.testing.assert_allclose(y[:, :6].sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(y[:, 6], 1, atol=1e-6)  # a label that both have
        for i in range(6):
            wave, others = waves.clips[i].astype(float), [j for j in np.flatnonzero(y[i, :6]) if j != i]
            if others:
                share = float(y[i, i])
                wave = official(wave, waves.clips[others[0]].astype(float), share)
                shares.append(share)
                pairs.add((i, others[0]))
            elif np.array_equal(x[i, : lengths[i]], log_mel(waves.clips[i], 8000, 16)):
                continue
            else:
                wave = official(wave, wave, 0.5)  # mixed with itself
            np.testing.assert_allclose(x[i, : lengths[i]], log_mel(wave.astype(np.float32), 8000, 16), atol=2e-3)
            assert not x[i, lengths[i] :].any()
    assert len(pairs) == 30 and len(shares) / 360 == pytest.approx(0.5 * 5 / 6, abs=0.08)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02) and np.std(shares) == pytest.approx(84**-0.5, rel=0.15)


def test_long_clips_are_cropped_at_random_before_they_are_mixed():
    """The crop of the waveform is that of the log-mel: an unmixed clip and a mixed one begin at the same frames."""
    waves, starts = Waveforms(sounds(lengths=(50, 50), offset=0)), set()
    whole = [log_mel(wave, 8000, 16) for wave in waves.clips]
    for step in range(40):
        x, _ = made(TrainConfig(seed=1), waves, step=step)
        (start,) = [s for s in range(21) if np.array_equal(whole[0][s : s + 30], x[0])]
        starts.add(start)
        mixed, y = made(TrainConfig(seed=1, mixup=1.0), waves, step=step)
        if np.count_nonzero(y[0]) == 1:
            continue
        first = waves.clips[0][start * 80 : start * 80 + 200 + 29 * 80]
        seconds = [waves.clips[1][s * 80 : s * 80 + 200 + 29 * 80] for s in range(21)]
        gaps = [abs(log_mel(augment.mix_waves(first, b, float(y[0, 0])), 8000, 16) - mixed[0]).max() for b in seconds]
        assert min(gaps) < 1e-3 and sorted(gaps)[1] > 0.1
    assert len(starts) > 10


def test_powers_agree_with_waveforms_where_filters_hear_one_of_them():
    t = np.arange(4000) / 8000
    low, high = (np.sin(2 * np.pi * f * t).astype(np.float32) for f in (300, 2500))
    power = augment.mix(log_mel(low, 8000, 16), log_mel(high, 8000, 16), 0.4)
    wave = log_mel(augment.mix_waves(low, high, 0.4), 8000, 16)
    loud = power > power.max() - 6
    assert loud.mean() > 0.1 and abs(power - wave)[loud].max() < 0.02


def test_background_is_mixed_in_at_the_ratio_that_was_drawn():
    rng = np.random.default_rng(2)
    wave, under = (rng.normal(0, s, 5000).astype(np.float32) for s in (0.1, 0.4))
    for snr in (0.0, 7.0, 20.0):
        added = augment.mix_background(wave, under, snr).astype(float) - wave
        ratio = np.square(wave, dtype=float).mean() / np.square(added).mean()
        assert 10 * np.log10(ratio) == pytest.approx(snr, abs=1e-3)
        assert np.corrcoef(added, under)[0, 1] == pytest.approx(1, abs=1e-6)
    for silent in ((wave * 0, under), (wave, under * 0)):
        assert np.array_equal(augment.mix_background(*silent, 3.0), silent[0])


def test_an_excerpt_is_any_stretch_and_short_recordings_are_repeated():
    rng, wave = np.random.default_rng(3), np.arange(10.0, dtype=np.float32)
    got = [augment.excerpt(wave, 7, rng) for _ in range(200)]
    assert {int(e[0]) for e in got} == {0, 1, 2, 3} and all((np.diff(e) == 1).all() for e in got)
    repeated = [augment.excerpt(wave, 25, rng) for _ in range(200)]
    assert {int(e[0]) for e in repeated} == set(range(10)) and all(len(e) == 25 for e in repeated)
    assert all(set(np.diff(e)) == {1, -9} for e in repeated)


def test_background_changes_sounds_and_no_labels():
    waves = Waveforms(sounds(), sounds(seed=5, lengths=(90, 8)))
    plain, _ = made(TrainConfig(), waves)
    config, changed = TrainConfig(background=0.3, seed=2), 0
    for step in range(100):
        x, y = made(config, waves, step=step)
        assert np.array_equal(y, np.eye(6))
        changed += sum(not np.array_equal(x[i], plain[i]) for i in (0, 1, 2, 3, 5))  # clip 4 is cropped
    assert changed / 500 == pytest.approx(0.3, abs=0.07)
    with pytest.raises(Error, match="pass `waves`"):
        made(config, Waveforms(waves.clips))
    with pytest.raises(Error, match="pass `waves`"):
        batches.training_batch([], np.eye(2), [], FEATURES, TrainConfig(mixup=0.5), 0, 0)
    with pytest.raises(Error, match="mixup_of must be"):
        TrainConfig(background=0.3, mixup=0.5, mixup_of="power")


def test_augmentation_of_waveforms_starts_with_its_epoch_and_is_a_function_of_the_step():
    waves = Waveforms(sounds(), sounds(seed=5, lengths=(90, 8)))
    config = TrainConfig(mixup=1.0, background=1.0, augment_from=2)
    assert np.array_equal(made(config, waves, epoch=1)[0], made(TrainConfig(), waves, epoch=1)[0])
    first = made(config, waves, epoch=2)[0]
    assert np.array_equal(first, made(config, waves, epoch=2)[0])
    assert not np.array_equal(first, made(replace(config, seed=1), waves, epoch=2)[0])


@pytest.fixture
def rain(tmp_path):
    """A folder with two background recordings, one of them in a sub-folder."""
    (tmp_path / "rain" / "more").mkdir(parents=True)
    for place, seconds in (("a.wav", 0.3), ("more/b.wav", 3)):
        noise = np.random.default_rng(7).normal(0, 0.1, int(16000 * seconds))
        (tmp_path / "rain" / place).write_bytes(wav(noise, 16000))
    return tmp_path / "rain"


def test_a_run_with_mixed_waveforms_is_resumed_bit_for_bit(tones, tmp_path, monkeypatch, rain):
    flags = [*TINY_RUN, "--mixup", "0.5", "--background-dir", str(rain)]
    assert train.main([str(tones), "--out", str(tmp_path / "a"), *flags]) == 0
    step = optim.Adam.step

    def stopping(self, g, lr):
        step(self, g, lr)
        if self.t == 7:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(optim.Adam, "step", stopping)
    assert train.main([str(tones), "--out", str(tmp_path / "b"), *flags]) == 130
    moved = tmp_path / "elsewhere"
    rain.rename(moved)
    with pytest.raises(Error, match="no such folder"):
        train.main(["--resume", str(tmp_path / "b")])
    assert train.main(["--resume", str(tmp_path / "b"), "--background-dir", str(moved)]) == 0
    a, b = (minast.load(tmp_path / run / "last.npz", "numpy")[0].w.flat for run in "ab")
    assert np.array_equal(a, b)


def test_what_is_wrong_with_a_background_folder(tones, tmp_path, command, rain):
    (tmp_path / "empty").mkdir()
    for flags, message in (
        (("--background", "0.5"), "add --background-dir"),
        (("--background-dir", tmp_path / "none"), "no such folder"),
        (("--background-dir", tmp_path / "empty"), "no audio file"),
        (("--background-dir", rain, "--background", "0"), "is not used"),
    ):
        status, _, err = command("train", tones, "--out", tmp_path / "run", *TINY_RUN, *flags)
        assert status == 2 and message in err, message
