"""The balanced sampler and class weights, against their formulas and the frequencies they promise."""

import os
import signal
import time

import numpy as np
import pytest

import minast
from minast import optim, train
from minast.config import TrainConfig
from minast.datasets import Clip
from minast.datasets.ragged import Ragged
from minast.datasets.targets import Targets
from minast.training import batches, learner
from minast.training.sampling import Sampler, class_weights, clip_weights
from tests.conftest import TINY_RUN

LABELS = [(0,)] * 90 + [(1,)] * 9 + [(0, 2)] + [()] * 20


def targets(labels=LABELS, classes=4):
    return Targets.of([Clip(str(i), each) for i, each in enumerate(labels)], classes)


def test_a_clip_weighs_the_sum_over_its_labels():
    """91 clips of class 0, 9 of class 1, 1 of class 2, none of class 3, and 20 without a label."""
    got = clip_weights(targets())
    common, rare, single, none = (1000 / (n + 0.01) for n in (91, 9, 1, 20))
    np.testing.assert_allclose(got, [common] * 90 + [rare] * 9 + [common + single] + [none] * 20, rtol=1e-12)


def test_every_class_is_drawn_as_often_as_any_other():
    sampler, drawn = Sampler(TrainConfig(sampler="balanced", seed=3), targets()), []
    for epoch in range(200):
        order = sampler(epoch)
        assert order.shape == (120,) and order.min() >= 0 and order.max() < 120
        drawn.append(np.bincount(order, minlength=120))
    share, wanted = np.sum(drawn, axis=0) / (200 * 120), clip_weights(targets())
    np.testing.assert_allclose(share, wanted / wanted.sum(), atol=4 * np.sqrt(0.25 / 24000))
    assert share[90:99].sum() == pytest.approx(share[100:].sum(), abs=0.02)  # class 1, and no label


def test_an_epoch_is_a_function_of_seed_and_number():
    first = Sampler(TrainConfig(sampler="balanced", seed=1), targets())
    orders = [first(epoch).copy() for epoch in (0, 1, 2)]
    assert len({order.tobytes() for order in orders}) == 3
    again = Sampler(TrainConfig(sampler="balanced", seed=1), targets())
    assert all(np.array_equal(again(epoch), orders[epoch]) for epoch in (2, 0, 1))
    assert not np.array_equal(Sampler(TrainConfig(sampler="balanced", seed=2), targets())(0), orders[0])
    plain = TrainConfig(seed=1)
    assert np.array_equal(Sampler(plain, targets())(5), batches.order(120, plain, 5))


def test_two_million_clips_take_seconds():
    rng, n = np.random.default_rng(0), 2_000_000
    labels = Ragged(np.arange(0, 2 * n + 1, 2), rng.integers(0, 527, 2 * n, np.int32))
    began = time.process_time()
    sampler = Sampler(TrainConfig(sampler="balanced"), Targets(labels, 527))
    assert len(sampler(0)) == n and sampler(0) is sampler(0)
    assert time.process_time() - began < 20


def test_class_weights_make_classes_equal_and_labels_one_on_average():
    got, counts = class_weights(targets()), np.array([91, 9, 1])
    np.testing.assert_allclose(got[:3] * counts, 101 / 3, rtol=1e-6)
    assert got[3] == 1 and got.dtype == np.float32
    assert (got[:3] * counts).sum() / counts.sum() == pytest.approx(1)


def test_a_weighted_step_is_that_of_weighted_targets():
    """Cross-entropy with class weights is cross-entropy with targets times weights."""
    config = minast.ModelConfig(dim=8, depth=1, heads=2, mel_bins=16, frames=26, classes=4)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 26, 16)).astype(np.float32), np.eye(4, dtype=np.float32)[[0, 1, 2]]
    results = []
    for weighted in (True, False):
        model = minast.AST(config, "numpy", seed=1)
        student = learner.new_learner(model, TrainConfig(class_weights=weighted), targets())
        results.append((student.step(x, y if weighted else y * class_weights(targets()), 1e-3)[0], model.w.flat))
    assert results[0][0] == results[1][0] and np.array_equal(results[0][1], results[1][1])


def test_smoothed_targets():
    y = np.array([0, 1, 0, 0.0], np.float32)
    ce, bce = (TrainConfig(label_smoothing=0.2, loss=loss) for loss in ("ce", "bce"))
    np.testing.assert_allclose(batches.smoothed(y, ce), [0.05, 0.85, 0.05, 0.05], atol=1e-7)
    np.testing.assert_allclose(batches.smoothed(y, bce), [0.1, 0.9, 0.1, 0.1], atol=1e-7)
    assert batches.smoothed(y, ce).dtype == np.float32 and batches.smoothed(y, TrainConfig()) is y
    mixed = np.array([0, 0.6, 0.4, 0], np.float32)
    assert batches.smoothed(mixed, ce).sum() == pytest.approx(1)


def test_a_run_with_all_of_it_is_resumed_bit_for_bit(tones, tmp_path, monkeypatch):
    flags = [*TINY_RUN, "--sampler", "balanced", "--class-weights", "--label-smoothing", "0.1"]
    assert train.main([str(tones), "--out", str(tmp_path / "a"), *flags]) == 0
    step = optim.Adam.step

    def stopping(self, g, lr):
        step(self, g, lr)
        if self.t == 6:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(optim.Adam, "step", stopping)
    assert train.main([str(tones), "--out", str(tmp_path / "b"), *flags]) == 130
    assert train.main(["--resume", str(tmp_path / "b")]) == 0
    a, b = (minast.load(tmp_path / run / "last.npz", "numpy")[0].w.flat for run in "ab")
    assert np.array_equal(a, b)
