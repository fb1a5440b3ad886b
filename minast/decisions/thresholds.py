"""From which probability on a label counts as given: a threshold for each class, chosen on labelled clips.

A threshold lies half-way between two neighbouring scores, so that a score which another machine rounds differently
does not change sides. `None` stands for a class that is never given.
"""

from typing import NamedTuple

import numpy as np

GOALS = ("F1", "precision", "recall")
UNKNOWN = 0.5  # of a class without a positive clip, about which nothing can be learnt


class Curve(NamedTuple):
    """What each possible threshold of a class would give, from the highest to the lowest.   each (S,)"""

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def chosen(
    scores: np.ndarray, targets: np.ndarray, goal: str = "F1", wanted: float | None = None
) -> list[float | None]:
    """A threshold for each class.   scores, targets (N, K) -> K numbers or None

    goal "F1": the highest F1, of equal ones the highest threshold. "precision": the lowest threshold whose precision is
    at least `wanted`; None, never given, where no threshold reaches it. "recall": the highest threshold whose recall is
    at least `wanted`. A class without a positive clip gets UNKNOWN.
    """
    return [_one(scores[:, k], targets[:, k] > 0.5, goal, wanted) for k in range(scores.shape[1])]


def _one(score, positive, goal, wanted):
    if not positive.any():
        return UNKNOWN
    curve = of_class(score, positive)
    if goal == "F1":
        return float(curve.thresholds[curve.f1.argmax()])
    reached = np.flatnonzero(getattr(curve, goal) >= wanted)
    if not len(reached):
        return None
    return float(curve.thresholds[reached[-1 if goal == "precision" else 0]])


def of_class(score: np.ndarray, positive: np.ndarray) -> Curve:
    """The curve of one class, a threshold below each distinct score.   score (N,), positive (N,) bool, some True"""
    order = np.argsort(-score)
    score, positive = score[order], positive[order]
    last = np.append(score[1:] != score[:-1], True)
    hits, given = np.cumsum(positive)[last], np.flatnonzero(last) + 1
    above, below = score[last], np.append(score[last][1:], 0.0)
    between = above / 2 + below / 2
    between = np.where((between > below) & (between <= above), between, above)  # neighbours have nothing between them
    return Curve(between, hits / given, hits / hits[-1], 2 * hits / (given + hits[-1]))
