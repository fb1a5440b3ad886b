"""A rank that is lost: killed, out of memory, its machine gone. The others would wait for it for ever.

Each rank watches the processes of the others on its machine. The launcher does so as well, and ends all ranks when one
of them is gone: within a tenth of a second with MPICH. The sentence must be out before.
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any

EVERY = 0.05  # seconds between two looks, where the system does not tell of itself
GRACE = 2.0  # seconds in which the rank that speaks must have spoken


class Watch:
    """A thread that ends all ranks, with one sentence, when a process is gone.

    group: has rank, size, say, abort. processes: {rank: process number} on this machine, this one's included.
    farewell: what to say beside which rank was lost; set it as soon as there is more to say.
    """

    def __init__(self, group: Any, processes: dict[int, int]):
        self.group, self.processes = group, processes
        self.farewell: Callable[[], str] = lambda: "It had not begun to train: run the same command again."
        self.ended = threading.Event()
        if os.name == "nt":  # there os.kill(number, 0) sends Ctrl-C
            return
        if len(processes) > 1 and not self.gone():  # else process numbers mean nothing to each other, as in containers
            threading.Thread(target=self._run, daemon=True, name="minast-watch").start()

    def gone(self) -> list[int]:
        """The ranks whose processes are no longer there."""
        return [rank for rank, number in self.processes.items() if not there(number)]

    def stop(self) -> None:
        """From now on a rank may be gone."""
        self.ended.set()

    def _run(self):
        with contextlib.ExitStack() as leaving:
            heard = self._ears(leaving)
            while not self.ended.is_set():
                heard()
                if not self.ended.is_set() and (lost := self.gone()):
                    self._end(lost)

    def _ears(self, leaving):
        """A function that returns when a process has ended, or after a while: at once on Linux, which has pidfd."""
        poll = select.poll() if hasattr(os, "pidfd_open") else None
        try:
            for rank, number in self.processes.items() if poll else ():
                if rank != self.group.rank:
                    ear = os.pidfd_open(number)
                    leaving.callback(os.close, ear)
                    poll.register(ear, select.POLLIN)
        except OSError:  # an older system, or a process that is gone already
            poll = None
        return (lambda: poll.poll(1000 * EVERY * 10)) if poll else (lambda: time.sleep(EVERY))

    def _end(self, lost):
        group = self.group
        speaker = min(rank for rank in self.processes if rank not in lost)
        if group.rank != speaker:
            time.sleep(GRACE)  # the speaker ends this process as well
            os._exit(2)
        which = f"process {lost[0] + 1} of {group.size}" if len(lost) == 1 else f"{len(lost)} of {group.size} processes"
        group.say(f"minast: {which} {'was' if len(lost) == 1 else 'were'} lost, and the run ends. {self.farewell()}")
        group.abort(2)


def there(number: int) -> bool:
    """Whether there is a process of this number, and it has not ended."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        with open(f"/proc/{number}/stat", "rb") as f:
            return f.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")  # ended, and its parent has not looked
    except (OSError, IndexError):
        return not os.path.isdir("/proc/self")
