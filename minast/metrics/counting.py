"""Measures of decisions: accuracy, precision, recall, F1, the confusion matrix."""

import numpy as np
from numpy.typing import ArrayLike

from ..errors import Error
from .ranking import class_mean


def accuracy(scores: ArrayLike, targets: ArrayLike) -> float:
    """Share of clips whose highest score is their class, 0 to 1.   scores (N, K), targets (N,) or one-hot (N, K)

    Of equal scores the first counts.

    >>> accuracy([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    0.5
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    if targets.ndim == 2:
        targets = targets.argmax(axis=1)
    return float((scores.argmax(axis=1) == targets).mean())


def balanced_accuracy(scores: ArrayLike, targets: ArrayLike) -> float:
    """The unweighted mean of the recall of each class that has clips.   scores (N, K), targets one-hot (N, K)

    The accuracy on data in which all classes are equally frequent.

    >>> balanced_accuracy([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4]], [[1, 0], [1, 0], [0, 1]])
    0.5
    """
    return float(class_mean(precision_recall_f1(decided(scores, "ce"), targets)[1]))


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


def decided(scores: ArrayLike, loss: str, thresholds: ArrayLike = 0.5) -> np.ndarray:
    """Which classes each clip is said to have.   scores (N, K) -> (N, K) bool

    loss "ce": the one with the highest score, of equal ones the first. "bce": each whose score is at least its
    threshold; thresholds: (K,) or one number.

    >>> decided([[0.9, 0.6]], "ce"), decided([[0.9, 0.6]], "bce")
    (array([[ True, False]]), array([[ True,  True]]))
    """
    scores = np.asarray(scores)
    if loss == "ce":
        return np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]
    return scores >= np.asarray(thresholds)


def has_clips(targets: ArrayLike) -> np.ndarray:
    """Which classes have a positive clip: those that means are over.   targets (N, K) -> (K,) bool"""
    return (np.asarray(targets) > 0.5).any(axis=0)


def precision_recall_f1(given: ArrayLike, targets: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P = TP / (TP + FP), R = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN) of each class.   (N, K), (N, K) -> 3 x (K,)

    given: the decisions, of 0 and 1 (`decided`). A class that is never given has precision 0. NaN for a class without
    a positive clip. Raises minast.Error for shapes that differ.

    >>> [each.tolist() for each in precision_recall_f1([[1, 1], [1, 0]], [[1, 0], [0, 0]])]
    [[0.5, nan], [1.0, nan], [0.6666666666666666, nan]]
    """
    return rates(*outcomes(given, targets))


def f1_macro(given: ArrayLike, targets: ArrayLike) -> float:
    """The unweighted mean of the F1 of the classes with a positive clip; NaN if there is none.   Arguments as above

    >>> f1_macro([[1, 1], [1, 0]], [[1, 0], [1, 0]])
    1.0
    """
    return float(class_mean(precision_recall_f1(given, targets)[2]))


def f1_micro(given: ArrayLike, targets: ArrayLike) -> float:
    """F1 = 2 TP / (2 TP + FP + FN) of all decisions on all classes together; NaN without a positive one.

    >>> f1_micro([[1, 1], [1, 0]], [[1, 0], [1, 0]])
    0.8
    """
    return float(micro(*outcomes(given, targets)))


# -- steps ---------------------------------------------------------------------------------------------------------


def outcomes(given: ArrayLike, targets: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, decisions and positives of each class.   (N, K), (N, K) -> 3 x (K,) int"""
    given, targets = np.asarray(given), np.asarray(targets)
    if given.shape != targets.shape or given.ndim != 2:
        raise Error(f"decisions {given.shape} and targets {targets.shape} must have the same shape (clips, classes).")
    given, targets = given > 0.5, targets > 0.5
    return tuple(each.sum(axis=0) for each in (given & targets, given, targets))


def rates(hits: np.ndarray, given: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1, from what `outcomes` counts; of any shape."""
    there = np.where(positives > 0, 1.0, np.nan)
    precision, recall = hits / np.maximum(given, 1), hits / np.maximum(positives, 1)
    return precision * there, recall * there, 2 * hits / np.maximum(given + positives, 1) * there


def micro(hits: np.ndarray, given: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """F1 over all classes, from what `outcomes` counts.   (K, ...) -> (...)"""
    with np.errstate(invalid="ignore"):
        found = 2.0 * hits.sum(axis=0) / (given.sum(axis=0) + positives.sum(axis=0))
    return np.where(positives.sum(axis=0) > 0, found, np.nan)
