"""A pool of large buffers: new memory costs a page fault every 4 KB, as much time as the work done in it."""

import sys
from math import prod
from threading import Lock

import numpy as np

from ..layers import Array

MIN_BYTES = 2**17  # smaller arrays are not pooled: the C allocator reuses them already
MAX_AGE = 2000  # requests after which an unused buffer is freed


class BufferPool:
    """`empty(shape)` returns a buffer that is no longer in use, or a new one.

    A buffer is unused when the pool has the only reference to it: nothing is returned explicitly, and a result that the
    caller keeps is never reused. A view keeps its buffer in use, since NumPy views refer to it.
    """

    def __init__(self):
        self.buffers, self.last_request, self.requests, self.lock = {}, {}, 0, Lock()
        self.unused = self._references([np.empty(1)])[0]

    def empty(self, shape: tuple[int, ...], dtype: type | np.dtype = np.float32) -> Array:
        """Like numpy.empty: an array of arbitrary values. Arrays below MIN_BYTES are not from the pool."""
        size, dtype = prod(shape), np.dtype(dtype)
        if size * dtype.itemsize < MIN_BYTES:
            return np.empty(shape, dtype)
        with self.lock:
            self.requests += 1
            self.last_request[size, dtype] = self.requests
            same = self.buffers.setdefault((size, dtype), [])
            counts = self._references(same)
            if self.unused in counts:
                return same[counts.index(self.unused)].reshape(shape)
            self._evict()
            same.append(np.empty(size, dtype))
            return same[-1].reshape(shape)

    def empty_like(self, x: Array) -> Array:
        """`empty` with the shape and dtype of x."""
        return self.empty(x.shape, x.dtype)

    def _evict(self):
        """Free unused buffers of sizes that were not requested for MAX_AGE requests."""
        for key, same in self.buffers.items():
            if self.requests - self.last_request[key] > MAX_AGE:
                counts = self._references(same)
                same[:] = [same[i] for i, n in enumerate(counts) if n != self.unused]

    @staticmethod
    def _references(buffers):
        """The reference count of each buffer, always taken in this one place so that counts are comparable."""
        return [sys.getrefcount(buffer) for buffer in buffers]


_pool = BufferPool()
empty, empty_like = _pool.empty, _pool.empty_like
