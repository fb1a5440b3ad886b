"""Training batches prepared in the background while earlier ones are trained on."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from .. import threads

DEPTH = 4  # batches prepared ahead of the one in use
WORKERS = 4  # threads that prepare them, at most: each can be at one batch


class Prefetcher:
    """`for batch in Prefetcher(make, steps)` is `for batch in map(make, steps)`, computed ahead by threads.

    make: a pure function of the step, so that neither order nor timing can change a batch. An exception in it is raised
    when its batch is due. `waited`: seconds that the loop had to wait for batches. Use it in a `with` statement, or
    call `close` at the end.
    """

    def __init__(self, make: Callable, steps: Iterable):
        self.make, self.steps, self.waited = make, iter(steps), 0.0
        self._pool = ThreadPoolExecutor(min(WORKERS, threads.count()), "minast-batch", threads.stay_single_threaded)
        self._ready = deque()

    def __iter__(self) -> Iterator:
        return self

    def __next__(self):
        while len(self._ready) <= DEPTH and (step := next(self.steps, None)) is not None:
            self._ready.append(self._pool.submit(self.make, step))
        if not self._ready:
            raise StopIteration
        began = time.perf_counter()
        batch = self._ready.popleft().result()
        self.waited += time.perf_counter() - began
        return batch

    def close(self) -> None:
        """Cancel the batches that are not begun; those in progress are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(self, *_):
        self.close()
