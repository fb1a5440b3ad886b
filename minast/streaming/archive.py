"""All units of an archive, done by a pool and kept in the journal; a unit whose worker dies is tried again."""

import os
from collections import Counter, deque
from collections.abc import Callable

from ..errors import Error
from ..text import visible
from .journal import Journal
from .pools import Died
from .remote import is_remote
from .work import Unit

FEW = 10  # recordings that may be gone with their folders at the end of an archive
TRIES = 3  # deaths of workers until a unit is suspected to be their cause


def work(pool, journal: Journal, left: list[Unit], progress: Callable[[Unit, list[dict]], object]) -> None:
    """Do the units that are left of an archive.   progress: is told each unit's results, once they are in the journal

    A worker may be killed by chance, for want of memory, or by a recording that crashes a decoder; and its death takes
    units along that only waited for it. So a unit whose workers died TRIES times is suspected: its recordings are done
    at the end, each on its own while nothing else is, and one whose workers die even then gets an error as its result.
    Raises minast.Error for what concerns all units; the journal then has all that was done.
    """
    todo, suspects, deaths, running, alone = deque(left), deque(), Counter(), 0, False
    away, turn, submitted = Away(journal, progress), 0, {}
    while todo or running or suspects:
        if not todo and not running:
            todo.append(suspects.popleft())
            deaths, alone = Counter(), True
        while todo and running < pool.room:
            turn, submitted[todo[0]] = turn + 1, turn
            pool.submit(todo.popleft())
            running += 1
        unit, results = pool.finished()
        running -= 1
        if isinstance(results, Died):
            deaths[unit] += results.times
            if deaths[unit] < TRIES:
                todo.appendleft(unit)
                continue
            if not alone:
                suspects.extend(Unit(unit.first + i, (name,)) for i, name in enumerate(unit.files))
                continue
            results = [{"error": f"whatever read it was killed, {deaths[unit]} times."}]
        away.add(unit, results, submitted.pop(unit), turn)
    away.end()


class Away:
    """Results of units some of whose recordings are gone, with their folders: perhaps a drive is away for a moment.

    They wait. What is begun later and is read says that it was no drive: then they are results like others. At the end
    they are left out of the journal, so that --resume does them again, unless they are FEW.
    """

    def __init__(self, journal: Journal, progress: Callable[[Unit, list[dict]], object]):
        self.journal, self.progress, self.waiting, self.since = journal, progress, [], 0

    def add(self, unit: Unit, results: list[dict], turn: int, now: int) -> None:
        """turn, now: the numbers of this unit and of the next one, in the order in which they are begun."""
        if gone(unit, results):
            self.waiting.append((unit, results))
            self.since = now
            return
        if turn >= self.since and any("error" not in each for each in results):
            self._keep_all()
        self._keep(unit, results)

    def end(self) -> None:
        """Raises minast.Error if more than FEW recordings are gone."""
        pairs = [pair for unit, results in self.waiting for pair in zip(unit.files, results, strict=True)]
        lost = [name for name, result in pairs if "error" in result]
        if len(lost) > FEW:
            raise Error(
                f"{len(lost)} recordings are not there any more, nor are their folders, such as {visible(lost[0])}: is "
                "the drive there? --resume goes on with them. If they were deleted, make an empty folder in that "
                "place, and they are listed as skipped."
            )
        self._keep_all()

    def _keep_all(self):
        for unit, results in self.waiting:
            self._keep(unit, results)
        self.waiting = []

    def _keep(self, unit, results):
        self.journal.add(unit.first, results)
        self.progress(unit, results)


def gone(unit: Unit, results: list[dict]) -> bool:
    """Whether some recording of a unit could not be read, and its folder is not there any more."""
    names = [name for name, each in zip(unit.files, results, strict=True) if "error" in each and not is_remote(name)]
    return any(not os.path.isdir(os.path.dirname(name) or ".") for name in names)
