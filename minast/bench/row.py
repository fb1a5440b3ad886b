"""What every row of the benchmark is: one line of a table."""

from dataclasses import dataclass


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
