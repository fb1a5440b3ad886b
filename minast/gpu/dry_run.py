"""Dry runs: a step's Python runs as usual, but every launch and every matrix product goes to a recorder instead.

Arrays have their shapes but are never filled, so a step of any size runs in an instant on any machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_recorder = ContextVar("recorder", default=None)
current_recorder = _recorder.get  # asked by `launch` and `gemm`; None outside of a dry run


@contextmanager
def recording(recorder: Any) -> Iterator[Any]:
    """Within this context `launch` only calls recorder.launch, and `gemm` recorder.gemm, with its own arguments."""
    token = _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.reset(token)
