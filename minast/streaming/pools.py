"""Who does the units: this process, or several on this machine. `cluster` has the third kind.

A pool has `room`, the number of units that it wants to have at a time; `submit(unit)`; and `finished()`, which waits
for any of them.   -> (unit, its results), or (unit, Died) if the process that did it was killed.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing import connection
from typing import NamedTuple

from .. import threads
from ..console import signals
from ..errors import Error, reason
from .work import Common, Unit

STARTS = 3  # processes in a row that may be killed before they have a model


class Died(NamedTuple):
    """Instead of results: the process that did the unit was killed."""

    times: int  # how often that happened


class OneProcess:
    """Units are done here, one after another. report: see `Worker.do`; it is called with the unit in front."""

    room = 1

    def __init__(self, settings: Common, report: Callable):
        self.worker, self.report, self.waiting = settings.worker(), report, deque()

    def submit(self, unit: Unit) -> None:
        """Put it at the end of the queue."""
        self.waiting.append(unit)

    def finished(self) -> tuple[Unit, list[dict]]:
        """Do the next one."""
        unit = self.waiting.popleft()
        return unit, self.worker.do(unit.files, lambda *where: self.report(unit, *where))

    def close(self) -> None:
        """Nothing is left behind."""


class Processes:
    """`count` processes with a model each, which share the threads of this one. One that is killed is replaced."""

    def __init__(self, settings: Common, report: Callable, count: int):
        self.settings, self.report, self.room = settings, report, count
        self.threads = max(1, threads.count() // count)
        self.stillborn = 0  # processes in a row that were killed before they could begin
        self.workers = []
        try:
            for _ in range(count):
                self.workers.append(self._started())
        except BaseException:
            self.close()
            raise

    def submit(self, unit: Unit) -> None:
        """Give it to a process that has nothing to do."""
        worker = next(worker for worker in self.workers if worker.unit is None)
        worker.unit = unit
        with contextlib.suppress(OSError):  # it has died: `finished` will notice
            worker.pipe.send(unit)

    def finished(self) -> tuple[Unit, list[dict] | Died]:
        """Wait for any. Raises minast.Error if a process cannot work at all."""
        while True:
            pipes = {worker.pipe: worker for worker in self.workers if worker.unit is not None}
            for pipe in connection.wait(list(pipes)):
                worker = pipes[pipe]
                try:
                    kind, value = pipe.recv()
                except (EOFError, OSError):
                    unit = worker.unit
                    self._replace(worker)
                    if worker.ready:
                        return unit, Died(1)
                    self.submit(unit)  # no recording is to blame
                    continue
                if kind == "ready":
                    worker.ready, self.stillborn = True, 0
                elif kind == "report":
                    self.report(worker.unit, *value)
                elif kind == "error":
                    raise Error(value)
                else:
                    unit, worker.unit = worker.unit, None
                    return unit, value

    def close(self) -> None:
        """End all processes now."""
        for worker in self.workers:
            self._stop(worker)

    def _started(self):
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, self.settings, self.threads), daemon=True)
        worker = _Worker(process, here)
        try:
            with signals.held_back():  # a Ctrl-C while it begins
                process.start()
        except BaseException:
            if process.pid:
                self._stop(worker)
            raise
        there.close()  # so that the pipe ends when the process does
        return worker

    def _replace(self, worker):
        """Put another process in the place of one that has died. Raises minast.Error where none can even begin."""
        self._stop(worker)
        self.stillborn += not worker.ready
        if self.stillborn > STARTS:
            raise Error(
                f"{self.stillborn} processes were killed before they could begin, most likely for want of memory: use "
                "fewer --workers, and go on with --resume."
            )
        self.workers[self.workers.index(worker)] = self._started()

    @staticmethod
    def _stop(worker):
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


class _Worker:
    """A process, the pipe to it, the unit that it does, and whether it has a model yet."""

    def __init__(self, process, pipe):
        self.process, self.pipe, self.unit, self.ready = process, pipe, None, False


def _serve(pipe, settings, count):
    """The life of a process: units in, results out, until its parent is gone."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signals.ignore([signal.SIGINT])  # Ctrl-C goes to all processes of a terminal: the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threads.set_count(count)
    with contextlib.suppress(OSError):
        try:
            worker = settings.worker()
            pipe.send(("ready", None))
            while True:
                unit = pipe.recv()
                pipe.send(("done", worker.do(unit.files, lambda *where: pipe.send(("report", where)))))
        except EOFError:
            return
        except Error as error:
            pipe.send(("error", str(error)))
        except MemoryError as error:
            pipe.send(("error", f"out of memory ({reason(error)}): use fewer --workers or a smaller --batch."))


def _end_with_parent():
    """A parent that was killed cannot end its children, and a long recording would go on for hours."""
    multiprocessing.parent_process().join()
    os._exit(1)
