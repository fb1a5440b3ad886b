"""Memory for kernels' results: all arrays of a training step are allocated by `empty`.

Without an arena it is NumPy's or CuPy's own `empty`. With one, every array of a step has an offset chosen before the
step begins: nothing is allocated during the step, and addresses are the same in every step, as a CUDA graph requires.

The offsets depend only on the shapes. A dry run executes the step's Python with arrays that are never filled; `Planner`
notes when each is allocated and when its last reference is dropped, and `FreeList` assigns offsets, first fit. Every
step makes the same requests in the same order, so the n-th request of a real step gets the n-th offset of the plan.
"""

import weakref
from bisect import insort
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..errors import Error
from ..layers import Array, array_module
from ..params import ALIGN, aligned_zeros

_allocator: ContextVar = ContextVar("allocator", default=None)


def empty(x: Array, shape: int | tuple[int, ...], dtype: Any = None) -> Array:
    """An uninitialised array of `shape`, NumPy's or CuPy's like x; dtype: default x's.

    Raises minast.Error if an arena is in use and its plan has another request here.
    """
    allocator, dtype = _allocator.get(), x.dtype if dtype is None else dtype
    return array_module(x).empty(shape, dtype) if allocator is None else allocator.empty(shape, dtype)


@contextmanager
def using(allocator: Any) -> Iterator[Any]:
    """Within this context `empty` allocates from an Arena or a Planner; None: from NumPy or CuPy."""
    token = _allocator.set(allocator)
    try:
        yield allocator
    finally:
        _allocator.reset(token)


def packed(x: Array) -> Array:
    """x if it is C-contiguous and 16-byte aligned, as vector loads require, else such a copy."""
    address = x.ctypes.data if isinstance(x, np.ndarray) else x.data.ptr
    if x.flags.c_contiguous and address % 16 == 0:
        return x
    copy = empty(x, x.shape)
    copy[...] = x
    return copy


class FreeList:
    """A first-fit allocator of offsets in one block of memory.

    length: the size that the block needs for all requests so far. gaps: the free (offset, size) below it, sorted.
    """

    def __init__(self):
        self.length, self.gaps = 0, []  # no two gaps are adjacent

    def take(self, size: int) -> int:
        """The offset of `size` free bytes: the lowest gap that is large enough, else the end."""
        for at, (offset, room) in enumerate(self.gaps):
            if room >= size:
                self.gaps[at : at + 1] = [(offset + size, room - size)] if room > size else []
                return offset
        offset = self.length
        if self.gaps and sum(self.gaps[-1]) == self.length:  # the last gap reaches the end: extend it
            offset = self.gaps.pop()[0]
        self.length = offset + size
        return offset

    def give(self, offset: int, size: int) -> None:
        """Free what `take(size)` returned; adjacent gaps are merged."""
        insort(self.gaps, (offset, size))
        at = self.gaps.index((offset, size))
        for left in (at, at - 1):  # merge with the next gap, then with the one before
            if 0 <= left < len(self.gaps) - 1 and sum(self.gaps[left]) == self.gaps[left + 1][0]:
                self.gaps[left : left + 2] = [(self.gaps[left][0], self.gaps[left][1] + self.gaps[left + 1][1])]


class Plan(NamedTuple):
    """The memory of a step: (bytes, offset) of each request, in order, and the bytes of the whole arena."""

    places: tuple
    bytes: int


class Planner:
    """An allocator for dry runs: notes the offset that a FreeList assigns to each array for its lifetime.

    All arrays share the same memory, as large as the largest of them: their values are meaningless.
    """

    def __init__(self):
        self.free, self.places, self.memory = FreeList(), [], np.empty(0, np.uint8)

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array that must not be filled."""
        size, dtype = rounded(shape, dtype), np.dtype(dtype)
        if size > self.memory.nbytes:
            self.memory = np.empty(size, np.uint8)
        flat = np.frombuffer(memoryview(self.memory), dtype, prod(_tuple(shape)))  # a new base object for all views
        offset = self.free.take(size)
        self.places.append((size, offset))
        weakref.finalize(flat, self.free.give, offset, size)  # views, also of views, keep it alive
        return flat.reshape(shape)

    def plan(self) -> Plan:
        """The Plan of all requests so far."""
        return Plan(tuple(self.places), self.free.length)


class Arena:
    """One buffer for all arrays of a step, at the offsets of a Plan. Each step overwrites the arrays of the one before.

    xp: numpy or cupy. A plan that needs more memory replaces the buffer.
    poison: for tests: fill each array with NaN when it is allocated, so that reads of unwritten values, and uses of an
    array whose memory was reused, show in the results.
    """

    poison = False

    def __init__(self, xp: ModuleType):
        self.xp, self.buffer, self.plan, self.at = xp, xp.empty(0, np.uint8), Plan((), 0), 0

    @property
    def bytes(self) -> int:
        """Size of the buffer."""
        return self.buffer.nbytes

    @contextmanager
    def step(self, plan: Plan) -> Iterator["Arena"]:
        """Within this context `empty` serves the requests of `plan`, from the first on."""
        if plan.bytes > self.bytes:
            self.grow(plan.bytes)
        self.plan, self.at = plan, 0
        with using(self):
            yield self

    def grow(self, size: int) -> None:
        """Replace the buffer by one of `size` bytes; the old one is freed first."""
        self.buffer = self.xp.empty(0, np.uint8)
        self.buffer = aligned_zeros(size, np.uint8, self.xp)

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> Array:
        """The next array of the plan. Raises minast.Error if the plan has another size here."""
        size = rounded(shape, dtype)
        if self.at == len(self.plan.places) or self.plan.places[self.at][0] != size:
            raise Error(
                f"request {self.at + 1} of this step is for {size} bytes, which is not what was planned: the step does "
                "not allocate the same arrays each time."
            )
        offset, self.at = self.plan.places[self.at][1], self.at + 1
        if self.poison:
            self.buffer[offset : offset + size] = 0xFF  # NaN in all three types
        dtype = np.dtype(dtype)
        return self.buffer[offset : offset + prod(_tuple(shape)) * dtype.itemsize].view(dtype).reshape(shape)


def rounded(shape: int | tuple[int, ...], dtype: Any) -> int:
    """Bytes of an array, rounded up to a multiple of ALIGN; at least ALIGN."""
    return max(1, -(-prod(_tuple(shape)) * np.dtype(dtype).itemsize // ALIGN)) * ALIGN


def _tuple(shape):
    return (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
