"""Measures of a classifier, from scores (N, K) and targets (N, K) of 0 and 1.

Source: the official code's stats.py, which calls scikit-learn; these agree with it, ties included.
"""

from statistics import NormalDist

import numpy as np

from .errors import Error


def accuracy(scores, targets):
    """Share of clips whose highest score is their class.   scores (N, K), targets (N,) or one-hot (N, K)"""
    scores, targets = np.asarray(scores), np.asarray(targets)
    if targets.ndim == 2:
        targets = targets.argmax(axis=1)
    return float((scores.argmax(axis=1) == targets).mean())


def average_precision(scores, targets):
    """AP = sum_n (R_n - R_(n-1)) P_n, one threshold a distinct score.   -> (K,), NaN where no clip is positive"""
    return np.array([_ap(s, t) for s, t in _classes(scores, targets)])


def mean_average_precision(scores, targets):
    """Unweighted mean of `average_precision` over the classes that have a positive clip. AudioSet's measure."""
    return _mean(average_precision(scores, targets))


def roc_auc_per_class(scores, targets):
    """P(score of a positive > score of a negative), ties counting half, of each class.   -> (K,), NaN if undefined"""
    return np.array([_auc(s, t) for s, t in _classes(scores, targets)])


def roc_auc(scores, targets):
    """Mean of `roc_auc_per_class` over the classes that have both positive and negative clips."""
    return _mean(roc_auc_per_class(scores, targets))


def d_prime(scores, targets):
    """sqrt(2) * (inverse normal distribution function of the mean AUC): AudioSet papers' d'. inf for a perfect AUC."""
    auc = roc_auc(scores, targets)
    if auc != auc or auc in (0.0, 1.0):
        return {0.0: -np.inf, 1.0: np.inf}.get(auc, np.nan)
    return float(np.sqrt(2) * NormalDist().inv_cdf(auc))


def confusion_matrix(scores, targets, classes=None):
    """Counts, true class by row, predicted by column.   scores (N, K), targets (N,) -> (K, K)"""
    scores, targets = np.asarray(scores), np.asarray(targets)
    k = classes or scores.shape[1]
    return np.bincount(targets * k + scores.argmax(axis=1), minlength=k * k).reshape(k, k)


def _classes(scores, targets):
    scores, targets = np.asarray(scores, np.float64), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise Error(f"scores {scores.shape} and targets {targets.shape} must have the same shape (clips, classes).")
    if not np.isfinite(scores).all():
        raise Error("the scores hold NaN or infinite numbers.")
    return zip(scores.T, targets.T > 0.5, strict=True)


def _ap(score, positive):
    if not positive.any():
        return np.nan
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # the last clip of each distinct score
    hits = np.cumsum(positive[order])[last]
    precision, recall = hits / (np.flatnonzero(last) + 1), hits / hits[-1]
    return float((np.diff(recall, prepend=0) * precision).sum())


def _auc(score, positive):
    p, n = positive.sum(), (~positive).sum()
    if not p or not n:
        return np.nan
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]  # from 1, ties share the mean
    return float((rank[positive].sum() - p * (p + 1) / 2) / (p * n))


def _mean(values):
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan
