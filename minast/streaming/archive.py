"""All units of an archive, done by a pool and kept in the journal; a unit whose worker dies is tried again."""

from collections import Counter, deque
from collections.abc import Callable

from .journal import Journal
from .pools import Died
from .work import Unit

TRIES = 3  # deaths of workers until a unit is suspected to be their cause


def work(pool, journal: Journal, left: list[Unit], progress: Callable[[Unit, list[dict]], object]) -> None:
    """Do the units that are left of an archive.   progress: is told each unit's results, once they are in the journal

    A worker may be killed by chance, for want of memory, or by a recording that crashes a decoder; and its death takes
    units along that only waited for it. So a unit whose workers died TRIES times is suspected: its recordings are done
    at the end, each on its own while nothing else is, and one whose workers die even then gets an error as its result.
    Raises minast.Error for what concerns all units; the journal then has all that was done.
    """
    todo, suspects, deaths, running, alone = deque(left), deque(), Counter(), 0, False
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
        journal.add(unit.first, results)
        progress(unit, results)
