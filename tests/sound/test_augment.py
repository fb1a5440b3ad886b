"""Augmentations, each against its formula or its bounds."""

import numpy as np
import pytest

from minast import augment
from minast.augment import SILENCE


def constant(value, frames=3, bins=2):
    return np.full((frames, bins), value, np.float32)


def bands(masked, axis):
    """Of clips without a 0: [(first, past the last) of the masked places], None where nothing is masked."""
    found = []
    for clip in masked:
        clear = (clip == 0).all(axis=2 - axis)
        assert np.array_equal(clip == 0, np.broadcast_to(np.expand_dims(clear, 2 - axis), clip.shape))
        places = np.flatnonzero(clear)
        assert len(places) == 0 or len(places) == places[-1] - places[0] + 1  # one band, whole
        found.append((places[0], places[-1] + 1) if len(places) else None)
    return found


@pytest.mark.parametrize("axis", (1, 2))
def test_mask_is_one_zero_band_a_clip_along_its_axis(axis):
    x = np.random.default_rng(0).uniform(-9, -1, (400, 20, 12)).astype(np.float32)
    before = x.copy()
    got = augment.mask(x, 5, axis, np.random.default_rng(1))
    assert np.array_equal(x, before) and got.dtype == x.dtype
    assert np.array_equal(got[got != 0], x[got != 0])
    found = bands(got, axis)
    assert {0 if band is None else int(band[1] - band[0]) for band in found} == {0, 1, 2, 3, 4}  # never 5
    starts = {int(band[0]) for band in found if band}
    assert starts >= set(range(x.shape[axis] - 5))  # anywhere, and each clip at its own place


def test_a_mask_wider_than_the_clip_leaves_something():
    x = np.full((100, 6, 4), -3, np.float32)
    got = augment.mask(x, 1000, 1, np.random.default_rng(0))
    assert (got != 0).any(axis=(1, 2)).all() and max(b[1] - b[0] for b in bands(got, 1) if b) == 5


@pytest.mark.parametrize("share", (0.3, 0.5, 0.9))
def test_mix_adds_powers_by_the_square_of_the_share(share):
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-6, 2, (2, 7, 5)).astype(np.float32)
    wanted = np.log(share**2 * np.exp(a.astype(float)) + (1 - share) ** 2 * np.exp(b.astype(float)))
    got = augment.mix(a, b, share)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)
    assert got.dtype == np.float32


def test_mix_has_the_length_of_the_first_and_follows_the_second_with_silence():
    a, b = constant(-1.0, 6), np.arange(16, dtype=np.float32).reshape(8, 2) / 8
    assert np.array_equal(augment.mix(a, b, 0.4), augment.mix(a, b[:6], 0.4))  # cut: the start is kept
    got = augment.mix(a, b[:2], 0.4)
    assert got.shape == a.shape and np.array_equal(got[:2], augment.mix(a[:2], b[:2], 0.4))
    np.testing.assert_allclose(got[2:], -1 + 2 * np.log(0.4), atol=1e-5)  # silence adds next to nothing
    assert np.array_equal(augment.mix(constant(SILENCE), constant(SILENCE), 0.5), constant(SILENCE))  # the floor


def test_mixup_share_is_beta_10_10():
    rng = np.random.default_rng(0)
    shares = np.array([augment.mixup_share(rng) for _ in range(4000)])
    assert 0.01 <= shares.min() < 0.25 and 0.75 < shares.max() <= 0.99
    assert shares.mean() == pytest.approx(0.5, abs=0.01)
    assert shares.std() == pytest.approx(np.sqrt(1 / 84), rel=0.05)


def test_gain_is_one_bounded_shift_and_keeps_the_floor():
    mel = np.random.default_rng(0).uniform(-6, 2, (5, 4)).astype(np.float32)
    mel[2] = SILENCE
    before, rng, shifts = mel.copy(), np.random.default_rng(1), []
    for _ in range(500):
        got = augment.gain(mel, 0.8, rng)
        shift = got[0, 0] - mel[0, 0]
        np.testing.assert_allclose(got, np.maximum(mel + shift, SILENCE), rtol=0, atol=1e-5)
        shifts.append(shift)
    assert np.array_equal(mel, before)
    assert -0.8001 < min(shifts) < -0.75 and 0.75 < max(shifts) < 0.8001


def test_noise_is_uniform_positive_and_at_most_a_tenth():
    x = np.zeros((300, 10, 8), np.float32)
    got = augment.noise(x, np.random.default_rng(0))
    assert not x.any() and got.dtype == np.float32
    assert got.min() >= 0 and 0.09 < got.max() <= 0.1
    heights = got.max(axis=(1, 2))  # a clip's own, uniform in [0, 0.1]
    assert heights.min() < 0.005 and heights.mean() == pytest.approx(0.05, abs=0.005)
    assert (got / heights[:, None, None]).mean() == pytest.approx(0.5, abs=0.02)
    shifted = augment.noise(x - 7, np.random.default_rng(0))
    np.testing.assert_allclose(shifted, got - 7, atol=1e-6)  # added, whatever is there


def test_roll_turns_each_clip_by_whole_frames_within_bounds():
    x = np.random.default_rng(0).standard_normal((200, 11, 3)).astype(np.float32)
    before = x.copy()
    got, shifts = augment.roll(x, 3, np.random.default_rng(1)), set()
    for clip, turned in zip(x, got, strict=True):
        fitting = [s for s in range(-5, 6) if np.array_equal(np.roll(clip, s, axis=0), turned)]
        assert len(fitting) == 1
        shifts.add(fitting[0])
    assert shifts == {-3, -2, -1, 0, 1, 2} and np.array_equal(x, before)


def test_a_crop_begins_anywhere_and_short_clips_stay_whole():
    rng = np.random.default_rng(0)
    assert {augment.place(10, 7, rng) for _ in range(200)} == {0, 1, 2, 3}
    assert augment.place(10, 10, rng) == augment.place(10, 11, rng) == 0
