"""The lines of a table, in arrays: what many of them have in common is stored once."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .ragged import Texts

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table."""

    line: int
    file: str
    labels: tuple[str, ...]  # as they are written
    split: str = ""
    fold: str = ""
    group: str = ""
    part: tuple[float, float] | None = None  # start and end in s


class Rows(Sequence):
    """A sequence of `Row`."""

    def __init__(self):
        self._lines, self._files, self._kinds, self._groups = array("q"), Texts(), Alike(), Alike()
        self._parts = array("d")  # start and end; as long as no row has any, nothing

    def append(
        self,
        line: int,
        file: str,
        labels: str,
        split: str,
        fold: str,
        group: str,
        part: tuple[float, float] | None = None,
    ) -> None:
        """Add a row.   labels: a;b, as a cell has them. part: start and end in s, None for a whole file"""
        if part and not self._parts:
            self._parts.extend([NAN, NAN] * len(self))
        if part or self._parts:
            self._parts.extend(part or (NAN, NAN))
        self._lines.append(line)
        self._files.append(file)
        self._kinds.append((labels, split, fold))
        self._groups.append(group)

    @property
    def parted(self) -> bool:
        """Whether some row is a part of its file."""
        return bool(self._parts)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, i):
        """The row at a place, or the list of those in a slice."""
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        labels, split, fold = self._kinds[i]
        names = tuple(name.strip() for name in labels.split(";") if name.strip())
        i = range(len(self))[i]
        part = tuple(self._parts[2 * i : 2 * i + 2])
        part = part if part and part[0] == part[0] else None
        return Row(self._lines[i], self._files[i], names, split, fold, self._groups[i], part)

    def kinds(self) -> Iterator[Row]:
        """The first row of each kind: rows of a kind have the same labels, split and fold."""
        return map(self.__getitem__, self._kinds.firsts)


class Alike(Sequence):
    """Values of which many are alike, each stored once. `firsts`: where each was first."""

    def __init__(self):
        self._places, self._values, self._known, self.firsts = array("i"), [], {}, array("i")

    def append(self, value) -> None:
        """Add a value at the end."""
        place = self._known.setdefault(value, len(self._values))
        if place == len(self._values):
            self._values.append(value)
            self.firsts.append(len(self._places))
        self._places.append(place)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: int):
        return self._values[self._places[i]]
