"""The segments of an index that are worth labelling next: those that a probe is not sure of, of many kinds.

The doubt of a segment with probabilities p:

    softmax    1 - (p_1 - p_2), the two likeliest labels        sigmoid    max_k (1 - |2 p_k - 1|)

To suggest n segments, k-means makes n clusters of all, each weighing as much as its doubt, by the cosine of their
standardised embeddings; of each cluster the segment next to its centre is taken. Only by doubt, a hundred segments of
one puzzling recording would come first; only by distance, the odd ones out.

Of an index with more than POOL segments that many are drawn, with probabilities in proportion to their doubt (by the
keys log(u) / doubt, u uniform, of which the largest stay), and then weigh the same: k-means sees the same in the mean.

Source: Settles, "Active Learning Literature Survey", 2009, section 3.1 (margin); Zhdanov, "Diverse mini-batch active
learning", 2019 (weighted k-means); Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .index import Index
from .logistic import Logistic
from .nearest import unit
from .probe import head_input

POOL = 5000
STEPS = 20  # of k-means, at most


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
    seed: int = 0,
) -> list[Suggestion]:
    """The `count` segments to label next, fewer if the index has no more; the most doubtful first.

    eps: of the head's norm. labelled (n,): rows with a label. told: is called with the number of rows that were looked
    at. free (rows,) bool: which may be suggested (default: all without a label).
    """
    rng, total, seen = np.random.default_rng(seed), 0.0, 0
    pool = np.zeros(0, [("row", int), ("doubt", float), ("key", float)])
    for first, block, _ in index.blocks():
        rows = np.arange(first, first + len(block))
        new = ~np.isin(rows, labelled) if free is None else free[rows]
        more = np.zeros(int(new.sum()), pool.dtype)
        if len(more):
            more["row"] = rows[new]
            more["doubt"] = doubt(found.probabilities(head_input(block[new], eps)), found.loss) + 1e-9
            more["key"] = np.log(rng.random(len(more))) / more["doubt"]
        total, seen = total + float(more["doubt"].sum()), seen + len(more)
        pool = np.concatenate([pool, more])
        if len(pool) > max(POOL, count):
            pool = pool[np.argsort(-pool["key"])[: max(POOL, count)]]
        told(len(block))
    if not len(pool):
        return []
    pool = np.sort(pool, order="row")
    share = len(pool) * pool["doubt"] / total if seen > len(pool) else np.inf
    drawn = np.minimum(1.0, share)  # the probability that a row is in the pool
    h = head_input(index.take(pool["row"]), eps)
    z = unit((h - h.mean(axis=0)) / (h.std(axis=0) + 1e-9))
    chosen = central(z, pool["doubt"] / drawn, min(count, len(pool)), rng)
    chosen = chosen[np.argsort(-pool["doubt"][chosen], kind="stable")]
    p = found.probabilities(h[chosen])
    return [Suggestion(int(pool["row"][i]), int(k.argmax()), float(k.max())) for i, k in zip(chosen, p, strict=True)]


def central(z: np.ndarray, weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The rows next to the centres of `count` clusters by weighted k-means, all different.   z (n, D) -> (count,)

    weights (n,), above 0. Centres begin as rows drawn by k-means++ (Arthur and Vassilvitskii 2007).
    """
    first = int(rng.choice(len(z), p=weights / weights.sum()))
    centres, distance = [first], ((z - z[first]) ** 2).sum(axis=1)
    while len(centres) < count:
        p = weights * distance
        p = p if p.sum() > 0 else weights  # as many different rows are not there
        centres.append(int(rng.choice(len(z), p=p / p.sum())))
        distance = np.minimum(distance, ((z - z[centres[-1]]) ** 2).sum(axis=1))
    centres, own = z[centres], None
    for _ in range(STEPS):
        before, own = own, _apart(z, centres).argmin(axis=1)
        if before is not None and np.array_equal(before, own):
            break
        for j in np.unique(own):
            centres[j] = np.average(z[own == j], axis=0, weights=weights[own == j])
    chosen, apart = [], _apart(z, centres)
    for j in range(count):
        apart[chosen, j] = np.inf
        chosen.append(int(apart[:, j].argmin()))
    return np.array(chosen)


def _apart(z, centres):
    """Squared distances.   z (n, D), centres (k, D) -> (n, k)"""
    return (z * z).sum(axis=1)[:, None] - 2 * z @ centres.T + (centres * centres).sum(axis=1)
