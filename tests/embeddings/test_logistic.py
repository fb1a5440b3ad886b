"""The logistic regression: its gradient against differences, its minimum against scikit-learn's."""

from pathlib import Path

import numpy as np
import pytest

from minast.embeddings import logistic
from minast.gradcheck import directional
from tests.golden.logistic_cases import C, cases

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "logistic.npz")


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_gradient(loss):
    rng = np.random.default_rng(0)
    w, b, z = rng.standard_normal((4, 7)), rng.standard_normal(4), rng.standard_normal((13, 7))
    y = np.eye(4)[rng.integers(4, size=13)] if loss == "ce" else (rng.random((13, 4)) < 0.4).astype(float)
    _, dw, db = logistic.loss_and_grad(w, b, z, y, loss, 0.3)
    check = directional(lambda: logistic.loss_and_grad(w, b, z, y, loss, 0.3)[0], [w, b], [dw, db], rng)
    assert check.error < 1e-7, check


@pytest.mark.parametrize("c", C)
@pytest.mark.parametrize("name", cases())
def test_the_minimum_is_scikit_learns(name, c):
    x, y = cases()[name]
    two = y.shape[1] == 2
    loss = "ce" if name.startswith("one") else "bce"
    found = logistic.fit(x, y, loss, (2 if two else 1) / (c * len(x)), exact=1e-10)
    w, b, p = (GOLDEN[f"{name}/{c}/{key}"] for key in "wbp")
    if two:
        w, b = np.concatenate([-w, w]) / 2, np.concatenate([-b, b]) / 2
    shift = b - found.b if loss == "ce" else np.zeros_like(b)  # softmax does not see what is added to all
    np.testing.assert_allclose(found.w, w, atol=2e-6)
    np.testing.assert_allclose(found.b + shift.mean(), b, atol=2e-6)
    np.testing.assert_allclose(found.probabilities(x), p, atol=2e-6)


def test_a_column_that_never_changes_says_nothing():
    x = np.random.default_rng(0).standard_normal((20, 3))
    y = np.eye(2)[(x[:, 0] > 0).astype(int)]
    more = logistic.fit(np.concatenate([x, np.full((20, 1), 1e4 + 0.1)], axis=1), y, "ce", 0.1)
    np.testing.assert_allclose(more.w[:, :3], logistic.fit(x, y, "ce", 0.1).w, atol=1e-4)
    assert np.abs(more.w[:, 3]).max() < 1e-6


def test_the_penalty_is_stronger_where_labels_are_noise():
    rng = np.random.default_rng(1)
    x, folds = rng.standard_normal((120, 30)), np.arange(120) % 4
    clear = np.eye(2)[(x[:, 0] > 0).astype(int)]
    noise = np.eye(2)[rng.integers(2, size=120)]
    weak, losses = logistic.chosen_strength(x, clear, "ce", folds)
    strong, _ = logistic.chosen_strength(x, noise, "ce", folds)
    assert weak < strong == max(logistic.STRENGTHS)
    assert losses[weak] == min(losses.values()) and set(losses) == set(logistic.STRENGTHS)
    assert logistic.chosen_strength(x, clear, "ce", np.zeros(120)) == (logistic.USUAL, {})
