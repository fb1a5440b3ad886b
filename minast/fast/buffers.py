"""A pool of large buffers to reuse: fresh memory costs a page fault every 4 KB, as much as the work done in it."""

import sys
from math import prod
from threading import Lock

import numpy as np

LEAST = 2**17  # bytes: below this the allocator of NumPy and C is fast by itself
STALE = 2000  # requests: a buffer that was not wanted for so long is let go


class BufferPool:
    """`empty(shape)` hands out an array that nobody refers to any more, or a new one.

    A buffer is free when the pool's own list holds the last reference to it: nothing is ever given back by hand, and
    a result that the caller keeps stays the caller's. Any view keeps its buffer taken, since NumPy views refer to it.
    """

    def __init__(self):
        self.shelves, self.asked, self.requests, self.lock = {}, {}, 0, Lock()
        self.unused = self._references([np.empty(1)])[0]

    def empty(self, shape, dtype=np.float32):
        """Like numpy.empty: the values are whatever was there."""
        size, dtype = prod(shape), np.dtype(dtype)
        if size * dtype.itemsize < LEAST:
            return np.empty(shape, dtype)
        with self.lock:
            self.requests += 1
            self.asked[size, dtype] = self.requests
            shelf = self.shelves.setdefault((size, dtype), [])
            counts = self._references(shelf)
            if self.unused in counts:
                return shelf[counts.index(self.unused)].reshape(shape)
            self._sweep()
            shelf.append(np.empty(size, dtype))
            return shelf[-1].reshape(shape)

    def empty_like(self, x):
        return self.empty(x.shape, x.dtype)

    def _sweep(self):
        """Let go of sizes that were not asked for in a while."""
        for key, shelf in self.shelves.items():
            if self.requests - self.asked[key] > STALE:
                counts = self._references(shelf)
                shelf[:] = [shelf[i] for i, n in enumerate(counts) if n != self.unused]

    @staticmethod
    def _references(shelf):
        """How many references each buffer has, counted always at the same place."""
        return [sys.getrefcount(buffer) for buffer in shelf]


_pool = BufferPool()
empty, empty_like = _pool.empty, _pool.empty_like
