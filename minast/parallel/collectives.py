"""How sums over ranks are computed from what a library offers, and how they go on while the program computes.

An operation is a generator that yields the requests it waits for. So the same lines serve MPI, whose requests take a
while, and NCCL, which only queues them.
"""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from ..bfloat16 import from_float32, to_float32
from ..layers import Array, array_module
from .group import Group, pieces

PAUSE = 2e-4  # seconds between two looks at requests
BFLOAT16 = np.dtype(np.uint16)


def tree_sum(rows: Sequence[Array]) -> Array:
    """((r0 + r1) + (r2 + r3)) + ...: neighbours in pairs, then pairs in pairs; the first row is overwritten.

    Of 2^k rows every run of 2^j rows that begins at a multiple of 2^j is added on its own: it does not matter which of
    these sums were computed elsewhere.
    """
    rows = list(rows)
    while len(rows) > 1:
        for i in range(0, len(rows) - 1, 2):
            rows[i] += rows[i + 1]
        rows = rows[::2]
    return rows[0]


class Ranks(Group):
    """The operations of `Group` on arrays, from four that a library offers. Each of these returns a request:

    `_sum(part)`: in place; `_sum_scatter(part, cut, own)`: the sum of this rank's piece, into `own`; `_exchange(part,
    cut, rows)`: piece i goes to rank i, and rows[i] comes from it; `_spread(part, cut)`: everyone's pieces, in place.
    """

    def begin_all_reduce(self, part: Array, wire: str = "float32", fixed: bool = False) -> Any:
        """See `Group`. In bfloat16 or in fixed order: a reduce-scatter, then an all-gather."""
        return self._begin(self._all_reduce(part, wire, fixed))

    def begin_reduce_scatter(self, part: Array, wire: str = "float32", fixed: bool = False) -> Any:
        """See `Group`."""
        return self._begin(self._reduce_scatter(part, wire, fixed))

    def begin_all_gather(self, part: Array) -> Any:
        """See `Group`."""
        return self._begin(self._all_gather(part))

    def _all_gather(self, part):
        yield self._spread(part, pieces(part.size, self.size))

    def _all_reduce(self, part, wire, fixed):
        if wire == "float32" and not fixed:
            yield self._sum(part)
            return
        yield from self._reduce_scatter(part, wire, fixed)
        if wire == "float32":
            yield from self._all_gather(part)
            return
        packed = from_float32(part, BFLOAT16)  # this rank's piece of it is right
        yield from self._all_gather(packed)
        part[...] = to_float32(packed)  # the piece as well: all ranks must have the same sum

    def _reduce_scatter(self, part, wire, fixed):
        cut, xp = pieces(part.size, self.size), array_module(part)
        own = part[cut[self.rank]]
        if wire == "float32" and not fixed:
            total = xp.empty_like(own)
            yield self._sum_scatter(part, cut, total)
            own[...] = total
            return
        sent = part if wire == "float32" else from_float32(part, BFLOAT16)
        rows = xp.empty((self.size, own.size), sent.dtype)
        yield self._exchange(sent, cut, rows)
        own[...] = tree_sum(rows if wire == "float32" else [to_float32(row) for row in rows])


class Begun:
    """An operation under way.   steps: its generator"""

    def __init__(self, steps: Generator):
        self.steps, self.stage, self.request, self.done = steps, 0, None, False

    def begin(self, turn: Callable[[int], object] = int) -> None:
        """Make the next request.   turn: is called before, with the number of this operation's request, from 0"""
        turn(self.stage)
        self.stage, self.request = self.stage + 1, next(self.steps, None)
        self.done = self.request is None

    def advance(self, is_done: Callable[[Any], bool], turn: Callable[[int], object] = int) -> bool:
        """Go on as far as is possible now.   -> whether it is done"""
        while not self.done:
            if self.request is not None and not is_done(self.request):
                return False
            self.begin(turn)
        return True


class Progress:
    """A thread that moves operations on while the program computes: MPI's do nothing unless somebody asks.

    is_done(request): asks. All ranks must make their requests in the same order, and only the program's is: so the
    first request of an operation is made when it begins, and a further one when all operations before it are done;
    turn(0) or turn(1 ...) is called before, to keep the two kinds apart. The first error is raised by `wait`.
    """

    def __init__(self, is_done: Callable[[Any], bool], turn: Callable[[int], object] = int):
        self.is_done, self.turn, self.lock, self.wake = is_done, turn, threading.Lock(), threading.Event()
        self.open, self.error, self.thread, self.stopped = [], None, None, False

    def begin(self, steps: Generator) -> Begun:
        """Start an operation."""
        begun = Begun(steps)
        with self.lock:
            begun.begin(self.turn)
            self.open.append(begun)
            self.wake.set()
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, daemon=True, name="minast-progress")
            self.thread.start()
        return begun

    def wait(self, begun: Sequence[Begun], meanwhile: Callable[[], object] = int) -> None:
        """Until these are done. Python's signal handlers run meanwhile, and `meanwhile` is called now and then."""
        while not all(each.done for each in begun):
            self._look()
            meanwhile()
            time.sleep(PAUSE)
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """The thread ends; what is under way is left as it is."""
        self.stopped = True
        self.wake.set()

    def _look(self):
        with self.lock:
            try:
                while self.open and self.open[0].advance(self.is_done, self.turn):
                    self.open.pop(0)
            except Exception as error:  # MPI's own
                self.error = self.error or error
                for each in self.open:
                    each.done = True
                self.open = []

    def _run(self):
        while not self.stopped:
            self.wake.wait()
            self._look()
            if not self.open:
                self.wake.clear()
                if self.open or self.stopped:  # in between
                    self.wake.set()
            time.sleep(PAUSE)
