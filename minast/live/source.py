"""Samples as they arrive: a thread puts them into a queue, the model's thread takes them out."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue

import numpy as np

from ..audio.level import Level, mono

AHEAD = 64  # blocks of a pipe that are read ahead; a program that writes faster waits
LEAVING = 0.2  # s that the end waits for the reading thread, which may itself wait for a byte


class Source:
    """What every kind of live sound has: a queue, and the times at which its samples came.

    rate: Hz. name: for messages. overruns: how often samples were lost before they came here. level: of what was
    heard of several channels so far, else None.
    """

    live = False  # whether sound is lost if the model is too slow
    extra = 0.0  # s: how late samples are when they come, as far as their device says

    def __init__(self, rate: int, name: str):
        self.rate, self.name, self.overruns, self.stopped, self.level = rate, name, 0, False, None
        self._queue, self._came, self._samples = SimpleQueue(), deque(), 0  # SimpleQueue: signal handlers may put

    def put(self, samples: np.ndarray) -> None:
        """(n, channels) float32 have come."""
        self._queue.put((time.monotonic(), samples))

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes."""
        self._queue.put((None, error))

    def stop(self) -> None:
        """The user has heard enough: what has come so far is the end. May be called in a signal handler."""
        self.stopped = True
        self.end()

    def blocks(self, when_idle: Callable[[], object]) -> Iterator[np.ndarray]:
        """The mean of the channels, in blocks (n,), until the end. when_idle: called before it waits for more."""
        while True:
            try:
                came, item = self._queue.get_nowait()
            except Empty:
                when_idle()
                came, item = self._queue.get()
            if came is None:
                if item is not None:
                    raise item
                return
            self.taken()
            self._samples += len(item)
            self._came.append((self._samples / self.rate, came))
            with np.errstate(over="ignore", invalid="ignore"):  # of no sound at all, which is refused later
                if item.shape[1] > 1:
                    self.level = self.level or Level(item.shape[1])
                    self.level.add(item)
                wave = mono(item, 1, None)
            yield wave

    def taken(self) -> None:
        """A block has left the queue."""

    def arrival(self, seconds: float) -> float:
        """When the sample at `seconds` came, on the clock of time.monotonic. Called with times that do not fall."""
        while len(self._came) > 1 and self._came[0][0] < seconds - 1e-9:
            self._came.popleft()
        return self._came[0][1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Pipe(Source):
    """Samples that another thread reads from a stream as they come.   items: blocks (n, channels) float32"""

    def __init__(self, items: Iterable[np.ndarray], rate: int, name: str = "standard input"):
        super().__init__(rate, name)
        self._free = threading.Semaphore(AHEAD)
        self._items, self._left = items, False
        self._thread = threading.Thread(target=self._read, daemon=True)  # it may wait for a byte that never comes

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        """Nothing is read any more: the number of a file that is closed may soon be another file's."""
        self._left = True
        self._free.release()
        self._thread.join(LEAVING)

    def _read(self):
        try:
            for block in self._items:
                self._free.acquire()
                if self._left:
                    return
                self.put(block)
            self.end()
        except Exception as error:
            self.end(error)

    def taken(self) -> None:
        """A block has left the queue."""
        self._free.release()
