"""What a training step takes: the order of augmentation, the labels, and where its randomness comes from."""

from dataclasses import replace

import numpy as np
import pytest

from minast.config import FeatureConfig, TrainConfig
from minast.errors import Error
from minast.features import model_inputs
from minast.training import batches

FEATURES = FeatureConfig(frames=12, mel_bins=8, mean=-4.0, std=2.5)
PLAIN = FeatureConfig(frames=12, mel_bins=8, mean=0.0, std=0.5)  # normalisation changes nothing
ZERO = (0 - FEATURES.mean) / (2 * FEATURES.std)
ALL = tuple(range(20))
SOFT = {"mixup": 0.5, "freq_mask": 4, "time_mask": 5, "noise": True, "roll": 3, "gain": 0.5}


def made(config, features=FEATURES, epoch=0, step=0, frames=12, chosen=ALL):
    """A batch of constant clips: clip i is -i / 4 - 1 everywhere, and its label is class i."""
    mels = [np.full((frames, 8), -i / 4 - 1, np.float32) for i in range(20)]
    config = replace(config, mixup_of="power")
    return batches.training_batch(mels, np.eye(20, dtype=np.float32), np.array(chosen), features, config, epoch, step)


@pytest.mark.parametrize("settings", ({"freq_mask": 5}, {"time_mask": 7}))
def test_masks_come_before_normalisation(settings):
    x, _ = made(TrainConfig(**settings))
    plain, _ = made(TrainConfig())
    changed = x != plain
    assert changed.any() and np.allclose(x[changed], ZERO)
    along = (1, 2) if "freq_mask" in settings else (2, 1)  # a mel bin is masked in all frames, or a frame in all bins
    assert np.array_equal(changed.any(axis=along[0]), changed.all(axis=along[0]))
    assert not changed.all(axis=along[1]).any()


def test_padding_comes_before_normalisation_and_after_mixup_and_gain():
    for settings in ({}, {"mixup": 1.0}, {"gain": 0.5}):
        x, _ = made(TrainConfig(**settings), frames=9)
        assert x.shape == (20, 12, 8) and x.dtype == np.float32
        assert np.allclose(x[:, 9:], ZERO) and not np.isclose(x[:, :9], ZERO).any()


def test_plain_clips_are_normalised_and_keep_their_order_and_labels():
    x, y = made(TrainConfig(), chosen=[7, 3, 11])
    np.testing.assert_allclose(x[:, 0, 0], ((-np.array([7, 3, 11]) / 4 - 1) + 4) / 5, rtol=1e-6)
    assert np.array_equal(y, np.eye(20)[[7, 3, 11]]) and y.dtype == np.float32


def test_noise_comes_after_normalisation_and_gain_before():
    plain, _ = made(TrainConfig())
    noise = made(TrainConfig(noise=True))[0] - plain
    assert noise.min() > -1e-6 and 0.08 < noise.max() <= 0.1001
    shift = (made(TrainConfig(gain=1.0))[0] - plain) * 5
    assert np.ptp(shift, axis=(1, 2)).max() < 1e-5 and 0.5 < np.abs(shift).max() <= 1.0001


def test_roll_turns_padding_along():
    x, _ = made(TrainConfig(roll=4), frames=9)
    loud = np.isclose(x[:, :, 0], ZERO)
    assert (loud.sum(axis=1) == 3).all() and len(set(map(tuple, loud))) > 3


def test_mixup_mixes_labels_as_it_mixes_sounds():
    x, y = made(TrainConfig(mixup=1.0), PLAIN)
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-6)
    partners = []
    for i in range(20):
        others = [j for j in np.flatnonzero(y[i]) if j != i]
        if not others:  # mixed with itself
            continue
        (j,), share = others, float(y[i, i])
        wanted = np.log(share**2 * np.exp(-i / 4 - 1) + (1 - share) ** 2 * np.exp(-j / 4 - 1))
        np.testing.assert_allclose(x[i], wanted, atol=1e-5)
        assert 0.1 < share < 0.9
        partners.append(j)
    assert len(partners) > 10 and len(set(partners)) > 5


def test_mixup_is_the_share_of_clips_that_are_mixed():
    mixed = [np.count_nonzero(y) > 1 for step in range(40) for y in made(TrainConfig(mixup=0.3), step=step)[1]]
    assert np.mean(mixed) == pytest.approx(0.3 * 19 / 20, abs=0.05)


@pytest.mark.parametrize("name", SOFT)
def test_augmentation_starts_with_its_epoch(name):
    config = TrainConfig(augment_from=2, **{name: SOFT[name]})
    plain = made(TrainConfig(), frames=9)
    assert all(np.array_equal(a, b) for a, b in zip(made(config, epoch=1, frames=9), plain, strict=True))
    assert not np.array_equal(made(config, epoch=2, frames=9)[0], plain[0])


def test_a_batch_is_a_function_of_seed_epoch_and_step():
    def batch(seed=0, epoch=3, step=5):
        return made(TrainConfig(seed=seed, **SOFT), epoch=epoch, step=step, frames=15)

    np.random.seed(0)  # noqa: NPY002 - a global generator must make no difference
    first = batch()
    np.random.seed(1)  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(first, batch(), strict=True))
    for other in ({"seed": 1}, {"epoch": 4}, {"step": 6}, {"epoch": 5, "step": 3}):
        assert not np.array_equal(first[0], batch(**other)[0]), other


def test_order_is_a_permutation_of_its_seed_and_epoch():
    first = batches.order(50, TrainConfig(seed=1), 2)
    assert sorted(first) == list(range(50)) and np.array_equal(first, batches.order(50, TrainConfig(seed=1), 2))
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        assert not np.array_equal(first, batches.order(50, TrainConfig(seed=seed), epoch))


def test_hits_count_the_strongest_label():
    scores = np.array([[0.1, 0.9, 0.2], [0.8, 0.1, 0.2], [0.1, 0.2, 0.9], [-3.0, -1.0, -2.0]])
    assert batches.hits(scores, np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0.0]])) == 4
    assert batches.hits(scores, np.array([[0.6, 0.4, 0], [0.6, 0.4, 0], [0, 0.4, 0.6], [0, 0.4, 0.6]])) == 2
    assert batches.hits(scores, np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 0, 1.0]])) == 2  # several labels
    assert type(batches.hits(scores, np.ones((4, 3)))) is int


def test_a_clip_without_labels_has_no_right_guess():
    scores = np.array([[0.1, 0.9, 0.2], [0.8, 0.1, 0.2], [0.1, 0.2, 0.9]])
    assert batches.hits(scores, np.array([[0, 0, 0], [1, 0, 0], [0.05, 0.05, 0.05]])) == 1  # the last: smoothed
    assert batches.hits(scores, np.ones((3, 3))) == 3


def test_steps_per_epoch_leaves_out_the_rest_unless_it_is_all():
    assert [batches.steps_per_epoch(clips, 8) for clips in (1, 7, 8, 15, 16, 17)] == [1, 1, 1, 1, 2, 2]


def test_model_inputs_reach_the_end_and_are_padded_and_normalised():
    for frames, count in ((5, 1), (12, 1), (13, 2), (18, 2), (24, 2), (25, 3), (36, 3)):
        x = model_inputs(np.full((frames, 8), -1, np.float32), FEATURES)
        assert x.shape == (count, 12, 8) and x.dtype == np.float32
        flat = x.reshape(-1, 8)
        assert np.allclose(flat[:frames], (-1 + 4) / 5) and np.allclose(flat[max(frames, 12) :], (-1 + 4) / 5)
        assert np.allclose(flat[frames:12], ZERO)  # only a clip shorter than a segment is padded


def test_patchout_keeps_other_patches_of_each_clip_in_each_step():
    config = TrainConfig(patchout=0.4, seed=3)
    keep = batches.patches_kept(500, 12, config, 2, 5)
    assert keep.shape == (500, 7) and keep.dtype == np.int32
    assert (np.diff(keep, axis=1) > 0).all() and keep.min() == 0 and keep.max() == 11
    assert np.bincount(keep.ravel()) / 500 == pytest.approx(np.full(12, 7 / 12), abs=0.1)  # 4.5 standard deviations
    assert len(np.unique(keep, axis=0)) > 300  # of 792
    assert np.array_equal(keep, batches.patches_kept(500, 12, config, 2, 5))
    for seed, epoch, step in ((4, 2, 5), (3, 1, 5), (3, 2, 4)):
        other = batches.patches_kept(500, 12, TrainConfig(patchout=0.4, seed=seed), epoch, step)
        assert not np.array_equal(keep, other)
    assert batches.patches_kept(5, 12, TrainConfig(), 0, 0) is None
    assert batches.patches_kept(5, 12, TrainConfig(patchout=0.99), 0, 0).shape == (5, 1)
    with pytest.raises(Error, match="patchout is 1"):
        TrainConfig(patchout=1)


AUGMENTED = TrainConfig(
    mixup=0.5, mixup_of="power", freq_mask=8, time_mask=8, noise=True, roll=4, gain=1.0, patchout=0.3
)


@pytest.mark.parametrize("draws", ["clip", "batch"])
def test_a_part_of_a_batch_is_the_same_whoever_makes_it(draws):
    rng = np.random.default_rng(0)
    mels = [rng.standard_normal((length, 32)).astype(np.float32) for length in rng.integers(30, 90, size=20)]
    features, chosen = FeatureConfig(mel_bins=32, frames=48), rng.permutation(20)[:8]
    given = mels, np.eye(20, dtype=np.float32), chosen, features, AUGMENTED, 2, 3
    x, y = batches.training_batch(*given, draws=draws)
    keep = batches.patches_kept(8, 12, AUGMENTED, 2, 3, draws)
    for size in (2, 3):
        parts = [slice(8 * i // size, 8 * (i + 1) // size) for i in range(size)]
        found = [batches.training_batch(*given, draws=draws, part=part) for part in parts]
        assert np.array_equal(np.concatenate([each[0] for each in found]), x)
        assert np.array_equal(np.concatenate([each[1] for each in found]), y)
        kept = [batches.patches_kept(8, 12, AUGMENTED, 2, 3, draws, part) for part in parts]
        assert np.array_equal(np.concatenate(kept), keep)


def test_drawn_by_clip_a_part_needs_no_clips_of_others():
    """What it reads are its own clips, and those that they are mixed with; and all of it changes with the place."""
    config, read = replace(AUGMENTED, mixup=0.0), []

    class Mels(list):
        def __getitem__(self, i):
            read.append(int(i))
            return super().__getitem__(i)

    mels = Mels([np.zeros((60, 32), np.float32)] * 10)
    features, chosen = FeatureConfig(mel_bins=32, frames=48), np.array([7, 3, 3, 5])
    x, _ = batches.training_batch(mels, np.eye(10), chosen, features, config, 0, 0, draws="clip", part=slice(1, 3))
    assert set(read) == {3} and not np.array_equal(x[0], x[1])  # the same clip twice, changed in two ways


def test_without_augmentation_both_ways_of_drawing_are_the_same():
    """As in the run of the built-in sounds, whose losses the README has."""
    mels = [np.random.default_rng(i).standard_normal((12, 8)).astype(np.float32) for i in range(20)]
    given = mels, np.eye(20, dtype=np.float32), np.arange(20), FEATURES, TrainConfig(), 0, 1
    for a, b in zip(*(batches.training_batch(*given, draws=draws) for draws in ("clip", "batch")), strict=True):
        assert np.array_equal(a, b)
