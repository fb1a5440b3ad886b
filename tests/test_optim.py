"""Schedules step by step, clipping, and which weights decay."""

import numpy as np
import pytest

import minast
from minast import TrainConfig, jobs, optim


def test_cosine_with_warm_up():
    rates = [optim.cosine(step, 30, 2.0, warmup=10) for step in range(31)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10] == 2.0 and rates[20] == pytest.approx(1.0) and rates[30] == pytest.approx(0.0)


def test_warm_up_is_at_most_a_fifth_of_the_run():
    config = TrainConfig(epochs=5, warmup=100, lr=1.0)
    assert [optim.schedule(config, step, 4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    long = TrainConfig(epochs=5, warmup=100, lr=1.0)
    assert optim.schedule(long, 49, 1000) == 0.5


def test_staircase_starts_at_nothing():
    rates = [optim.staircase(step, 1.0) for step in range(1100)]
    assert (
        set(rates[:50]) == {0.0} and set(rates[50:100]) == {0.05} and rates[999] == 0.95 and set(rates[1000:]) == {1.0}
    )


def test_milestones():
    rates = [optim.milestones(epoch, 1.0, 2, 3, 0.5) for epoch in range(1, 10)]
    assert rates == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_milestones_as_a_schedule():
    config = TrainConfig(epochs=10, schedule="milestones", milestones=(2, 3, 0.5), warmup=0, lr=1.0)
    assert [optim.schedule(config, step, 5) for step in (0, 9, 10, 24, 25)] == [1, 1, 0.5, 0.5, 0.25]


def test_clip():
    g = np.array([3.0, 4.0], np.float32)
    assert optim.clip(g, 10.0) == pytest.approx(5.0) and g.tolist() == [3, 4]
    assert optim.clip(g, 0) == pytest.approx(5.0) and g.tolist() == [3, 4]
    assert optim.clip(g, 1.0) == pytest.approx(5.0) and np.linalg.norm(g) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_what_decays(kind):
    """With no gradient at all, AdamW shrinks matrices alone; AST's Adam moves every weight."""
    config = minast.ModelConfig(dim=12, depth=1, heads=3, frames=36, mel_bins=32, classes=3)
    model = minast.AST(config, backend="numpy", seed=0)
    model.w.flat[...] += 0.5
    before = {name: view.copy() for name, view in model.w.items()}
    optimizer = jobs.new_optimizer(model, TrainConfig(optimizer=kind, weight_decay=0.1, betas=(0.8, 0.9)))
    assert optimizer.decoupled == (kind == "adamw") and optimizer.betas == (0.8, 0.9)
    optimizer.step(model.dw.flat, 0.01)
    for name, view in model.w.items():
        if kind == "adam" or (view.ndim == 2 and name != "pos_embed"):
            assert not np.array_equal(view, before[name]), name
        else:
            assert np.array_equal(view, before[name]), name
    if kind == "adamw":
        name = "blocks.0.mlp.fc1.weight"
        assert np.allclose(model.w[name], before[name] * (1 - 0.01 * 0.1), atol=1e-6)


def test_fitting_frames():
    assert jobs.fitting_frames(np.arange(1, 101) * 5) == 475
    assert jobs.fitting_frames(np.array([3, 4])) == 32 and jobs.fitting_frames(np.array([9000])) == 1024
