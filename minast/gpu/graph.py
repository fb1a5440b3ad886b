"""CUDA graphs: the launches of a function, recorded once and replayed by one call.

A launch from Python costs the processor some ten microseconds or more, and a forward pass has over a hundred: for one
clip the GPU would wait most of the time. A graph holds all of them, addresses and numbers included. So it replays only
what depends on its inputs' values: shapes, settings and addresses must be those of the recording.
Source: CUDA C++ Programming Guide, "CUDA Graphs"; CuPy's Stream.begin_capture.
"""

import warnings
from contextlib import suppress

_streams = {}  # device -> the stream on which graphs are recorded: cuBLAS keeps a workspace for each stream


def stream():
    """The current device's, made once."""
    import cupy

    device = cupy.cuda.Device().id
    if device not in _streams:
        _streams[device] = cupy.cuda.Stream(non_blocking=True)  # the default stream cannot be recorded
    return _streams[device]


class Graph:
    """What `record` made. Called with inputs of the same shapes it replays, on the current stream -> tuple of arrays.

    kept: whatever must stay in memory as long as the graph, since it replays addresses: what the function allocated
    lies in `pool`, and what else it used is the caller's to name.
    """

    def __init__(self, graph, inputs, outputs, pool, kept):
        self.graph, self.inputs, self.outputs, self.pool, self.kept = graph, inputs, outputs, pool, kept

    def __call__(self, *inputs):
        for mine, x in zip(self.inputs, inputs, strict=True):
            mine[...] = x
        self.graph.launch()
        return tuple(x.copy() for x in self.outputs)  # the next replay leaves these alone


def record(function, inputs, kept=None):
    """function(*inputs) -> tuple of arrays, run once and recorded.   -> (the run's results, Graph or None)

    inputs: CuPy arrays. The run compiles the kernels and finds the memory; the recording repeats it without computing.
    The function must not look at any value on the host: where it does, or calls what cannot be recorded, a warning says
    so, and there is no graph.
    """
    import cupy

    here, there, pool = cupy.cuda.get_current_stream(), stream(), cupy.cuda.MemoryPool()
    graph = None
    there.wait_event(here.record())
    with there, cupy.cuda.using_allocator(pool.malloc):
        mine = tuple(x.copy() for x in inputs)
        results = function(*mine)
    here.wait_event(there.record())
    results = tuple(x.copy() for x in results)  # the caller's own, from the caller's pool
    there.wait_event(here.record())
    with there, cupy.cuda.using_allocator(pool.malloc):
        there.begin_capture()
        try:
            outputs = function(*mine)
            graph = Graph(there.end_capture(), mine, outputs, pool, kept)
        except Exception as error:
            with suppress(Exception):  # the recording is void, which end_capture may say in its own way
                there.end_capture()
            warnings.warn(f"no CUDA graph, every launch on its own: {error}", RuntimeWarning, stacklevel=2)
    here.wait_event(there.record())
    return results, graph
