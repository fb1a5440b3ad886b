"""Ranks that are threads of one process: the operations of `Ranks` on what these share, so that no MPI is needed."""

import threading
from collections.abc import Callable

import numpy as np

from minast import threads
from minast.parallel.collectives import Begun, Ranks


class Hub:
    """What the threads share."""

    def __init__(self, size: int):
        self.size, self.places, self.barrier = size, [None] * size, threading.Barrier(size, timeout=60)


class Thread(Ranks):
    """One rank. All its operations are done when they return."""

    def __init__(self, hub: Hub, rank: int):
        self.hub, self.size, self.rank = hub, hub.size, rank
        self.local_size, self.local_rank, self.sent = hub.size, rank, []

    def _all(self, own):
        self.hub.places[self.rank] = own
        self.hub.barrier.wait()
        found = list(self.hub.places)
        self.hub.barrier.wait()
        return found

    def _begin(self, steps):
        begun = Begun(steps)
        assert begun.advance(lambda request: True)
        return begun

    def wait(self, begun):
        assert all(each.done for each in begun)

    def _sum(self, part):
        part[...] = sum(self._all(part.copy()))
        return True

    def _sum_scatter(self, part, cut, own):
        own[...] = sum(each[cut[self.rank]] for each in self._all(part.copy()))
        return True

    def _exchange(self, part, cut, rows):
        self.sent.append(part.dtype)
        for row, each in zip(rows, self._all(part.copy()), strict=True):
            row[...] = each[cut[self.rank]]
        return True

    def _spread(self, part, cut):
        for s, each in zip(cut, self._all(part.copy()), strict=True):
            part[s] = each[s]
        return True

    def talk(self, message, local=False):
        return self._all(message)

    def collect(self, own, lengths):
        found = self._all(own.copy())
        assert [len(each) for each in found] == list(lengths)
        return None if self.rank else np.concatenate(found)

    def broadcast(self, array):
        array[...] = self._all(array.copy())[0]


def together(size: int, work: Callable) -> list:
    """work(group) by each of `size` ranks at the same time.   -> what they return; the first error is raised"""
    hub, found, errors = Hub(size), [None] * size, []

    def run(rank):
        threads.stay_single_threaded()
        try:
            found[rank] = work(Thread(hub, rank))
        except threading.BrokenBarrierError:
            pass
        except BaseException as error:
            errors.append(error)
            hub.barrier.abort()

    workers = [threading.Thread(target=run, args=[rank]) for rank in range(size)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return found
