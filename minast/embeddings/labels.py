"""A table of labels, brought onto the segments of an index.

Two kinds of table (CSV) are taken, and the first line tells which it is:

    file,labels            each segment of the file has the labels, a;b; also split, fold, group, as in a manifest
    file,start,end,label   a row an event, as scan writes them and a reviewed page does; also split, fold,
                           group, verdict

Rows whose verdict is wrong are left out: they do not say what is to be heard there.
A segment has an event's label if its centre lies within the event; an event that holds no centre gives its label to the
segment with which it shares most. Segments of no row are not labelled, which is not the same as having no label.
"""

import csv
import os
from typing import NamedTuple

import numpy as np

from ..datasets import table
from ..datasets.common import quoted
from ..datasets.labels import cleaned
from ..datasets.manifest import fold_in, split_in
from ..datasets.rows import Row
from ..errors import Error
from ..storage.tables import original
from ..text import visible
from .index import SEGMENT, Index

TIMED = ("file", "start", "end", "label")


class Entry(NamedTuple):
    """A row of the table."""

    row: Row
    start: float | None  # s; None: the whole file
    end: float | None


class Labelled(NamedTuple):
    """The labelled segments of an index.

    rows (n,): their numbers, rising. files (n,): of their recordings. y (n, K) bool. labels: the K names, sorted.
    split, group: of each recording that has labelled segments, by its number; fold likewise, where the table has them.
    parts: of a recording its labelled events, start and end in s. whole: labels are of whole files. unknown: files that
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


def read(path: str) -> tuple[list[Entry], bool, list[str]]:
    """The rows of a table.   -> entries, whether they are of whole files, notes. Raises minast.Error."""
    path = os.fspath(path)
    with _reading(path) as names:
        timed = {"start", "end"} <= set(names)
    if timed:
        entries, wrong = _timed(path)
        if wrong and not entries:
            raise Error(table.all_wrong(path, wrong))
        return entries, False, [table.left_out(wrong)] if wrong else []
    found = table.read(path)
    return [Entry(row, None, None) for row in found.rows], True, found.notes


class _reading:
    """The names of a table's columns; errors of what is inside as sentences about the file."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        try:
            self.file = open(self.path, newline="", encoding="utf-8-sig")
            self.reader = csv.reader(self.file)
            return [name.strip().lower() for name in next(self.reader, [])]
        except (OSError, ValueError, csv.Error) as error:
            raise self._sentence(error) from None

    def __exit__(self, kind, error, _):
        self.file.close()
        if isinstance(error, (OSError, UnicodeDecodeError, csv.Error)):
            raise self._sentence(error) from None

    def _sentence(self, error):
        why = getattr(error, "strerror", None) or visible(str(error), 200)
        return Error(f"{visible(os.fspath(self.path))}: this table of labels cannot be read: {why}.")


def _timed(path) -> tuple[list[Entry], int]:
    """-> the events, the number of rows that were judged wrong"""
    reading, entries, wrong = _reading(path), [], 0
    with reading as names:
        names = ["label" if name == "labels" and "label" not in names else name for name in names]
        if lacking := [name for name in TIMED if name not in names]:
            raise Error(
                f"{visible(path)}: the table has no column {lacking[0]!r}: events need file, start, end and label, "
                "whole files need file and labels."
            )
        places = {name: names.index(name) for name in (*TIMED, "split", "fold", "group") if name in names}
        verdict = names.index("verdict") if "verdict" in names else None
        for cells in reading.reader:
            if not cells:
                continue
            line = reading.reader.line_num
            cell = {name: original(cells[i]).strip() if i < len(cells) else "" for name, i in places.items()}
            where = table.place(path, line)
            if verdict is not None and not table.kept(path, line, cells, verdict):
                wrong += 1
                continue
            if not cell["file"]:
                raise Error(f"{where}: the column 'file' is empty.")
            start, end = (_seconds(where, name, cell[name]) for name in ("start", "end"))
            if end < start:
                raise Error(f"{where}: the event ends at {end:g} s, before it begins at {start:g} s.")
            labels = tuple(filter(None, (name.strip() for name in cell["label"].split(";"))))
            row = Row(line, cell["file"], labels, cell.get("split", ""), cell.get("fold", ""), cell.get("group", ""))
            entries.append(Entry(row, start, end))
    return entries, wrong


def _seconds(where, name, text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise Error(f"{where}: the {name} is {quoted(text, 40)}: it must be a number of seconds, 0 or more.")
    return value


def onto(index: Index, path: str | os.PathLike) -> Labelled:
    """The labels in a table on the segments of an index.

    Raises minast.Error for a table that is none, and if it names no recording of the index.
    """
    path = os.fspath(path)
    entries, whole, notes = read(path)
    segments = index.segment_table()
    firsts = np.searchsorted(segments["file"], np.arange(len(index.files) + 1))
    find, names = Finder(index, os.path.dirname(os.path.abspath(path))), {}
    known, unknown, outside, empty = [], {}, 0, 0
    split, fold, group, parts = {}, {}, {}, {}
    for entry in entries:
        row = entry.row
        number = find(row.file)
        if number is None:
            unknown[row.file] = None
        elif not row.labels and not whole:
            empty += 1
        else:
            own = [names.setdefault(cleaned(label, table.place(path, row.line)), len(names)) for label in row.labels]
            chosen = _segments_of(entry, segments[firsts[number] : firsts[number + 1]]) + firsts[number]
            outside += not len(chosen)
            known.append((chosen, own))
            split[number], group[number] = split_in(path, row, split.get(number, "")), row.group
            if not whole:
                parts.setdefault(number, []).append((entry.start, entry.end))
            if (of_row := fold_in(path, row)) is not None:
                fold[number] = of_row
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
    notes = notes + find.notes()
    files = segments["file"][rows]
    return Labelled(rows, files, y, order, split, fold, group, parts, whole, list(unknown), outside, empty, notes)


def _segments_of(entry: Entry, segments: np.ndarray) -> np.ndarray:
    """The segments of a recording that get a row's labels.   segments (n,) of SEGMENT -> (m,) places"""
    assert segments.dtype == SEGMENT
    if entry.start is None:
        return np.arange(len(segments))
    centre = (segments["start"] + segments["end"]) / 2
    inside = np.flatnonzero((centre >= entry.start) & (centre < entry.end))
    if len(inside):
        return inside
    shared = np.minimum(segments["end"], entry.end) - np.maximum(segments["start"], entry.start)
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
