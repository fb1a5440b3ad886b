"""Running a step's Python without its work: a recorder is told of every launch and every product instead.

The arrays of a dry run have their shapes and are never filled, so that a step of any size runs anywhere in a blink.
"""

from contextlib import contextmanager
from contextvars import ContextVar

_recorder = ContextVar("recorder", default=None)
current_recorder = _recorder.get  # what `launch` and `gemm` ask: None, or whom to tell


@contextmanager
def recording(recorder):
    """Meanwhile `launch` calls recorder.launch and `gemm` recorder.gemm, with their own arguments: no more."""
    token = _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.reset(token)
