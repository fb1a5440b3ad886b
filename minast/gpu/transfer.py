"""Copying training batches to the GPU: the next batch is copied while the current step computes.

A copy overlaps computation if its source is pinned (page-locked) memory and it runs on its own stream. The threads that
make batches write them to pinned memory (`pin_memory`). Two slots on the device alternate: the step reads one while the
other is filled. Events keep the order: a step waits until its batch has arrived, and a copy until the step that last
read its slot is done.
Source: CUDA C++ Best Practices Guide, "Asynchronous and Overlapping Transfers with Computation".
"""

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np


def pin_memory(make: Callable[..., tuple], xp: ModuleType) -> Callable[..., tuple]:
    """`make`, a function that returns a tuple of arrays; if xp is CuPy, with the arrays in pinned memory."""
    if xp is np:
        return make
    import cupyx

    def pinned(*arguments):
        batch = make(*arguments)
        places = tuple(cupyx.empty_pinned(x.shape, x.dtype) for x in batch)
        for place, x in zip(places, batch, strict=True):
            place[...] = x
        return places

    return pinned


def to_device(batches: Iterable[tuple], xp: ModuleType) -> Iterator[tuple[tuple, tuple]]:
    """For each tuple of NumPy arrays in `batches`: (its arrays on xp's device, the tuple itself).

    On a GPU the former are overwritten when the second batch after it is requested.
    """
    return ((batch, batch) for batch in batches) if xp is np else copied_ahead(iter(batches))


def copied_ahead(batches: Iterator[tuple]) -> Iterator[tuple[tuple, tuple]]:
    """`to_device` for a GPU: each batch is copied while the step before it computes."""
    import cupy

    stream, current, following = cupy.cuda.Stream(non_blocking=True), Slot(), Slot()
    try:
        current.fill(next(batches, None), stream)
        while current.batch is not None:
            following.fill(next(batches, None), stream)  # is copied while the step computes
            cupy.cuda.get_current_stream().wait_event(current.arrived)
            yield current.device, current.batch
            current.done = cupy.cuda.get_current_stream().record()  # by now all reads of this batch are queued
            current, following = following, current
    finally:
        stream.synchronize()  # a loop that ends early frees memory that a copy may still be using


class Slot:
    """Memory for one batch on the device, allocated for the first batch and again when shapes change."""

    def __init__(self):
        self.batch, self.device, self.arrived, self.done = None, (), None, None

    def fill(self, batch: tuple | None, stream: Any) -> None:
        """Start copying a batch on `stream`; None after the last batch."""
        import cupy

        if self.arrived is not None:
            self.arrived.synchronize()  # usually long ago: the last batch's pinned memory may be freed now
        self.batch = batch
        if batch is None:
            return
        if [(x.shape, x.dtype) for x in batch] != [(x.shape, x.dtype) for x in self.device]:
            self.device = tuple(cupy.empty(x.shape, x.dtype) for x in batch)
            self.done = cupy.cuda.get_current_stream().record()  # queued work may still use this memory
        stream.wait_event(self.done)
        for x, place in zip(batch, self.device, strict=True):
            place.set(x, stream=stream)
        self.arrived = stream.record()
