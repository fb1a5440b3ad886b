"""The gradient of a batch that is spread over ranks, added while the backward pass goes on.

The backward pass completes the flat array from its upper end: after the head, block 12, block 11 ... So the array is
cut into buckets from there, and each is sent as soon as the pass has left it.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import Error
from ..layers import Array
from .collectives import tree_sum
from .group import GRID, Group

BUCKET = 2**22  # elements, 16 MiB of float32: long enough for the bandwidth, short enough to begin early


def buckets(n: int, size: int, length: int = BUCKET) -> list[slice]:
    """range(n) from its end in slices of about `length`, which all ranks can share alike; the last one takes the rest.

    Each but the last is a multiple of GRID * size.
    """
    step = GRID * size * max(1, length // (GRID * size))
    edges = [*range(n, 0, -step), 0]
    return [slice(b, a) for a, b in pairwise(edges)]


class Gradients:
    """`gradients(model, x, y, ...)` is `model.loss_and_grad` of the batch of all ranks, in which this rank has x and y.

    clips: in the batch of all ranks, of which each has `share_of(clips, rank, size)`. parts: into how many the whole
    batch is divided to save memory, as `loss_and_grad`'s. wire: as in `Group`. shard: whether each rank needs its
    pieces of the gradient alone.

    fixed: in fixed order. Then the gradient of each of the `parts` is computed on its own, and these are added in
    pairs, pairs of pairs and so on, whoever has computed them: the same bits for any number of ranks, if a product has
    the same bits everywhere: the same kind of processor and the same number of threads. It takes two gradients more
    memory for each doubling of the parts of a rank. Raises minast.Error for numbers that are no powers of 2.
    """

    def __init__(
        self,
        group: Group,
        trained: slice,
        n: int,
        clips: int,
        parts: int = 1,
        wire: str = "float32",
        fixed: bool = False,
        shard: bool = False,
        bucket: int | None = None,
    ):
        check(clips, parts, group.size, wire, fixed)
        self.group, self.trained, self.clips, self.parts = group, trained, clips, parts
        self.wire, self.fixed, self.shard = wire, fixed, shard
        self.buckets = buckets(n - (trained.start or 0), group.size, bucket or min(BUCKET, n // 8))
        self.flat, self.left, self.begun, self.sums = None, [], [], []

    def __call__(
        self, model: Any, x: Array, y: Array, loss: str, scale: float = 1.0, keep: np.ndarray | None = None, **options
    ) -> tuple[list, Array]:
        """As `AST.loss_and_grad`, of which these are arguments.   -> losses for `total`, logits of this rank's clips

        Whatever `model.dw` held, it is the sum over all ranks afterwards, or this rank's pieces of it (`shard`).
        """
        self.flat, self.left, self.begun = model.dw.flat[self.trained], list(self.buckets), []
        found = self._by_leaf if self.fixed else self._at_once
        losses, logits = found(model, x, y, loss, scale, keep, options)
        self._complete(self.trained.start or 0)
        self.group.wait(self.begun)
        self.begun, self.sums = [], []
        return losses, logits

    def total(self, losses: Sequence[Array | float]) -> float:
        """The loss of the whole batch, the same on all ranks."""
        own = [share * float(value) for share, value in losses]
        return math.fsum(self.group.gather(own).ravel())

    def _at_once(self, model, x, y, loss, scale, keep, options):
        share, parts = len(x) / self.clips, -(-self.parts // self.group.size)
        with model.telling(self._complete):
            value, logits = model.loss_and_grad(x, y, loss, parts, scale * share, keep=keep, add=False, **options)
        return [(share, value)], logits

    def _by_leaf(self, model, x, y, loss, scale, keep, options):
        edges, losses, logits = self._leaves(), [], []
        last = len(edges) - 2
        for i, (a, b) in enumerate(pairwise(edges)):
            share, seen = (b - a) / self.clips, None if keep is None else keep[a:b]
            with model.telling(self._complete if i == last else None):
                leaf = x[a:b], y[a:b], loss, 1, scale * share
                value, out = model.loss_and_grad(*leaf, keep=seen, add=False, **options)
            losses.append((share, value))
            logits.append(out)
            if i != last:
                self._put_aside(i)
        return losses, logits[0] if len(logits) == 1 else model.xp.concatenate(logits)

    def _leaves(self):
        """Where this rank's parts of the batch begin and end, counted from its first clip."""
        each, rank = self.parts // self.group.size, self.group.rank
        edges = [self.clips * i // self.parts for i in range(rank * each, (rank + 1) * each + 1)]
        return [edge - edges[0] for edge in edges]

    def _put_aside(self, i):
        """Keep the gradient of leaf i, added to those before it that are of the same height in the tree."""
        found = self.flat.copy()
        while i & 1:
            found = tree_sum([self.sums.pop(), found])
            i >>= 1
        self.sums.append(found)

    def _complete(self, above: int) -> None:
        """The gradient is complete from this place of the flat array on: begin with the buckets in it."""
        while self.left and self.left[0].start + (self.trained.start or 0) >= above:
            s = self.left.pop(0)
            for aside in reversed(self.sums):
                self.flat[s] += aside[s]
            begin = self.group.begin_reduce_scatter if self.shard else self.group.begin_all_reduce
            self.begun.append(begin(self.flat[s], self.wire, self.fixed))


def check(clips: int, parts: int, size: int, wire: str, fixed: bool) -> None:
    """Raises minast.Error if a batch cannot be divided among the ranks as is asked."""
    if clips < size:
        raise Error(f"a batch of {clips} clips cannot be divided among {size} processes: --batch must be larger.")
    if not fixed:
        return
    if wire != "float32":
        raise Error(
            f"--wire {wire} rounds the sums of each process, so that their number would show: with --reduction fixed "
            "leave it out."
        )
    if parts & (parts - 1) or parts % size or clips < parts:
        raise Error(
            f"--reduction fixed adds the gradients of --grad-accum parts of a batch, here {parts} of {clips} clips, in "
            f"pairs: that must be a power of 2, at most the batch, and a multiple of the processes, here {size}."
        )
