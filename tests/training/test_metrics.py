"""Metrics against their definitions, written out the slow way."""

import numpy as np
import pytest

from minast import Error, metrics


def slow_ap(score, positive):
    """One threshold a distinct score, from the highest."""
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        chosen = score >= threshold
        recall = (chosen & positive).sum() / positive.sum()
        area += (recall - recall_before) * (chosen & positive).sum() / chosen.sum()
        recall_before = recall
    return area


def slow_auc(score, positive):
    wins = [(p > n) + 0.5 * (p == n) for p in score[positive] for n in score[~positive]]
    return np.mean(wins)


@pytest.mark.parametrize("levels", [3, 10, 1000])
def test_ap_and_auc_with_ties(levels):
    rng = np.random.default_rng(levels)
    scores, targets = rng.integers(0, levels, (60, 4)) / levels, rng.random((60, 4)) < 0.3
    for k in range(4):
        assert np.isclose(metrics.average_precision(scores, targets)[k], slow_ap(scores[:, k], targets[:, k]))
        assert np.isclose(metrics.roc_auc_per_class(scores, targets)[k], slow_auc(scores[:, k], targets[:, k]))


def test_classes_without_positives_are_left_out():
    scores = np.array([[0.9, 0.1], [0.2, 0.3], [0.8, 0.2]])
    targets = np.array([[1, 0], [0, 0], [1, 0]])
    assert metrics.mean_average_precision(scores, targets) == 1.0
    assert metrics.roc_auc(scores, targets) == 1.0
    assert metrics.d_prime(scores, targets) == np.inf
    assert np.isnan(metrics.average_precision(scores, targets)[1])
    assert np.isnan(metrics.mean_average_precision(scores, targets * 0))


def test_d_prime_is_of_the_mean_auc():
    assert abs(np.sqrt(2) * 1.0 - metrics.d_prime(*d_prime_one())) < 0.02


def d_prime_one():
    """20000 scores whose positives lie sqrt(2) deviations higher: AUC = Phi(1), so d' = sqrt(2)."""
    rng = np.random.default_rng(0)
    targets = rng.random((20000, 1)) < 0.5
    return rng.standard_normal((20000, 1)) + np.sqrt(2) * targets, targets


def test_official_log():
    """The committed AudioSet log has AUC 0.9786 with d' 2.864."""
    from statistics import NormalDist

    assert abs(np.sqrt(2) * NormalDist().inv_cdf(0.9786) - 2.864) < 0.005


def test_accuracy_and_confusion():
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert metrics.accuracy(scores, np.array([1, 0, 0])) == pytest.approx(2 / 3)
    assert metrics.accuracy(scores, np.eye(2)[[1, 0, 0]]) == pytest.approx(2 / 3)
    assert metrics.confusion_matrix(scores, np.array([1, 0, 0])).tolist() == [[1, 1], [0, 1]]


def test_refusals():
    with pytest.raises(Error, match="same shape"):
        metrics.roc_auc(np.zeros((3, 2)), np.zeros((3, 3)))
    with pytest.raises(Error, match="NaN"):
        metrics.roc_auc(np.full((3, 2), np.nan), np.ones((3, 2)))
