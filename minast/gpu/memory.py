"""Where the kernels' results lie: `empty` is the one door to memory of a training step.

Without an arena it is NumPy's or CuPy's own `empty`. With one, every array of a step has a place that was chosen before
the step began: nothing is allocated on the way, and its addresses are the same in every step, as a CUDA graph wants.

The places come from the shapes alone. `plan` runs the step's Python dry, with arrays that are never filled, and notes
when each is made and when its last reference goes; `FreeList` lays them into one stretch of memory. A step makes the
same requests in the same order each time, so the n-th request of a real step gets the n-th place of the plan.
"""

import weakref
from bisect import insort
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import NamedTuple

import numpy as np

from ..errors import Error
from ..layers import array_module
from ..params import ALIGN

_source = ContextVar("source", default=None)


def empty(x, shape, dtype=None):
    """An unfilled array of `shape` beside x (NumPy's or CuPy's), of x's dtype unless another is named."""
    source, dtype = _source.get(), x.dtype if dtype is None else dtype
    return array_module(x).empty(shape, dtype) if source is None else source.empty(shape, dtype)


@contextmanager
def using(source):
    """Meanwhile `empty` asks `source`: an Arena, a Planner, or None for the array module itself."""
    token = _source.set(source)
    try:
        yield source
    finally:
        _source.reset(token)


def packed(x):
    """x, or a copy of it that is C-contiguous and starts on 16 bytes, as vector loads want it."""
    address = x.ctypes.data if isinstance(x, np.ndarray) else x.data.ptr
    if x.flags.c_contiguous and address % 16 == 0:
        return x
    copy = empty(x, x.shape)
    copy[...] = x
    return copy


class FreeList:
    """Offsets in a stretch of memory, first fit: `take` gives the lowest gap that is long enough, `give` takes it back.

    length: what the stretch must be for all that was asked so far.
    """

    def __init__(self):
        self.length, self.gaps = 0, []  # gaps: sorted (offset, size), no two of them touching

    def take(self, size):
        for at, (offset, room) in enumerate(self.gaps):
            if room >= size:
                self.gaps[at : at + 1] = [(offset + size, room - size)] if room > size else []
                return offset
        offset = self.length
        if self.gaps and sum(self.gaps[-1]) == self.length:  # the last gap reaches the end: lengthen it
            offset = self.gaps.pop()[0]
        self.length = offset + size
        return offset

    def give(self, offset, size):
        insort(self.gaps, (offset, size))
        at = self.gaps.index((offset, size))
        for left in (at, at - 1):  # join with the next gap, then with the one before
            if 0 <= left < len(self.gaps) - 1 and sum(self.gaps[left]) == self.gaps[left + 1][0]:
                self.gaps[left : left + 2] = [(self.gaps[left][0], self.gaps[left][1] + self.gaps[left + 1][1])]


class Plan(NamedTuple):
    """What a step asks for: (bytes, offset) of each request in turn, and the bytes of the whole."""

    places: tuple
    bytes: int


class Planner:
    """Hands out arrays that nobody may fill, and notes where in a FreeList each would lie, for as long as it lives.

    They all are the same memory, as long as the largest of them.
    """

    def __init__(self):
        self.free, self.places, self.memory = FreeList(), [], np.empty(0, np.uint8)

    def empty(self, shape, dtype):
        size, dtype = rounded(shape, dtype), np.dtype(dtype)
        if size > self.memory.nbytes:
            self.memory = np.empty(size, np.uint8)
        flat = np.frombuffer(memoryview(self.memory), dtype, prod(_tuple(shape)))  # the base of its views
        offset = self.free.take(size)
        self.places.append((size, offset))
        weakref.finalize(flat, self.free.give, offset, size)  # views, and views of views, keep it alive
        return flat.reshape(shape)

    def plan(self):
        return Plan(tuple(self.places), self.free.length)


class Arena:
    """One buffer for all arrays of a step, placed by a Plan. The arrays of the step before are overwritten.

    xp: numpy or cupy. A plan that needs more than the buffer replaces it; `bytes` is its size.
    poison: fill each array with NaN before it is handed out. What reads a value that was never written, or still uses
    an array whose place went to another, shows it: for tests.
    """

    poison = False

    def __init__(self, xp):
        self.xp, self.buffer, self.plan, self.at = xp, xp.empty(0, np.uint8), Plan((), 0), 0

    @property
    def bytes(self):
        return self.buffer.nbytes

    @contextmanager
    def step(self, plan):
        """`empty` walks along `plan` meanwhile, from its beginning."""
        if plan.bytes > self.bytes:
            self.grow(plan.bytes)
        self.plan, self.at = plan, 0
        with using(self):
            yield self

    def grow(self, size):
        """A buffer of so many bytes instead of the old one, which is let go first."""
        self.buffer = self.xp.empty(0, np.uint8)
        self.buffer = self._aligned(size)

    def empty(self, shape, dtype):
        size = rounded(shape, dtype)
        if self.at == len(self.plan.places) or self.plan.places[self.at][0] != size:
            raise Error(
                f"request {self.at + 1} of this step is for {size} bytes, which is not what was planned: the step does "
                "not ask for the same arrays each time."
            )
        offset, self.at = self.plan.places[self.at][1], self.at + 1
        if self.poison:
            self.buffer[offset : offset + size] = 0xFF  # NaN in all three types
        dtype = np.dtype(dtype)
        return self.buffer[offset : offset + prod(_tuple(shape)) * dtype.itemsize].view(dtype).reshape(shape)

    def _aligned(self, size):
        if self.xp is not np:
            return self.xp.empty(size, np.uint8)  # CuPy's memory starts on 512 bytes
        raw = np.empty(size + ALIGN, np.uint8)
        skip = -raw.ctypes.data % ALIGN
        return raw[skip : skip + size]


def rounded(shape, dtype):
    """Bytes of an array, up to a multiple of ALIGN, at least one."""
    return max(1, -(-prod(_tuple(shape)) * np.dtype(dtype).itemsize // ALIGN)) * ALIGN


def _tuple(shape):
    return (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
