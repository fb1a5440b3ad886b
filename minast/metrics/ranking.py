"""Measures of order: average precision, the area under the ROC curve, d'. Only the ranks of the scores matter."""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from ..errors import Error


def average_precision(scores: ArrayLike, targets: ArrayLike) -> np.ndarray:
    """AP = sum_n (R_n - R_(n-1)) P_n of each class.   scores (N, K), targets (N, K) -> (K,) in [0, 1]

    P_n and R_n are precision and recall at the n-th highest distinct score. NaN for a class without a positive clip.
    Raises minast.Error for shapes that differ or scores that are not finite.

    >>> average_precision([[0.9], [0.8], [0.1]], [[1], [0], [1]]).round(3)
    array([0.833])
    """
    return areas(scores, targets)[0]


def mean_average_precision(scores: ArrayLike, targets: ArrayLike) -> float:
    """mAP: the unweighted mean of `average_precision` over the classes with a positive clip. AudioSet's measure.

    NaN if there is none. Shapes and errors as there.

    >>> mean_average_precision([[0.9, 0.2], [0.8, 0.7]], [[1, 0], [0, 1]])
    1.0
    """
    return float(class_mean(average_precision(scores, targets)))


def roc_auc_per_class(scores: ArrayLike, targets: ArrayLike) -> np.ndarray:
    """AUC = P(score of a positive > score of a negative) of each class.   scores (N, K), targets (N, K) -> (K,)

    Ties count half. NaN for a class without positive or without negative clips. Raises minast.Error for shapes that
    differ or scores that are not finite.

    >>> roc_auc_per_class([[0.9], [0.8], [0.1]], [[1], [0], [1]])
    array([0.5])
    """
    return areas(scores, targets)[1]


def roc_auc(scores: ArrayLike, targets: ArrayLike) -> float:
    """The unweighted mean of `roc_auc_per_class` over the classes with positive and negative clips; NaN without any.

    >>> roc_auc([[0.9], [0.8], [0.1]], [[1], [0], [1]])
    0.5
    """
    return float(class_mean(roc_auc_per_class(scores, targets)))


def d_prime(scores: ArrayLike, targets: ArrayLike) -> float:
    """d' = sqrt(2) F^-1(AUC), F the standard normal distribution function, AUC that of `roc_auc`.

    inf for a perfect AUC, -inf for 0, NaN where it is undefined. Source: the AudioSet papers; stats.py.

    >>> d_prime([[0.9], [0.8], [0.1]], [[1], [0], [1]])
    0.0
    """
    return d_prime_of(roc_auc(scores, targets))


def d_prime_of(auc: float) -> float:
    """d' = sqrt(2) F^-1(AUC)."""
    if 0 < auc < 1:
        return float(np.sqrt(2) * NormalDist().inv_cdf(auc))
    return {0.0: -np.inf, 1.0: np.inf}.get(auc, np.nan)


# -- steps ---------------------------------------------------------------------------------------------------------


def checked(scores: ArrayLike, targets: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """-> scores (N, K) float64, targets (N, K) bool. Raises minast.Error as `average_precision` does."""
    scores, targets = np.asarray(scores, np.float64), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise Error(f"scores {scores.shape} and targets {targets.shape} must have the same shape (clips, classes).")
    if not np.isfinite(scores).all():
        raise Error("the scores hold NaN or infinite numbers.")
    return scores, targets > 0.5


def areas(scores: ArrayLike, targets: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and AUC of each class, which is sorted once for both.   -> (K,), (K,)"""
    scores, targets = checked(scores, targets)
    found = np.full((2, scores.shape[1]), np.nan)
    for k in np.flatnonzero(targets.any(axis=0)):
        found[:, k] = curve_areas(*curve(*in_order(scores[:, k], targets[:, k])))
    return found[0], found[1]


def in_order(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> the places of the clips, highest score first; which are positive; which is the last of its distinct score"""
    order = np.argsort(-score)  # the order among equal scores does not matter
    score = score[order]
    return order, positive[order], np.append(score[1:] != score[:-1], True)


def curve(order: np.ndarray, positive: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives if all clips down to each distinct score are called positive.   -> (S,), (S,) int"""
    seen, hits = np.flatnonzero(last) + 1, np.cumsum(positive)[last]
    return hits, seen - hits


def curve_areas(hits: np.ndarray, misses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AP = sum_n dTP_n / P * TP_n / (TP_n + FP_n), AUC = sum_n dFP_n (TP_n + TP_(n-1)) / (2 P N).   (S, ...) -> (...)

    NaN where P or N, the numbers of positive and negative clips, is 0.
    """
    new_hits, new_misses = np.diff(hits, axis=0, prepend=0), np.diff(misses, axis=0, prepend=0)
    positives, negatives = hits[-1].astype(np.float64), misses[-1]
    with np.errstate(invalid="ignore"):
        precision = hits / np.maximum(hits + misses, 1)
        ap = (new_hits * precision).sum(axis=0) / positives
        auc = (new_misses * (2.0 * hits - new_hits)).sum(axis=0) / (2 * positives * negatives)
    return ap, auc


def class_mean(values: np.ndarray) -> np.ndarray:
    """The mean over the classes that are not NaN; NaN without any.   (K, ...) -> (...)"""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, values, 0).sum(axis=0) / np.float64(defined.sum(axis=0)))
