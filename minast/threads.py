"""One number of threads that everything obeys: our own loops and BLAS.

It is what `set_count` (a command's --threads) or the variable MINAST_THREADS says, else the cores this process may use.
Inside `run` BLAS is held to one thread: products are cut into parts here, where the work around them is cut the same
way, and two pools that both want every core would only wait for each other.
"""

import os
import threading
from collections import deque
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from itertools import pairwise
from queue import SimpleQueue

from .errors import Error

VARIABLE = "MINAST_THREADS"


def count():
    """The number of threads, at least 1."""
    text = os.environ.get(VARIABLE)
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise Error(f"{VARIABLE} is {text!r}: it must be a whole number of at least 1.")
    return int(text)


def set_count(n):
    """Use n threads from now on, in this process and, through the environment, in those it starts."""
    if int(n) != n or n < 1:
        raise Error(f"the number of threads is {n}: it must be a whole number of at least 1.")
    os.environ[VARIABLE] = str(int(n))
    obey()


def obey():
    """Bring BLAS to the number that was asked for; without one its own setting stays."""
    if os.environ.get(VARIABLE):
        _blas.set(count())


@contextmanager
def fixed():
    """Meanwhile BLAS has `count()` threads as well, whatever it was set to; then all is as it was before.

    BLAS rounds by its number of threads: a run that records `count()` can be resumed with the same bits only if that
    is the number for all of its products, also where OPENBLAS_NUM_THREADS or the like says another.
    """
    asked, before = os.environ.get(VARIABLE), _blas.numbers()
    set_count(count())
    try:
        yield
    finally:
        _blas.put_back(before)
        os.environ.pop(VARIABLE, None) if asked is None else os.environ.update({VARIABLE: asked})


# -- BLAS ------------------------------------------------------------------------------------------------------


class _Blas:
    """The BLAS libraries in this process, and how many loops hold them to one thread just now."""

    def __init__(self):
        self.lock, self.holders, self.before, self._libraries = threading.Lock(), 0, [], None

    def libraries(self):
        if self._libraries is None:
            from threadpoolctl import ThreadpoolController

            self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        return self._libraries

    def numbers(self):
        """What each library is set to, but for a loop that holds it."""
        with self.lock:
            return list(self.before) if self.holders else [lib.get_num_threads() for lib in self.libraries()]

    def set(self, n):
        """n threads in each library, once no loop holds it."""
        self.put_back([n] * len(self.libraries()))

    def put_back(self, numbers):
        """As `numbers` found them."""
        with self.lock:
            if self.holders:
                self.before = list(numbers)
            else:
                for library, n in zip(self.libraries(), numbers, strict=True):
                    library.set_num_threads(n)

    def __enter__(self):
        with self.lock:
            if not self.holders:
                self.before = [library.get_num_threads() for library in self.libraries()]
                self._restore([1] * len(self.before))
            self.holders += 1

    def __exit__(self, *_):
        with self.lock:
            self.holders -= 1
            if not self.holders:
                self._restore(self.before)

    def _restore(self, numbers):
        for library, n, now in zip(self.libraries(), numbers, self.before, strict=True):
            if n != 1 or now != 1:
                library.set_num_threads(n)


# -- the pool --------------------------------------------------------------------------------------------------

_here = threading.local()  # .alone: this thread runs loops by itself


class _Pool:
    """Threads that wait for work for ever. They are daemons: nothing has to be shut down."""

    def __init__(self):
        self.queue, self.size, self.lock = SimpleQueue(), 0, threading.Lock()

    def start(self, size):
        with self.lock:
            while self.size < size:
                self.size += 1
                threading.Thread(target=self._work, daemon=True, name=f"minast-{self.size}").start()

    def _work(self):
        stay_alone()
        while True:
            self.queue.get()()


def run(task, items):
    """task(item) for every item, spread over the threads; comes back when all are done, or raises the first error.

    Which thread takes which item is open: to get the same bits each time, a task writes only what is its own. NumPy's
    error state is that of the caller. Called from inside a task, or `alone`, it is a plain loop.
    """
    todo, failures, mine, theirs = deque(items), [], [], SimpleQueue()
    total, helpers = len(todo), min(count(), len(todo)) - 1

    def drain(finished):
        while todo:
            try:
                item = todo.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                if not failures:
                    task(item)
            except BaseException as error:
                failures.append(error)
            finished(item)

    with _blas:
        if helpers > 0 and not getattr(_here, "alone", False):
            _pool.start(helpers)
            for _ in range(helpers):
                _pool.queue.put(partial(copy_context().run, drain, theirs.put))
        with alone():
            drain(mine.append)
        for _ in range(total - len(mine)):  # not for the helpers: one that comes late finds nothing to do
            theirs.get()
    if failures:
        raise failures[0]


def spans(n, align=1, parts=None):
    """range(n) cut into `parts` (default: one a thread) nearly equal slices that begin at multiples of `align`."""
    units = -(-n // align)
    parts = max(1, min(parts or count(), units))
    edges = [min(n, units * i // parts * align) for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


class alone:
    """Loops started by this thread stay on it: for threads that work beside the main one."""

    def __enter__(self):
        self.before = getattr(_here, "alone", False)
        _here.alone = True

    def __exit__(self, *_):
        _here.alone = self.before


def stay_alone():
    """`alone` for good: what a thread of another pool calls when it begins."""
    _here.alone = True


_blas, _pool = _Blas(), _Pool()


def _after_fork():
    """A forked child has none of its parent's threads, and no loop holds BLAS there."""
    global _blas, _pool
    before = _blas.before if _blas.holders else None
    _blas, _pool = _Blas(), _Pool()
    if before:
        _blas.set(max(before))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
