"""How often a model is right when it says 80 %: the data of a reliability diagram, and the expected calibration error.

Of a softmax head, the likeliest class of each clip counts, with its probability (top-label). Of a sigmoid head, each
class is a question of its own, answered with a probability for every clip. Source: Guo et al. 2017, section 2, with
BINS bins of equal width; for sigmoid heads, the mean over the classes that have clips.
"""

from typing import NamedTuple

import numpy as np

from ..metrics import has_clips
from ..metrics.ranking import class_mean

BINS = 15


class Reliability(NamedTuple):
    """A bin's predictions: how many, their mean probability, the share that came true.   each (BINS,); NaN if empty"""

    count: np.ndarray
    probability: np.ndarray
    share: np.ndarray


def reliability(scores: np.ndarray, targets: np.ndarray, loss: str) -> Reliability:
    """The bins of all predictions, for a sigmoid head of all classes that have clips.   scores, targets (N, K)"""
    p, true = _predictions(scores, targets, loss)
    return _binned(p.ravel(), true.ravel())


def class_errors(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The calibration error of each class as a question of its own.   -> (K,), NaN for a class without clips"""
    found = np.full(scores.shape[1], np.nan)
    for k in np.flatnonzero(has_clips(targets)):
        found[k] = _error(_binned(scores[:, k], targets[:, k] > 0.5))
    return found


def calibration_error(scores: np.ndarray, targets: np.ndarray, loss: str) -> float:
    """ECE = sum_b n_b / n |share of bin b that came true - its mean probability|.   scores, targets (N, K) -> [0, 1]

    loss "ce": of the likeliest class of each clip. "bce": the mean of `class_errors`. NaN if there is nothing to score.
    """
    if loss == "ce":
        return _error(reliability(scores, targets, loss))
    return float(class_mean(class_errors(scores, targets)))


def _predictions(scores, targets, loss):
    """-> probabilities, whether each came true"""
    targets = np.asarray(targets) > 0.5
    if loss == "ce":
        best = scores.argmax(axis=1)[:, None]
        return np.take_along_axis(scores, best, 1), np.take_along_axis(targets, best, 1)
    there = has_clips(targets)
    return scores[:, there], targets[:, there]


def _binned(p, true):
    bins = np.minimum((p * BINS).astype(int), BINS - 1)  # [0, 1/15), ..., [14/15, 1]
    count, of_p, of_true = (np.bincount(bins, weights, BINS) for weights in (None, p, true.astype(float)))
    with np.errstate(invalid="ignore"):
        return Reliability(count, of_p / count, of_true / count)


def _error(found):
    there = found.count > 0
    if not there.any():
        return float("nan")
    share = found.count[there] / found.count.sum()
    return float((share * np.abs(found.share[there] - found.probability[there])).sum())
