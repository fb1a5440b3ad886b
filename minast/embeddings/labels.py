"""A table of labels, brought onto the segments of an index.

Two kinds of table (CSV) are taken, and the first line tells which it is:

    file,labels            each segment of the file has the labels, a;b; also split, fold, group, as in a manifest
    file,start,end,label   a row an event, as scan writes them and a reviewed page does; also split, fold,
                           group, verdict

It is read as `train` reads it (datasets/table.py): other names of columns, tabs and semicolons. A row without start and
end is of the whole file. Rows whose verdict is wrong are left out: they do not say what is to be heard there.
A segment has an event's label if its centre lies within the event; an event that holds no centre gives its label to the
segment with which it shares most. Segments of no row are not labelled, which is not the same as having no label.
"""

import os
from typing import NamedTuple

import numpy as np

from ..datasets import table
from ..datasets.labels import cleaned
from ..datasets.manifest import fold_in, split_in
from ..datasets.rows import Row
from ..errors import Error
from ..text import visible
from .index import SEGMENT, Index


class Labelled(NamedTuple):
    """The labelled segments of an index.

    rows (n,): their numbers, rising. files (n,): of their recordings. y (n, K) bool. labels: the K names, sorted.
    split, fold, group: of each recording that has labelled segments, by its number, where the table has them. parts: of
    a recording its labelled events, start and end in s. whole: all labels are of whole files. unknown: files that
    the table names and the index lacks, in its order. outside: events beyond their file's end. empty: rows without a
    label in a table of events.
    """

    rows: np.ndarray
    files: np.ndarray
    y: np.ndarray
    labels: list[str]
    split: dict[int, str]
    fold: dict[int, int]
    group: dict[int, str]
    parts: dict[int, list[tuple[float, float]]]
    whole: bool
    unknown: list[str]
    outside: int
    empty: int
    notes: list[str]

    @property
    def several(self) -> bool:
        """Whether some segment has another number of labels than one."""
        return bool((self.y.sum(axis=1) != 1).any())


def onto(index: Index, path: str | os.PathLike) -> Labelled:
    """The labels in a table on the segments of an index.

    Raises minast.Error for a table that is none, for rows of one recording with different splits or folds, and if it
    names no recording of the index.
    """
    path = os.fspath(path)
    found = table.read(path)
    whole = all(row.part is None for row in found.rows)
    segments = index.segment_table()
    firsts = np.searchsorted(segments["file"], np.arange(len(index.files) + 1))
    find, names = Finder(index, os.path.dirname(os.path.abspath(path))), {}
    known, unknown, outside, empty = [], {}, 0, 0
    split, fold, groups, parts = {}, {}, {}, {}
    for row in found.rows:
        number = find(row.file)
        if number is None:
            unknown[row.file] = None
        elif row.part and not row.labels:
            empty += 1
        else:
            own = [names.setdefault(cleaned(label, table.place(path, row.line)), len(names)) for label in row.labels]
            chosen = _segments_of(row.part, segments[firsts[number] : firsts[number + 1]]) + firsts[number]
            outside += not len(chosen)
            known.append((chosen, own))
            _agree(split, number, split_in(path, row, "") or None, "split", path, row)
            _agree(fold, number, fold_in(path, row), "fold", path, row)
            groups.setdefault(number, []).extend(filter(None, [row.group]))
            if row.part:
                parts.setdefault(number, []).append(row.part)
    if not known:
        some = next(iter(unknown), "")
        why = f"it names {visible(some, 120)}" if some else "no row has a label"
        raise Error(f"{visible(path)}: this table labels no recording of {visible(index.path)}: {why}.")
    rows = np.unique(np.concatenate([chosen for chosen, _ in known]))
    order = sorted(names)
    column = {names[name]: k for k, name in enumerate(order)}
    y = np.zeros((len(rows), len(order)), bool)
    for chosen, own in known:
        y[np.searchsorted(rows, chosen)[:, None], [column[k] for k in own]] = True
    notes, files, group = found.notes + find.notes(), segments["file"][rows], _joined(groups)
    return Labelled(rows, files, y, order, split, fold, group, parts, whole, list(unknown), outside, empty, notes)


def _agree(known: dict, number: int, value: object, kind: str, path: str, row: Row) -> None:
    """known[number] = value, unless that is None. Raises minast.Error where an earlier row said something else."""
    if value is not None and known.setdefault(number, value) != value:
        raise Error(
            f"{table.place(path, row.line)}: {visible(row.file, 120)} is in {kind} {value} here and in {known[number]} "
            "above: a recording is held out as a whole, so its rows must agree."
        )


def _joined(groups: dict[int, list[str]]) -> dict[int, str]:
    """One group for each recording that has any: those that share a recording, directly or through others, are one."""
    above = {}

    def top(name):
        while above.setdefault(name, name) != name:
            name = above[name]
        return name

    for first, *others in filter(None, groups.values()):
        for name in others:
            above[top(name)] = top(first)
    return {number: top(names[0]) for number, names in groups.items() if names}


def _segments_of(part: tuple[float, float] | None, segments: np.ndarray) -> np.ndarray:
    """The segments of a recording that get a row's labels.   part: in s; segments (n,) of SEGMENT -> (m,) places"""
    assert segments.dtype == SEGMENT
    if part is None:
        return np.arange(len(segments))
    start, end = part
    centre = (segments["start"] + segments["end"]) / 2
    inside = np.flatnonzero((centre >= start) & (centre < end))
    if len(inside):
        return inside
    shared = np.minimum(segments["end"], end) - np.maximum(segments["start"], start)
    best = int(shared.argmax())
    return np.array([best]) if shared[best] > 0 else np.zeros(0, int)


class Finder:
    """Finds the recordings of an index that a table names: as it names them, as paths from here or from the table's
    folder, or by their last part where only one recording has that."""

    def __init__(self, index: Index, base: str):
        self.base, self.moved = base, []
        self.names = {name: i for i, name in enumerate(index.files)}
        self.paths = {os.path.normpath(index.path_of(name)): i for i, name in enumerate(index.files)}
        self.last = {}
        for i, name in enumerate(index.files):
            last = os.path.basename(name)
            self.last[last] = None if last in self.last else i

    def __call__(self, file: str) -> int | None:
        """The number of a recording; None if it is not there."""
        if file in self.names:
            return self.names[file]
        for path in (os.path.abspath(file), os.path.normpath(os.path.join(self.base, file))):
            if path in self.paths:
                return self.paths[path]
        number = self.last.get(os.path.basename(file))
        if number is not None:
            self.moved.append(file)
        return number

    def notes(self) -> list[str]:
        """What was assumed."""
        if not self.moved:
            return []
        some = visible(self.moved[0], 120)
        return [
            f"{len(set(self.moved))} files lie elsewhere than when the index was made, and were found by their names "
            f"alone, such as {some}"
        ]
