"""Training batches made in the background, while the loop is busy with earlier ones."""

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from .. import threads

DEPTH = 4  # batches that wait ready


class Prefetcher:
    """for batch in Prefetcher(make, steps): the same as `for batch in map(make, steps)`, made by threads ahead of time.

    make: a pure function of the step, so that neither order nor timing can change a batch. Its error is raised when
    that batch's turn comes. `waited`: seconds that the loop had to wait for a batch. Leaving the loop for good ends in
    `close`, also by `with`.
    """

    def __init__(self, make, steps, workers=2):
        self.make, self.steps, self.waited = make, iter(steps), 0.0
        self._pool = ThreadPoolExecutor(min(workers, threads.count()), "minast-batch", threads.stay_single_threaded)
        self._ready = deque()

    def __iter__(self):
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

    def close(self):
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
