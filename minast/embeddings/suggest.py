"""The segments of an index that are worth labelling next: those that a probe is not sure of, and unlike each other.

The doubt of a segment with probabilities p:

    softmax    1 - (p_1 - p_2), the two likeliest labels        sigmoid    max_k (1 - |2 p_k - 1|)

From the POOL times as many with the greatest doubt, one after another is taken whose doubt times its distance from all
that are labelled or taken is greatest; the distance is 1 - cosine of the standardised embeddings. Without the distance
a hundred segments of one puzzling recording would come first. Source: Settles, "Active Learning Literature Survey",
2009, sections 3.1 (margin) and 3.6 (density); Sener and Savarese, "Active Learning for Convolutional Neural Networks: A
Core-Set Approach", ICLR 2018 (greedy k-center).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .index import Index
from .logistic import Logistic
from .nearest import unit
from .probe import head_input

POOL = 20
COMPARED = 2000  # labelled segments, at most, from which the distance is measured


class Suggestion(NamedTuple):
    """A segment, by its row in the index, and what the probe takes it for."""

    row: int
    label: int
    probability: float


def doubt(p: np.ndarray, loss: str) -> np.ndarray:
    """How unsure probabilities are, from 0 to 1.   (n, K) -> (n,)"""
    if loss == "bce":
        return (1 - np.abs(2 * p - 1)).max(axis=1)
    best = -np.partition(-p, 1, axis=1)[:, :2]
    return 1 - (best[:, 0] - best[:, 1])


def suggested(
    index: Index,
    found: Logistic,
    eps: float,
    labelled: np.ndarray,
    count: int,
    told: Callable[[int], object] = lambda rows: None,
    free: np.ndarray | None = None,
) -> list[Suggestion]:
    """The `count` segments to label next, fewer if the index has no more; best first.

    eps: of the head's norm. labelled (n,): rows with a label. told: is called with the number of rows that were looked
    at. free (rows,) bool: which may be suggested (default: all without a label).
    """
    rows, doubts = np.zeros(0, int), np.zeros(0)
    for first, block, _ in index.blocks():
        numbers = np.arange(first, first + len(block))
        new = ~np.isin(numbers, labelled) if free is None else free[numbers]
        of_block = doubt(found.probabilities(head_input(block[new], eps)), found.loss) if new.any() else np.zeros(0)
        rows, doubts = np.concatenate([rows, numbers[new]]), np.concatenate([doubts, of_block])
        order = np.argsort(-doubts, kind="stable")[: POOL * count]
        rows, doubts = rows[order], doubts[order]
        told(len(block))
    if not len(rows):
        return []
    h = head_input(index.take(rows), eps)
    z = unit(found.standardised(h))
    some = labelled[np.linspace(0, len(labelled) - 1, min(len(labelled), COMPARED)).astype(int)]
    known = unit(found.standardised(head_input(index.take(some), eps)))
    distance = 1 - (z @ known.T).max(axis=1)
    left, chosen = np.ones(len(rows), bool), []
    for _ in range(min(count, len(rows))):
        best = int(np.argmax(np.where(left, doubts * np.maximum(distance, 0) + 1e-12 * doubts, -1.0)))
        chosen.append(best)
        left[best] = False
        distance = np.minimum(distance, 1 - z @ z[best])
    p = found.probabilities(h[chosen])
    return [Suggestion(int(rows[i]), int(k.argmax()), float(k.max())) for i, k in zip(chosen, p, strict=True)]
