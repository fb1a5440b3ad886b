"""Whether a pass adds its weight gradients to what their arrays hold, or writes over it without reading it.

Everywhere in minast they are added. But the first pass of a training step would add to zeros, which somebody writes
and every product then reads: 8 bytes a weight. Whatever computes a weight gradient in cuda/ asks `adding`: for the beta
of a product, and for a flag of the kernels column_sum, column_finish and tokens_backward. Who comes second to an array
in the same pass adds in any case: see half_encoder.last_block_backward.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_adding = ContextVar("adding", default=True)
adding = _adding.get


@contextmanager
def overwriting(yes: bool = True) -> Iterator[None]:
    """Within this context weight gradients replace what their arrays hold; without `yes` they are added, as ever."""
    token = _adding.set(not yes)
    try:
        yield
    finally:
        _adding.reset(token)
