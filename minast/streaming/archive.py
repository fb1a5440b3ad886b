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
    todo, suspects, deaths, running, alone, lost = deque(left), deque(), Counter(), 0, False, []
    while todo or running or suspects:
        if not todo and not running:
            todo.append(suspects.popleft())
            deaths, alone = Counter(), True
        while todo and running < pool.room:
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
        lost.append((unit, results))
        if gone(unit, results):
            continue  # a drive that is away? If something comes after, it is there
        for done in lost:
            journal.add(done[0].first, done[1])
            progress(*done)
        lost = []
    if (count := sum(len(unit.files) for unit, _ in lost)) > FEW:
        raise Error(
            f"{count} recordings are not there any more, nor are their folders, such as "
            f"{visible(lost[0][0].files[0])}: is the drive there? What was done is kept, and --resume goes on."
        )
    for unit, results in lost:
        journal.add(unit.first, results)
        progress(unit, results)


def gone(unit: Unit, results: list[dict]) -> bool:
    """Whether none of a unit's recordings could be read, and their folders are not there any more."""
    folders = {None if is_remote(name) else os.path.dirname(name) or "." for name in unit.files}
    return all("error" in each for each in results) and not any(each is None or os.path.isdir(each) for each in folders)
