"""Tables of clips: a CSV file with columns for the file, its labels and, optionally, its split or fold.

Columns start and end, in seconds, make each row a part of its file. Rows whose column verdict, as a scan's page writes
it, says wrong are left out.

The columns may have the names that public data sets use. Files are looked for as they are written, then with Windows'
backslashes turned, then below the table's folder, since tables move: what was done is noted. The apostrophe that
storage/tables.py puts before cells that spreadsheets would run, such as '-x.wav, is taken away.
"""

import csv
import math
import ntpath
import os
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property

from ..errors import Error
from ..storage.tables import original
from ..text import counted, visible
from .common import named, quoted
from .rows import Rows
from .tree import Folder, by_name, scan

FILES = ("file", "filename", "file_name", "path", "filepath", "file_path", "fname", "slice_file_name")
FILES += ("audio", "audio_file", "audio_path", "wav", "clip")
LABELS = ("labels", "label", "class", "classes", "category", "class_name", "classname", "tags")
SPLITS = ("split", "set", "subset", "partition")
FOLDS = ("fold",)
GROUPS = ("group", "speaker", "recording", "site")  # the first that is there; "recording" may be the file instead
TIMES = ("start", "end", "onset", "offset", "begin", "duration")
TIMES += ("start_time", "end_time", "start_seconds", "end_seconds")
PART = ("start", "end")  # seconds, of a part of the file
CUT = ("slice_file_name",)  # columns of files that were cut already: start and end are those in something else
EVENTS = ("file", "start", "end", "label", "verdict", "heard", "score")  # as a page, search and probe write them
VERDICTS = {"": True, "right": True, "relabelled": True, "wrong": False}  # whether the row is a clip


@dataclass
class Table:
    """The rows of a table, and how its columns were understood."""

    path: str
    rows: Rows = field(repr=False)
    notes: list[str] = field(default_factory=list)


def same_place(a: str, b: str) -> bool:
    """Whether two spellings of a path in a table may mean one file: one is the other, or its end."""
    a, b = sorted((_plain(a), _plain(b)), key=len)
    return b.endswith(a)


def _plain(file):
    """A path with "/" before each part, as systems that know no case and one kind of slash compare it."""
    parts = ntpath.splitdrive(file)[1].replace("\\", "/").split("/")
    return unicodedata.normalize("NFC", "".join(f"/{part}" for part in parts if part not in ("", "."))).lower()


class NoRows(Error):
    """A table without a row that names a clip."""


def names_clips(path: str) -> bool:
    """Whether the first line of a file has columns for files and labels, whatever is wrong with the rest."""
    try:
        with open(path, newline="", encoding="latin-1") as f:
            start = f.read(4096).removeprefix("\xef\xbb\xbf")
    except OSError:
        return False
    start = first_line(start)
    names = {name.strip().strip('"').lower() for name in start.split(max(",\t;", key=start.count))}
    return bool(names & {*FILES, "recording"}) and bool(names & {*LABELS})


def first_line(text: str) -> str:
    """Up to the first end of a line, of whatever system."""
    return re.split(r"[\r\n]", text, maxsplit=1)[0]


def read(path: str) -> Table:
    """The rows of a table. Raises minast.Error for what is no table, and for columns that are missing or unclear."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            start = first_line(f.read(4096))
            f.seek(0)
            delimiter = max(",\t;", key=start.count) if not path.lower().endswith(".tsv") else "\t"
            reader = csv.reader(f, delimiter=delimiter)
            names = [name.strip().lower() for name in next(reader, [])]
            if short := names == [*EVENTS[:4]]:  # rows of scan, search, probe and pages can be added
                names = [*EVENTS]
            columns, notes = _columns(path, names)
            places = {kind: names.index(name) for kind, name in columns.items() if name}
            rows, escaped, wrong = Rows(), 0, 0
            times, verdict = _own(names, columns), names.index("verdict") if "verdict" in names else None
            for cells in reader:
                if cells:
                    if short and len(cells) == 5 and is_number(cells[4]):  # scan's score
                        del cells[4]
                    if verdict is not None and not kept(path, reader.line_num, cells, verdict):
                        wrong += 1
                        continue
                    plain = _cells(path, reader.line_num, cells, names, places)
                    part = _part(path, reader.line_num, cells, times) if times else None
                    rows.append(reader.line_num, *(plain.get(kind, "") for kind in columns), part)
                    escaped += any(cell.startswith("'") and cell != original(cell) for cell in cells)
    except UnicodeDecodeError as error:
        raise Error(f"{visible(path)}: this cannot be read as a CSV manifest ({error}).") from None
    except csv.Error as error:
        raise Error(f"{visible(path)}: this cannot be read as a CSV manifest ({visible(str(error), 200)}).") from None
    except OSError as error:
        raise Error(f"{visible(path)}: this cannot be read: {error.strerror or error}.") from None
    if not rows and wrong:
        raise NoRows(all_wrong(path, wrong))
    if wrong:
        notes.append(left_out(wrong))
    if not rows:
        raise NoRows(f"{visible(path)}: the manifest names no files.")
    labels = [row.labels for row in rows.kinds()]
    if any("," in name for own in labels for name in own) and not any(len(own) > 1 for own in labels):
        notes.append("some labels contain commas, which are part of the name: several labels are written a;b")
    if escaped:
        lines = counted(escaped, "line has", "lines have")
        notes.append(f"{lines} an apostrophe before = + - or @, as spreadsheets need it: it is no part of the name")
    if delimiter != "," and not path.lower().endswith(".tsv"):
        notes.append(f"the columns are separated by {'tabs' if delimiter == chr(9) else 'semicolons'}")
    return Table(path, rows, notes)


def _columns(path, names):
    """-> {"file": column, "labels": ..., "split": ... or None, "fold": ..., "group": ...}, notes"""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Error(f"{visible(path)}: the column {quoted(twice)} is there twice: rename one.")
    columns, notes, renamed = {}, [], {}
    files = FILES if any(name in names for name in FILES) else ("recording",)
    kinds = (("file", files, True), ("labels", LABELS, True), ("split", SPLITS, False), ("fold", FOLDS, False))
    for kind, known, needed in kinds:
        found = [name for name in known if name in names]
        if kind == "labels" and found[0:1] == ["label"] and _own(names, columns):
            found = ["label"]  # as scan writes events
        if found[:1] != [kind] and len(found) > 1:  # minast's own name comes first
            raise Error(
                f"{visible(path)}: the columns {named(found)} could all hold the {kind}: call the right one {kind!r}."
            )
        if needed and not found:
            raise Error(
                f"{visible(path)}: the manifest has no column {kind!r}; its first line names "
                f"{named(names, 10) or 'nothing'}, it must name file and labels, and may name split."
            )
        columns[kind] = found[0] if found else None
        if found and found[0] != kind:
            renamed[found[0]] = kind
    if _own(names, columns) and columns["file"] == "file":
        renamed.pop("label", None)
    groups = [name for name in GROUPS if name in names and name != columns["file"]]
    columns["group"] = groups[0] if groups else None
    if groups:
        rest = f", not {named(groups[1:])}" if groups[1:] else ""
        notes.append(f"clips with the same {groups[0]!r} are one group, which a drawn split keeps together{rest}")
    if renamed:
        column = "column {} is" if len(renamed) == 1 else "columns {} are"
        notes.append(f"the {column.format(named([*renamed]))} read as {named([*renamed.values()])}")
    if columns["split"] and columns["fold"]:
        notes.append(f"the column {columns['fold']!r} is not used: the splits are in {columns['split']!r}")
        columns["fold"] = None
    if parts := [name for name in names if name in TIMES and not (name in PART and _own(names, columns))]:
        notes.append(f"the columns {named(parts)} are not used: each file is one clip, from its beginning to its end")
    if "labels" in names and (others := [name for name in LABELS[1:] if name in names]):
        notes.append(f"the labels are in the column 'labels': not used is {named(others)}")
    return columns, notes


def _own(names, columns):
    """The places of the columns start and end, if they say which part of its file a clip is; else None"""
    return None if columns["file"] in CUT or any(n not in names for n in PART) else [names.index(n) for n in PART]


def _part(path, line, cells, places):
    """-> (start, end) in s; None for a row that has neither, which is the whole file"""
    start, end = (cells[i].strip() if i < len(cells) else "" for i in places)
    if not start and not end:
        return None
    try:
        found = float(start), float(end)
    except ValueError:
        found = math.nan, math.nan
    if not 0 <= found[0] < found[1] < math.inf:
        raise Error(
            f"{place(path, line)}: start is {quoted(start, 40)} and end is {quoted(end, 40)}: they must be seconds, "
            "from 0 on and the start before the end, or both empty for the whole file."
        )
    return found


def is_number(text: str) -> bool:
    """Whether a cell is a number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def kept(path: str, line: int, cells: list[str], i: int) -> bool:
    """Whether a row is a clip, by its verdict, which is cell i. Raises minast.Error for a verdict that is none."""
    said = cells[i].strip().lower() if i < len(cells) else ""
    if said not in VERDICTS:
        raise Error(
            f"{place(path, line)}: the verdict is {quoted(said, 40)}: it must be right, relabelled or wrong, or empty."
        )
    return VERDICTS[said]


def left_out(wrong: int) -> str:
    """How many rows were judged wrong: a note."""
    return f"{counted(wrong, 'row')} with the verdict 'wrong' {'is' if wrong == 1 else 'are'} left out"


def all_wrong(path: str, wrong: int) -> str:
    """That no row is left: an error."""
    return f"{visible(path)}: the verdict on all {wrong} rows is wrong: there is nothing to learn from."


def place(path: str, line: int) -> str:
    """Where a sentence is about: "clips.csv, line 7"."""
    return f"{visible(path)}, line {line}"


def _cells(path, line, cells, names, places):
    """-> {"file": text, "labels": ...} of a line; cells that are missing at its end are empty"""
    if len(cells) > len(names):
        raise Error(
            f"{place(path, line)}: there are more cells than columns ({quoted(cells[len(names)], 80)}); separate "
            "labels by semicolons."
        )
    found = {kind: original(cells[i]).strip() if i < len(cells) else "" for kind, i in places.items()}
    if not found["file"]:
        raise Error(f"{place(path, line)}: the column {names[places['file']]!r} is empty.")
    return found


class Finder:
    """Finds the files that a table names.

    base: the folder that they are relative to. top: the folder, scanned, in which a file is looked for by its name
    if it is not where the table says; by default that is `base`.
    """

    def __init__(self, base: str, top: Folder | None = None):
        self.base, self.top = base, top
        self.elsewhere = {}  # {as written: path} of files found by the end of their path, or their name, alone

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """The sounds by file name: made when the first file is not where the table says."""
        return by_name(self.top or scan(self.base, report=lambda error: None))

    def __call__(self, file: str) -> str | None:
        """The path of the file, or None. Raises minast.Error for a name that several files have."""
        forms = ("NFC", "NFD") if not file.isascii() else ()
        for form in (file, *(unicodedata.normalize(form, file) for form in forms)):
            if found := self._here(form):
                return found
        found = self._moved(file)
        if found:
            self.elsewhere[file] = found
        return found

    def _here(self, file):
        for form in dict.fromkeys((file, file.replace("\\", "/"))):
            path = os.path.join(self.base, form)
            if "\0" not in path and os.path.isfile(path):
                return path
        return None

    def _moved(self, file):
        """By the longest end of its path that is below the base, then by its name."""
        parts = [part for part in ntpath.splitdrive(file)[1].replace("\\", "/").split("/") if part not in ("", ".")]
        if ".." in parts or not parts:
            return None
        for i in range(1, len(parts)):
            if found := self._here("/".join(parts[i:])):
                return found
        name = unicodedata.normalize("NFC", parts[-1]).lower()
        found = self.names.get(name, [])
        for i in range(len(parts) - 2, -1, -1):  # several files have this name: their folders may tell
            if len(found) < 2:
                break
            end = "/" + "/".join(parts[i:-1]).lower()
            folders = {path: "/" + os.path.dirname(path).replace(os.sep, "/").lower() for path in found}
            fitting = [path for path in found if folders[path].endswith(end)]
            found = fitting or found
        if len(found) > 1:
            raise Error(
                f"{visible(file, 120)}: {len(found)} files have this name ({visible(found[0])}, {visible(found[1])}): "
                "write their folders into the table as well."
            )
        return found[0] if found else None
