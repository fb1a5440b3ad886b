"""A rank that is lost: killed, out of memory, its machine gone. The others would wait for it for ever.

Each rank looks a few times a second whether the processes of the others on its machine are still there. The launcher
watches the machines; it ends all ranks when one of them is gone, and a sentence must be out before.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

EVERY = 0.1  # seconds between two looks
GRACE = 2.0  # seconds in which the rank that speaks must have spoken


class Watch:
    """A thread that ends all ranks, with one sentence, when a process is gone.

    group: has rank, size, say, abort. processes: {rank: process number} on this machine, this one's included.
    farewell: what to say beside which rank was lost; set it as soon as there is more to say.
    """

    def __init__(self, group: Any, processes: dict[int, int]):
        self.group, self.processes = group, processes
        self.farewell: Callable[[], str] = lambda: "Nothing was saved yet: start again."
        self.ended = threading.Event()
        if len(processes) > 1 and not self.gone():  # else process numbers mean nothing to each other, as in containers
            threading.Thread(target=self._run, daemon=True, name="minast-watch").start()

    def gone(self) -> list[int]:
        """The ranks whose processes are no longer there."""
        return [rank for rank, number in self.processes.items() if not there(number)]

    def stop(self) -> None:
        """From now on a rank may be gone."""
        self.ended.set()

    def _run(self):
        while not self.ended.wait(EVERY):
            if lost := self.gone():
                self._end(lost)

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
    """Whether there is a process of this number."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
