"""Fitting a new head to features that stay as they are."""

import numpy as np
import pytest

import minast
from minast.training.linear_probe import fit_linear_probe


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_only_the_head_moves_and_the_loss_falls(loss):
    rng = np.random.default_rng(0)
    config = minast.ModelConfig(dim=24, depth=2, heads=3, frames=36, mel_bins=32, classes=3)
    features = minast.FeatureConfig(frames=36, mel_bins=32)
    model, untouched = minast.AST(config, seed=1), minast.AST(config, seed=1)
    kinds = np.arange(10) % 3
    mels = [rng.normal(-5 + 2 * k, 3, (20 + 5 * i, 32)).astype(np.float32) for i, k in enumerate(kinds)]
    targets = np.eye(3, dtype=np.float32)[kinds]
    first = fit_linear_probe(model, mels, targets, features, loss, steps=1)
    model = minast.AST(config, seed=1)
    assert fit_linear_probe(model, mels, targets, features, loss, lr=0.1, batch=4) < first / 3
    for name, view in model.w.items():
        assert np.array_equal(view, untouched.w[name]) != name.startswith("mlp_head."), name


def test_fitting_twice_gives_the_same_bits():
    config = minast.ModelConfig(dim=12, depth=1, heads=3, frames=36, mel_bins=32, classes=2)
    mels = [np.full((36, 32), v, np.float32) for v in (-9.0, -3.0)]
    heads = []
    for _ in range(2):
        model = minast.AST(config, seed=1)
        fit_linear_probe(model, mels, np.eye(2, dtype=np.float32), minast.FeatureConfig(frames=36, mel_bins=32), "ce")
        heads.append(model.w["mlp_head.1.weight"].copy())
    assert np.array_equal(*heads)
