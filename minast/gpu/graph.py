"""CUDA graphs: the launches of a function, captured once and replayed by one call.

A launch from Python costs at least about ten microseconds of CPU time, and a forward pass has over a hundred: with one
clip the GPU would be idle most of the time. A graph contains all launches with their arguments, so only the values of
its inputs can change: shapes, settings and addresses are those of the capture.
Source: CUDA C++ Programming Guide, "CUDA Graphs"; CuPy's Stream.begin_capture.
"""

import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..layers import Array
from . import workspaces


def capture_stream(owner: Any) -> Any:
    """A new stream (a cupy.cuda.Stream) for the captures of `owner`; its cuBLAS workspace is freed with `owner`.

    One for each owner: graphs that may run at the same time must not share a workspace (gpu/workspaces.py).
    """
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)  # the default stream cannot be captured
    weakref.finalize(owner, workspaces.release, cupy.cuda.Device().id, stream.ptr)
    return stream


class Graph:
    """A captured function, from `record`. Call it with inputs of the same shapes to replay it on the current stream.

    It keeps alive what its addresses refer to: `pool`, from which the function allocated, and `kept`, whatever else it
    used. -> tuple of new arrays
    """

    def __init__(self, graph: Any, inputs: tuple, outputs: tuple, pool: Any, kept: Any):
        self.graph, self.inputs, self.outputs, self.pool, self.kept = graph, inputs, outputs, pool, kept

    def __call__(self, *inputs: Array) -> tuple:
        for own, x in zip(self.inputs, inputs, strict=True):
            own[...] = x
        self.graph.launch()
        return tuple(x.copy() for x in self.outputs)  # copies: the next replay overwrites the outputs


def record(function: Callable[..., tuple], inputs: tuple, side: Any, kept: Any = None) -> tuple[tuple, Graph | None]:
    """Run function(*inputs) -> tuple of arrays once, then capture it.   -> (the run's results, Graph or None)

    inputs: CuPy arrays. side: the stream from `capture_stream`. kept: see `Graph`. The run compiles kernels and
    allocates memory; the capture repeats it without computing. The function must not read any value on the host. If it
    does, or does anything else that cannot be captured, this warns (RuntimeWarning) and returns no graph.
    """
    import cupy

    current, pool = cupy.cuda.get_current_stream(), cupy.cuda.MemoryPool()
    graph = None
    side.wait_event(current.record())
    with side, cupy.cuda.using_allocator(pool.malloc):
        own = tuple(x.copy() for x in inputs)
        results = function(*own)
    current.wait_event(side.record())
    results = tuple(x.copy() for x in results)  # in memory of the caller's pool
    side.wait_event(current.record())
    with side, cupy.cuda.using_allocator(pool.malloc):
        side.begin_capture()
        try:
            outputs = function(*own)
            graph = Graph(side.end_capture(), own, outputs, pool, kept)
        except Exception as error:
            with suppress(Exception):  # the capture is invalid, and end_capture may raise as well
                side.end_capture()
            warnings.warn(f"no CUDA graph, kernels are launched one by one: {error}", RuntimeWarning, stacklevel=2)
    current.wait_event(side.record())
    return results, graph
