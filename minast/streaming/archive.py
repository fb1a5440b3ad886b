"""All units of an archive, done by a pool and kept in the journal; a unit whose worker dies is tried again."""

from collections import Counter, deque
from collections.abc import Callable

from .journal import Journal
from .pools import Died
from .work import Unit

TRIES = 3  # deaths of workers until a unit counts as their cause


def scan(pool, journal: Journal, left: list[Unit], progress: Callable[[Unit, list[dict]], object]) -> None:
    """Do the units that are left of an archive.   progress: is told each unit's results, once they are in the journal

    If the workers that do a unit are killed TRIES times, by a decoder that crashes or for want of memory, its
    recordings are tried one by one, and the one that kills workers again gets an error as its result. Raises
    minast.Error for what concerns all units; the journal then has all that was done.
    """
    todo, deaths, running = deque(left), Counter(), 0
    while todo or running:
        while todo and running < pool.room:
            pool.submit(todo.popleft())
            running += 1
        unit, results = pool.finished()
        running -= 1
        if isinstance(results, Died):
            name = unit.first, len(unit.files)
            deaths[name] += results.times
            if deaths[name] < TRIES:
                todo.appendleft(unit)
                continue
            if len(unit.files) > 1:
                todo.extendleft(reversed([Unit(unit.first + i, (file,)) for i, file in enumerate(unit.files)]))
                continue
            results = [{"error": f"the process that read it was killed {deaths[name]} times."}]
        journal.add(unit.first, results)
        progress(unit, results)
