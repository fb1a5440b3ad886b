"""Ctrl-C, SIGTERM and SIGHUP: all three stop a command in the same orderly way, and each has its exit status.

A signal that was ignored when the command began stays ignored: so `nohup` works, and a script's background jobs.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence

from .early import NUMBERS, leave

STATUSES = tuple(128 + number for number in NUMBERS)  # of commands that were stopped


class Stopped(KeyboardInterrupt):
    """What a signal raises in a command. `status`: the exit status that shells expect, 128 + the signal's number."""

    def __init__(self, number: int = signal.SIGINT):
        super().__init__()
        self.status = 128 + number


def status_of(error: KeyboardInterrupt) -> int:
    """The exit status of a command that was stopped: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP."""
    return getattr(error, "status", 128 + signal.SIGINT)


@contextlib.contextmanager
def handled(handler: Callable[[int, object], object]) -> Iterator[None]:
    """Within it, `handler(number, frame)` is called for the signals that are not ignored; then all is as before.

    Outside the main thread, where Python allows no handlers, nothing changes.
    """
    before = {}
    try:
        for number in NUMBERS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not set by Python, so not ours
                with contextlib.suppress(ValueError):
                    before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def raising(leave_at_second: bool = False) -> contextlib.AbstractContextManager:
    """Within it each of the signals raises `Stopped`.

    leave_at_second: a second one ends the process at once, also where the first is still being dealt with. What was
    being written is then removed at the next start (`files.remove_stale`).
    """
    heard = []

    def stop(number, frame):
        heard.append(number)
        if leave_at_second and len(heard) > 1:
            leave(number, frame)
        raise Stopped(number)

    return handled(stop)


def ignore(numbers: Sequence[int] = NUMBERS) -> None:
    """Ignore these, in a process that was started within `held_back`: its parent decides. Others are let through.

    To be called in the main thread.
    """
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Within it the signals wait; in processes that multiprocessing starts within it, until they call `ignore`.

    Windows has no such thing. Handlers that only take note are needed as well, since a signal to a process goes to any
    of its threads: BLAS has some.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # which otherwise the first process does, and lets the signals through
    heard = []
    try:
        with handled(lambda number, _: heard.append(number)):
            before = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
    finally:
        if heard:
            signal.raise_signal(heard[0])
