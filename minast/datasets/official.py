"""What the readers of published data sets share: their tables, and files that a table names and that are not there."""

import csv
import os
from collections.abc import Iterator, Sequence

from ..errors import Error
from ..text import visible
from . import labels as names
from .common import Bad, Clip
from .table import place


def records(path: str, title: str, *columns: str) -> Iterator[dict[str, str]]:
    """The rows of a published CSV table as {column: text}, which must have these columns.

    title: of the data set. Raises minast.Error, with the line, for a table that is not what was published.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            reader = csv.DictReader(f)
            lacking = [name for name in columns if name not in (reader.fieldnames or ())]
            if lacking:
                raise Error(f"{visible(path)}: this is not the table of {title}: it has no column {lacking[0]!r}.")
            for row in reader:
                if any(not row[name] for name in columns):
                    raise Error(f"{place(path, reader.line_num)}: a cell of {', '.join(columns)} is empty or missing.")
                yield row
    except (UnicodeDecodeError, csv.Error) as error:
        raise Error(f"{visible(path)}: this cannot be read as the table of {title} ({error}).") from None
    except OSError as error:
        raise Error(f"{visible(path)}: this cannot be read: {error.strerror or error}.") from None


def whole(text: str, path: str, column: str) -> int:
    """A whole number in a cell, or minast.Error."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Error(f"{visible(path)}: {visible(text, 40)!r} in column {column!r} must be a whole number.")
    return int(text)


def found(clips: Sequence[Clip], labels: list[str], table: str) -> tuple[list[Clip], tuple[Bad, ...]]:
    """The clips whose files are there, and what is to be said about the others.   table: that names them"""
    here, bad = [], []
    for clip in clips:
        if os.path.isfile(clip.path):
            here.append(clip)
        else:
            own = tuple(labels[k] for k in clip.labels)
            bad.append(Bad(clip.name, own, f"{visible(table)}: there is no file {visible(clip.path)}."))
    return here, tuple(bad)


def root(path: str, *marker: str) -> str:
    """The folder itself, or the folder in it, that holds the file `marker`: archives unpack into a folder of their own.

    The folder itself if there is none.
    """
    if not os.path.isfile(os.path.join(path, *marker)):
        for name in sorted(os.listdir(path)):
            if os.path.isfile(os.path.join(path, name, *marker)):
                return os.path.join(path, name)
    return path


def spelt(label: str, where: str) -> str:
    """A label for people: "air_conditioner" -> "air conditioner".   where: as in `labels.cleaned`, which checks it"""
    return names.cleaned(label.replace("_", " ").strip(), where)
