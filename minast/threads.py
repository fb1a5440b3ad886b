"""One thread count for our own loops and for BLAS.

It comes from `set_count` (a command's --threads) or the variable MINAST_THREADS, else it is the number of cores this
process may use. Inside `run` BLAS is limited to one thread: products are split here, together with the work around
them, and two pools that both use every core would only slow each other down.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import copy_context
from functools import cache, partial
from itertools import islice, pairwise, repeat
from queue import SimpleQueue
from typing import Any

import numpy as np

from .errors import Error

VARIABLE = "MINAST_THREADS"
MOST = 4096  # threads that may be asked for: more than any machine has cores


def count() -> int:
    """The number of threads. Raises minast.Error if MINAST_THREADS is not a whole number from 1 to MOST."""
    text = os.environ.get(VARIABLE)
    if not text:
        return len(_cores()) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= MOST:
        raise Error(f"{VARIABLE} is {text[:40]!r}: it must be a whole number from 1 to {MOST}.")
    return int(text)


def _cores():
    """Those that this process may use: its first thread's, since helpers have others (see `_Pool`)."""
    return os.sched_getaffinity(os.getpid())


def set_count(n: int) -> None:
    """Use n threads from now on, in this process and, through MINAST_THREADS, in processes that it starts.

    Raises minast.Error unless n is a whole number from 1 to MOST.
    """
    if not 1 <= n <= MOST or int(n) != n:
        raise Error(f"the number of threads is {n}: it must be a whole number from 1 to {MOST}.")
    os.environ[VARIABLE] = str(int(n))
    apply_count()


def apply_count() -> None:
    """Set BLAS's thread count to MINAST_THREADS; if that is unset, BLAS keeps its own."""
    if os.environ.get(VARIABLE):
        _blas.set(count())


def one_blas_thread() -> AbstractContextManager:
    """Within it BLAS has one thread, as in every loop of `run`: they need not say so again, which takes 7 µs each.

    So a product between two loops has the same bits, whatever other threads do meanwhile.
    """
    return _blas


@contextmanager
def fixed() -> Iterator[None]:
    """Give BLAS `count()` threads for the duration of the block, whatever it was set to before.

    The rounding of a product depends on BLAS's thread count. So a run that records `count()` can be resumed with the
    same bits only if all of its products use that number, also where OPENBLAS_NUM_THREADS or the like says otherwise.
    """
    _fixed.enter()
    try:
        yield
    finally:
        _fixed.leave()


class _Fixed:
    """What the first open block of `fixed` found, for the last one to restore: blocks of two threads may overlap."""

    def __init__(self):
        self.lock, self.open, self.found = threading.Lock(), 0, None

    def enter(self):
        with self.lock:
            if not self.open:
                self.found = os.environ.get(VARIABLE), _blas.numbers()
            set_count(count())
            self.open += 1

    def leave(self):
        with self.lock:
            self.open -= 1
            if not self.open:
                variable, numbers = self.found
                _blas.put_back(numbers)
                os.environ.pop(VARIABLE, None) if variable is None else os.environ.update({VARIABLE: variable})


_fixed = _Fixed()


# -- BLAS ------------------------------------------------------------------------------------------------------


class _Blas:
    """The BLAS libraries of this process; as a context manager, limited to one thread until the last user leaves."""

    def __init__(self):
        self.lock, self.holders, self.before, self._libraries = threading.Lock(), 0, [], None

    def libraries(self):
        if self._libraries is None:
            from threadpoolctl import ThreadpoolController

            _watch_forks()
            self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        return self._libraries

    def numbers(self):
        """Each library's thread count, ignoring the limit of a running loop."""
        with self.lock:
            return list(self.before) if self.holders else [lib.get_num_threads() for lib in self.libraries()]

    def set(self, n):
        """n threads in each library, as soon as no loop limits it."""
        self.put_back([n] * len(self.libraries()))

    def put_back(self, numbers):
        """Restore the counts that `numbers` returned."""
        with self.lock:
            if self.holders:
                self.before = list(numbers)
            else:
                for library, n in zip(self.libraries(), numbers, strict=True):
                    _set_number(library, n)

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
                _set_number(library, n)


def _set_number(library, n):
    """library.set_num_threads(n), from any thread.

    From version 3.8 on threadpoolctl lets only one thread do so, the first that did, and ignores others without a word.
    """
    release = getattr(library, "clear_controlling_thread", None)
    if release is not None:
        release(force=True)
    library.set_num_threads(n)
    if release is not None:
        release()  # so that the program around us may set its own limits


# -- the pool --------------------------------------------------------------------------------------------------

_here = threading.local()  # .single_threaded: loops started by this thread stay on it


def _find_core():
    """-> a function: the core that this thread runs on, or None where the system does not tell. Python has none."""
    if not hasattr(os, "sched_setaffinity"):
        return lambda: None
    try:
        from ctypes import PyDLL

        return PyDLL(None).sched_getcpu
    except (AttributeError, ImportError, OSError):
        return lambda: None


_core = _find_core()


class _Pool:
    """Threads that wait for work. They are daemons, so nothing has to be shut down."""

    def __init__(self):
        self.queue, self.lock, self.threads, self.avoided = SimpleQueue(), threading.Lock(), [], None

    def start(self, size):
        """At least so many threads, which may run on all cores but the caller's.

        Linux wakes a thread on the core that it ran on last, or else on an idle one near it, but where the cores were
        busy on average it does not look for one (SIS_UTIL in kernel/sched/fair.c). So two threads that once share a
        core would go on to share it, for a long time, while the other core is idle.
        """
        core = _core()
        if core == self.avoided and size <= len(self.threads):
            return
        with self.lock:
            while len(self.threads) < size:
                name = f"minast-{len(self.threads) + 1}"
                self.threads.append(threading.Thread(target=self._work, daemon=True, name=name))
                self.threads[-1].start()
            self.avoided = core
            if core is not None and (others := _cores() - {core}):
                with suppress(OSError):  # where it is forbidden, it is only slower
                    for thread in self.threads:
                        os.sched_setaffinity(thread.native_id, others)

    def _work(self):
        stay_single_threaded()
        while True:
            self.queue.get()()


def run(task: Callable[[Any], object], items: Iterable) -> None:
    """task(item) for every item, spread over the threads; returns when all are done, or raises the first error.

    Any thread may take any item: for reproducible bits, a task must write only to memory of its own item. NumPy's error
    state is the caller's. Called from inside a task, or under `single_threaded`, it is a plain loop.
    """
    todo, failures, mine, theirs = deque(items), [], [], SimpleQueue()
    total, helpers = len(todo), min(count(), len(todo)) - 1
    numpy_errors = _numpy_errors()

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

    def help_out():
        # NumPy 1.26 counts how often threads leave the defaults and come back. Who sets defaults that are set already
        # makes it forget a thread that has left them; and a helper may be late.
        with nullcontext() if numpy_errors == _numpy_errors() else np.errstate(**numpy_errors):
            drain(theirs.put)

    with _blas:
        if helpers > 0 and not getattr(_here, "single_threaded", False):
            _pool.start(helpers)
            for _ in range(helpers):
                _pool.queue.put(partial(copy_context().run, help_out))
        with single_threaded():
            drain(mine.append)
        for _ in range(total - len(mine)):  # wait for items, not helpers: a late helper finds nothing to do
            theirs.get()
    if failures:
        raise failures[0]


def _numpy_errors():
    """What NumPy does on overflow and the like: here and now, by thread in NumPy 1.26, by context in later ones."""
    return {**np.geterr(), "call": np.geterrcall()}


@contextmanager
def ordered(function: Callable[[Any], Any], items: Iterable, ahead: int | None = None) -> Iterator[Iterator]:
    """An iterator over function(item) of every item, in order, computed ahead by `count()` threads.

        with ordered(read, paths) as results:
            for found in results:

    ahead: how many results may wait at most; items are then taken from `items` as they are needed (default: all). An
    exception is raised when its result is due. When the block is left early, say by Ctrl-C, items that were not begun
    are cancelled, and those in progress are not waited for.
    """
    with _pool_of(count()) as pool:
        yield pool.map(function, items) if ahead is None else _window(pool, function, items, ahead)


@contextmanager
def in_background(items: Iterable, ahead: int) -> Iterator[Iterator]:
    """An iterator over `items`, which one thread beside this one computes; `ahead`: how many may wait at most.

    Otherwise as `ordered`.
    """
    source, end = iter(items), object()
    with _pool_of(1) as pool:
        found = _window(pool, lambda _: next(source, end), repeat(None), ahead)
        yield iter(partial(next, found), end)


@contextmanager
def _pool_of(threads):
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(threads, initializer=stay_single_threaded)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _window(pool, function, items, ahead):
    """pool.map with no more than `ahead` results, begun or waiting."""
    items = iter(items)
    waiting = deque(pool.submit(function, item) for item in islice(items, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in islice(items, 1))
        yield result


def spans(n: int, align: int = 1, parts: int | None = None) -> list[slice]:
    """range(n) cut into `parts` (default: one per thread) nearly equal slices that start at multiples of `align`."""
    units = -(-n // align)
    parts = max(1, min(parts or count(), units))
    edges = [min(n, units * i // parts * align) for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


class single_threaded:
    """Context manager: loops started by this thread stay on it. For threads that work beside the main one."""

    def __enter__(self):
        self.before = getattr(_here, "single_threaded", False)
        _here.single_threaded = True

    def __exit__(self, *_):
        _here.single_threaded = self.before


def stay_single_threaded() -> None:
    """`single_threaded` for the rest of this thread: the initializer for another pool's threads."""
    _here.single_threaded = True


_blas, _pool = _Blas(), _Pool()


def _after_fork():
    """A forked child has none of its parent's threads, and no loop there limits BLAS."""
    global _blas, _pool
    before = _blas.before if _blas.holders else None
    _blas, _pool = _Blas(), _Pool()
    if before:
        _blas.set(max(before))


@cache
def _watch_forks():
    """Once, when the first loop runs: importing this module leaves the process alone."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)
