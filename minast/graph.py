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
    """function(*inputs) -> tuple of arrays, run once, as `first`, and recorded, on the current device.

    inputs: CuPy arrays; their shapes and types are the graph's. The run compiles the kernels and finds the memory; the
    recording repeats it without computing. The function must not look at any value on the host: where it does, or
    calls what cannot be recorded, `graph` stays None, with a warning.
    """

    def __init__(self, function, inputs):
        import cupy

        here, there = cupy.cuda.get_current_stream(), stream()
        self.pool, self.graph = cupy.cuda.MemoryPool(), None  # what the function allocates stays this graph's
        there.wait_event(here.record())
        with there, cupy.cuda.using_allocator(self.pool.malloc):
            self.inputs = tuple(x.copy() for x in inputs)
            self.first = tuple(x.copy() for x in function(*self.inputs))
            there.begin_capture()
            try:
                self.outputs = function(*self.inputs)
                self.graph = there.end_capture()
            except Exception as error:
                with suppress(Exception):  # the recording is void, which end_capture may say in its own way
                    there.end_capture()
                warnings.warn(f"no CUDA graph, every launch on its own: {error}", RuntimeWarning, stacklevel=2)
        here.wait_event(there.record())

    def __call__(self, *inputs):
        """One replay on the current stream.   -> tuple of arrays, which the next replay leaves alone"""
        for mine, x in zip(self.inputs, inputs, strict=True):
            mine[...] = x
        self.graph.launch()
        return tuple(x.copy() for x in self.outputs)
