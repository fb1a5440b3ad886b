"""How long a step takes with more processes: predicted from message size, bandwidth and latency.

A sum over R ranks as a ring: each sends 2 (R - 1) / R of the message, in 2 (R - 1) rounds; as a tree: all of it twice,
in 2 log2 R rounds. The faster one counts. Of several GPUs in a machine each sums its part within the machine first, and
then sends it alone to the other machines. Buckets go one after the other, none before the backward pass has left it.
Source of the ring: Patarasu and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

BACKWARD = 2 / 3  # of a step's products: two of three


@dataclass(frozen=True)
class Link:
    """bandwidth: bytes a second, of one rank in one direction; latency: seconds a message."""

    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Cluster:
    """Machines with `each` GPUs. inside: the link between these; outside: what each GPU has to other machines."""

    inside: Link
    outside: Link
    each: int = 8


def all_reduce(size: float, ranks: int, link: Link) -> float:
    """Seconds of a sum of `size` bytes over ranks that are all alike."""
    if ranks == 1:
        return 0.0
    ring = 2 * (ranks - 1) / ranks * size / link.bandwidth + 2 * (ranks - 1) * link.latency
    tree = 2 * size / link.bandwidth + 2 * math.ceil(math.log2(ranks)) * link.latency
    return min(ring, tree)


def over_machines(size: float, ranks: int, cluster: Cluster) -> float:
    """Seconds of a sum of `size` bytes over `ranks` GPUs: within machines, between them, and back."""
    inside = min(ranks, cluster.each)
    machines = -(-ranks // cluster.each)
    return all_reduce(size, inside, cluster.inside) + all_reduce(size / inside, machines, cluster.outside)


def finish(ready: Sequence[float], seconds: Sequence[float]) -> float:
    """When the last of several sums is done, each `ready` to begin at a time, one after the other."""
    now = 0.0
    for begin, takes in zip(ready, seconds, strict=True):
        now = max(now, begin) + takes
    return now


@dataclass(frozen=True)
class Step:
    """Predicted seconds of a training step.   compute: without other ranks; sums: all of them, were they alone"""

    compute: float
    sums: float
    total: float

    @property
    def hidden(self) -> float:
        """The share of the sums that costs no time, since the backward pass goes on."""
        return 1 - (self.total - self.compute) / self.sums if self.sums else 1.0


def step(compute: float, update: float, messages: Sequence[float], seconds: Sequence[float]) -> Step:
    """A step of which `compute` seconds are passes, two thirds of them backward, and `update` the optimizer.

    messages: bytes of the buckets, in the order in which the pass completes them: it takes as long for a byte of each.
    seconds: of their sums.
    """
    whole, done, ready = sum(messages), 0.0, []
    for size in messages:
        done += size
        ready.append(compute * (1 - BACKWARD * (1 - done / whole)))
    return Step(compute + update, sum(seconds), max(compute, finish(ready, seconds)) + update)


def predicted(
    ranks: int, clips: float, clip: float, update: float, messages: Sequence[float], cluster: Cluster
) -> Step:
    """A step with `clips` clips on each GPU, at `clip` seconds each for its passes.   Other arguments as above."""
    return step(clips * clip, update, messages, [over_machines(size, ranks, cluster) for size in messages])
