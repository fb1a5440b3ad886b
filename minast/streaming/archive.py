"""All units of an archive, done by a pool and kept in the journal; a unit whose worker dies is tried again."""

import os
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

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
    """Results of recordings that are gone, together with their folders: perhaps a drive is away for a moment.

    They wait, and all others are kept. A recording nearby that is begun later and is read says that it was no drive:
    then they are results like others. At the end they are left out of the journal, so that --resume does them again,
    unless they are FEW.
    """

    def __init__(self, journal: Journal, progress: Callable[[Unit, list[dict]], object]):
        self.journal, self.progress, self.waiting = journal, progress, []

    def add(self, unit: Unit, results: list[dict], turn: int, now: int) -> None:
        """turn, now: the numbers of this unit and of the next one, in the order in which they are begun."""
        lost = [i for i, name in enumerate(unit.files) if gone(name, results[i])]
        local = [i for i, name in enumerate(unit.files) if not is_remote(name)]
        read = [os.path.abspath(unit.files[i]) for i in local if "error" not in results[i]]
        for each in [*self.waiting]:
            if each.since <= turn and any(name.startswith(each.near) for name in read):
                self.waiting.remove(each)
                self._keep(each.unit, each.results)
        if not lost:
            self._keep(unit, results)
            return
        for i, name in enumerate(unit.files):
            alone = Unit(unit.first + i, (name,))
            if i in lost:
                self.waiting.append(Waiting(alone, [results[i]], now, there(name)))
            else:
                self._keep(alone, [results[i]])

    def end(self) -> None:
        """Raises minast.Error if more than FEW recordings are gone."""
        if len(self.waiting) > FEW:
            first = visible(self.waiting[0].unit.files[0])
            raise Error(
                f"{len(self.waiting)} recordings are not there any more, nor are their folders, such as {first}: is "
                "the drive there? --resume goes on with them. If they were deleted, make an empty folder in that "
                "place, and they are listed as skipped."
            )
        for each in self.waiting:
            self._keep(each.unit, each.results)

    def _keep(self, unit, results):
        self.journal.add(unit.first, results)
        self.progress(unit, results)


class Waiting(NamedTuple):
    """A recording that is gone. since: the number of the next unit to be begun. near: the nearest folder left."""

    unit: Unit
    results: list[dict]
    since: int
    near: str


def gone(name: str, result: dict) -> bool:
    """Whether a recording could not be read, and its folder is not there any more."""
    return "error" in result and not is_remote(name) and not os.path.isdir(os.path.dirname(name) or ".")


def there(name: str) -> str:
    """The nearest folder above a path that is there, with a separator at its end."""
    folder = os.path.dirname(os.path.abspath(name))
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return os.path.join(folder, "")
