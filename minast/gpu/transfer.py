"""Training batches on their way to the GPU: the next one is copied while the step before computes.

A copy runs beside the computation if it comes from pinned memory, which the system never moves, and on a stream of its
own. The threads that make the batches leave them in pinned memory (`pin_memory`). Two places on the device take turns:
one is read by the step, the other is being filled. Events keep the order: a step waits for its batch to arrive, and a
batch for the step that last read its place.
Source: CUDA C++ Best Practices Guide, "Asynchronous and Overlapping Transfers with Computation".
"""

import numpy as np


def pin_memory(make, xp):
    """`make`, a function that returns a tuple of arrays, so that they lie in pinned memory where xp is CuPy."""
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


def to_device(batches, xp):
    """For each tuple of NumPy arrays in `batches`: (its arrays where xp computes, the tuple itself).

    On a GPU the former are overwritten when the batch after the next one is asked for.
    """
    return ((batch, batch) for batch in batches) if xp is np else ahead(iter(batches))


def ahead(batches):
    import cupy

    stream, here, there = cupy.cuda.Stream(non_blocking=True), Slot(), Slot()
    try:
        here.fill(next(batches, None), stream)
        while here.batch is not None:
            there.fill(next(batches, None), stream)  # is copied while the step computes
            cupy.cuda.get_current_stream().wait_event(here.arrived)
            yield here.device, here.batch
            here.done = cupy.cuda.get_current_stream().record()  # all that reads this batch is queued by now
            here, there = there, here
    finally:
        stream.synchronize()  # whoever leaves early gives back memory that a copy may still be writing to


class Slot:
    """A place for one batch on the device, made for the first batch, and anew for another shape."""

    def __init__(self):
        self.batch, self.device, self.arrived, self.done = None, (), None, None

    def fill(self, batch, stream):
        """Begin to copy a batch, or None after the last one."""
        import cupy

        if self.arrived is not None:
            self.arrived.synchronize()  # long ago; the last batch's pinned memory may go now
        self.batch = batch
        if batch is None:
            return
        if [(x.shape, x.dtype) for x in batch] != [(x.shape, x.dtype) for x in self.device]:
            self.device = tuple(cupy.empty(x.shape, x.dtype) for x in batch)
            self.done = cupy.cuda.get_current_stream().record()  # till now this memory may have been another array's
        stream.wait_event(self.done)
        for x, place in zip(batch, self.device, strict=True):
            place.set(x, stream=stream)
        self.arrived = stream.record()
