"""What every row of the benchmark is: one line of a table."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..errors import Error


class Skip(Exception):
    """A row, or one side of it, cannot be measured here; the message says why."""


@dataclass
class Row:
    """One line of the table. ours, theirs: medians, in `unit`; ratio: the median of theirs / ours over the rounds.

    name: what was done; against: what did it for `theirs`; goal, note: text for people.
    """

    name: str
    ours: float
    unit: str = "s"
    against: str = ""
    theirs: float | None = None
    ratio: float | None = None
    goal: str = ""
    note: str = ""


def each(makers: Iterable[tuple[str, Callable[[], Row]]]) -> Iterator[Row]:
    """The row of every maker, as it comes. One that fails costs its own row: at the end an Error names all that did.

    makers: (what it measures, a function that measures it). Raises Skip as soon as one does.
    """
    failed = []
    for what, make in makers:
        try:
            yield make()
        except Skip:
            raise
        except Exception as error:  # of CUDA, of a library, ours: whatever it is, the other rows are worth having
            failed.append(reason(error) if isinstance(error, Error) else f"{what}: {reason(error)}")
    if failed:
        raise Error("; ".join(failed))


def reason(error: Exception) -> str:
    """What went wrong, on one line: our own sentence, or another library's class and the first line of its message."""
    said = (str(error).strip().splitlines() or [""])[0][:160]
    return str(error) if isinstance(error, Error) else f"{type(error).__name__}: {said}".removesuffix(": ")
