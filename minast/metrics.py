"""How good a classifier is, from scores (N, K) of N clips for K classes and targets (N, K) of 0 and 1.

Source: the official code's stats.py, which calls scikit-learn; these agree with it, ties included.
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from .errors import Error


def accuracy(scores: ArrayLike, targets: ArrayLike) -> float:
    """Share of clips whose highest score is their class, 0 to 1.   scores (N, K), targets (N,) or one-hot (N, K)

    >>> accuracy([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    0.5
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    if targets.ndim == 2:
        targets = targets.argmax(axis=1)
    return float((scores.argmax(axis=1) == targets).mean())


def average_precision(scores: ArrayLike, targets: ArrayLike) -> np.ndarray:
    """AP = sum_n (R_n - R_(n-1)) P_n of each class.   scores (N, K), targets (N, K) -> (K,) in [0, 1]

    P_n and R_n are precision and recall at the n-th highest distinct score. NaN for a class without a positive clip.
    Raises minast.Error for shapes that differ or scores that are not finite.

    >>> average_precision([[0.9], [0.8], [0.1]], [[1], [0], [1]]).round(3)
    array([0.833])
    """
    return np.array([_ap(s, t) for s, t in _classes(scores, targets)])


def mean_average_precision(scores: ArrayLike, targets: ArrayLike) -> float:
    """mAP: the unweighted mean of `average_precision` over the classes with a positive clip. AudioSet's measure.

    NaN if there is none. Shapes and errors as there.

    >>> mean_average_precision([[0.9, 0.2], [0.8, 0.7]], [[1, 0], [0, 1]])
    1.0
    """
    return _mean(average_precision(scores, targets))


def roc_auc_per_class(scores: ArrayLike, targets: ArrayLike) -> np.ndarray:
    """AUC = P(score of a positive > score of a negative) of each class.   scores (N, K), targets (N, K) -> (K,)

    Ties count half. NaN for a class without positive or without negative clips. Raises minast.Error for shapes that
    differ or scores that are not finite.

    >>> roc_auc_per_class([[0.9], [0.8], [0.1]], [[1], [0], [1]])
    array([0.5])
    """
    return np.array([_auc(s, t) for s, t in _classes(scores, targets)])


def roc_auc(scores: ArrayLike, targets: ArrayLike) -> float:
    """The unweighted mean of `roc_auc_per_class` over the classes with positive and negative clips; NaN without any.

    >>> roc_auc([[0.9], [0.8], [0.1]], [[1], [0], [1]])
    0.5
    """
    return _mean(roc_auc_per_class(scores, targets))


def d_prime(scores: ArrayLike, targets: ArrayLike) -> float:
    """d' = sqrt(2) F^-1(AUC), F the standard normal distribution function, AUC that of `roc_auc`.

    inf for a perfect AUC, -inf for 0, NaN where it is undefined. Source: the AudioSet papers; stats.py.

    >>> d_prime([[0.9], [0.8], [0.1]], [[1], [0], [1]])
    0.0
    """
    auc = roc_auc(scores, targets)
    if auc != auc or auc in (0.0, 1.0):
        return {0.0: -np.inf, 1.0: np.inf}.get(auc, np.nan)
    return float(np.sqrt(2) * NormalDist().inv_cdf(auc))


def confusion_matrix(scores: ArrayLike, targets: ArrayLike, classes: int | None = None) -> np.ndarray:
    """Counts of clips by true class (row) and predicted class (column).   scores (N, K), targets (N,) -> (K, K)

    classes: K, if it is not the number of columns of `scores`.

    >>> confusion_matrix([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    array([[1, 1],
           [0, 0]])
    """
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


def intervals(
    scores: np.ndarray,
    targets: np.ndarray,
    loss: str,
    groups: Sequence | None = None,
    seed: int = 0,
    draws: int = 1000,
) -> dict[str, tuple[float, float]]:
    """PLACEHOLDER until w-metrics is merged: 95 % percentile bootstrap over clips or groups."""
    from . import scoring

    groups = np.arange(len(scores)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    members = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)]
    rng, values = np.random.default_rng(seed), {}
    for _ in range(draws):
        chosen = np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))])
        for name, value in scoring.measures(scores[chosen], targets[chosen], loss).items():
            values.setdefault(name, []).append(value)
    return {name: tuple(np.nanpercentile(v, (2.5, 97.5), method="nearest")) for name, v in values.items()}
