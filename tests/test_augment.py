"""Augmentation, function by function: what may change, by how much, and what must not."""

import numpy as np
import pytest

from minast import augment
from minast.augment import SILENCE


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(-5, 2, shape).astype(np.float32)


@pytest.mark.parametrize("axis", [1, 2])
def test_mask_is_one_band_of_zeros(axis):
    x, widths = noise(200, 30, 20), []
    before = x.copy()
    masked = augment.mask(x, 8, axis, np.random.default_rng(1))
    assert np.array_equal(x, before)
    for clip, plain in zip(masked, x, strict=True):
        lines = (clip == 0).all(axis=2 - axis)  # rows for time, columns for frequency
        where = np.flatnonzero(lines)
        assert np.array_equal(clip[clip != 0], plain[clip != 0])
        assert (clip == 0).sum() == len(where) * clip.shape[2 - axis]
        assert len(where) == 0 or np.ptp(where) == len(where) - 1
        widths.append(len(where))
    assert set(widths) == set(range(8))  # whole numbers below 8


def test_mix_adds_powers():
    a, b = noise(10, 4), noise(10, 4, seed=1)
    wanted = np.log(0.3**2 * np.exp(a.astype(float)) + 0.7**2 * np.exp(b.astype(float)))
    assert np.allclose(augment.mix(a, b, 0.3), wanted, atol=1e-5)


def test_mix_cuts_and_pads_the_second_with_silence():
    a, b = noise(6, 4), noise(10, 4, seed=1)
    assert np.array_equal(augment.mix(a, b, 0.4), augment.mix(a, b[:6], 0.4))
    long = augment.mix(b, a, 0.4)
    assert np.allclose(long[6:], b[6:] + 2 * np.log(0.4), atol=0.05)  # silence adds next to nothing
    floor = np.full((3, 4), SILENCE)
    assert (augment.mix(floor, floor, 0.5) == SILENCE).all()


def test_mixup_share_is_beta_10_10():
    rng = np.random.default_rng(0)
    shares = np.array([augment.mixup_share(rng) for _ in range(4000)])
    assert abs(shares.mean() - 0.5) < 0.01 and abs(shares.std() - 21**-0.5 / 2) < 0.005


def test_gain_shifts_all_alike_and_keeps_the_floor():
    mel = noise(20, 4)
    mel[0] = SILENCE
    shifts = [augment.gain(mel, 2.0, np.random.default_rng(s))[1:] - mel[1:] for s in range(50)]
    assert all(np.ptp(shift) < 1e-5 for shift in shifts)
    assert -2 <= np.min(shifts) < -1 and 1 < np.max(shifts) <= 2
    assert augment.gain(mel, 2.0, np.random.default_rng(0)).min() >= SILENCE


def test_noise_is_positive_and_small():
    x = np.zeros((50, 10, 8), np.float32)
    y = augment.noise(x, np.random.default_rng(0))
    heights = y.max(axis=(1, 2))
    assert y.min() >= 0 and y.max() <= 0.1 and y.dtype == np.float32
    assert heights.min() < 0.03 and heights.max() > 0.07  # each clip has its own


def test_roll_turns_whole_frames():
    x, shifts = noise(100, 12, 3), set()
    for clip, turned in zip(x, augment.roll(x, 3, np.random.default_rng(0)), strict=True):
        shifts.add(next(s for s in range(-6, 6) if np.array_equal(np.roll(clip, s, axis=0), turned)))
    assert shifts == {-3, -2, -1, 0, 1, 2}


def test_crop():
    mel = np.arange(40, dtype=np.float32)[:, None]
    starts = {int(augment.crop(mel, 30, np.random.default_rng(s))[0, 0]) for s in range(200)}
    assert starts == set(range(11)) and len(augment.crop(mel, 30, np.random.default_rng(0))) == 30
    assert augment.crop(mel, 50, np.random.default_rng(0)) is mel
