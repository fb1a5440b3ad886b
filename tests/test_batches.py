"""What a training step takes: the order of AST's steps, and where every random number comes from."""

from dataclasses import replace

import numpy as np

from minast import FeatureConfig, TrainConfig, augment, batches

FEATURES = FeatureConfig(frames=20, mel_bins=16, mean=-4.0, std=2.0)
RNG = np.random.default_rng(0)
STORE = [RNG.normal(-6, 1, (15 + 3 * i, 16)).astype(np.float32) for i in range(6)]
TARGETS = np.eye(6, dtype=np.float32)


def batch(chosen=(0, 1, 2, 3, 4, 5), epoch=1, step=0, **settings):
    return batches.training_batch(STORE, TARGETS, list(chosen), FEATURES, TrainConfig(**settings), epoch, step)


def test_padding_and_masks_come_before_normalisation():
    zero = (0 - FEATURES.mean) / (2 * FEATURES.std)
    x, y = batch([0])
    assert (
        np.allclose(x[0, 15:], zero) and np.allclose(x[0, :15], (STORE[0] + 4) / 4) and np.array_equal(y, TARGETS[:1])
    )
    x, _ = batch(time_mask=15, freq_mask=10)
    masked = np.isclose(x[5], zero)
    assert masked.all(axis=1).any() or masked.all(axis=0).any()
    assert np.isclose(x, zero).sum() > 100


def test_mixed_labels_belong_to_the_mixed_clips(monkeypatch):
    seen = []
    monkeypatch.setattr(augment, "mix", lambda a, b, share: seen.append((a, b, share)) or a)
    _, y = batch(range(6), mixup=1.0)
    for i, (a, b, share) in enumerate(seen):
        j = next(k for k, mel in enumerate(STORE) if any(np.array_equal(b, mel[s : s + len(b)]) for s in range(20)))
        assert len(a) == min(20, len(STORE[i]))
        assert np.allclose(y[i], share * TARGETS[i] + (1 - share) * TARGETS[j])


def test_nothing_is_augmented_before_its_epoch():
    every = {"mixup": 1.0, "freq_mask": 8, "time_mask": 8, "noise": True, "roll": 4, "gain": 2.0, "augment_from": 2}
    plain, _ = batch([0, 1], epoch=1)
    assert np.array_equal(batch([0, 1], epoch=1, **every)[0], plain)
    assert not np.array_equal(batch([0, 1], epoch=2, **every)[0], batch([0, 1], epoch=2)[0])


def test_pure_function_of_seed_epoch_and_step():
    every = {"mixup": 0.5, "freq_mask": 8, "time_mask": 8, "noise": True, "roll": 4, "gain": 2.0}
    first = batch(**every)[0]
    assert np.array_equal(first, batch(**every)[0])
    for other in (batch(epoch=2, **every), batch(step=1, **every), batch(seed=1, **every)):
        assert not np.array_equal(first, other[0])


def test_each_augmentation_is_applied():
    plain = batch()[0]
    for settings in ({"mixup": 1.0}, {"freq_mask": 8}, {"time_mask": 12}, {"noise": True}, {"roll": 4}, {"gain": 2.0}):
        assert not np.array_equal(batch(**settings)[0], plain), settings


def test_hits_with_soft_labels():
    scores = np.array([[0.1, 0.9], [0.6, 0.4], [0.2, 0.8]])
    assert batches.hits(scores, np.array([[0.4, 0.6], [0.4, 0.6], [1.0, 1.0]])) == 2


def test_steps_an_epoch():
    assert [batches.steps_per_epoch(n, 16) for n in (3, 16, 31, 32)] == [1, 1, 1, 2]


def test_order_depends_on_seed_and_epoch():
    config = TrainConfig()
    first = list(batches.order(50, config, 0))
    assert first != list(batches.order(50, config, 1)) and first != list(batches.order(50, replace(config, seed=1), 0))
