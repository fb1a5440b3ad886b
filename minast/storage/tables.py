"""CSV tables, with nothing in them that a spreadsheet would run.

A spreadsheet takes a cell that begins with = + - or @ for a formula, and a formula may start programs or send data.
Such a text, say a file called -x.wav, gets an apostrophe in front: spreadsheets show it as text, and `original` takes
the apostrophe away again. Numbers stay numbers. Source: OWASP, "CSV Injection".
"""

import contextlib
import csv
import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from ..errors import Error, reason
from ..text import visible
from .files import atomic

RISKY = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")  # as a cell begins; apostrophes in front, so that `original` is exact
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_table(path: str | os.PathLike, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a CSV file in UTF-8, atomically: a header and a line per row, whose cells are texts or numbers.

    The bytes of file names that are not UTF-8 become escapes such as \\udcff, since no reader opens a file with them.
    Raises minast.Error as `files.atomic` does, or what iterating over the rows raises; no file is written then.
    """
    with atomic(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as f:
        write_rows(f, header, rows)


class GrowingTable:
    """An open CSV file to which rows are added. `growing_table` makes it."""

    def __init__(self, path: str | os.PathLike, file: IO[str]):
        self.path, self._file = path, file

    def add(self, rows: Iterable[Sequence]) -> None:
        """Write these rows, and hand them to the system at once. Raises minast.Error if they cannot be written."""
        text = io.StringIO()
        write_rows(text, None, rows)
        with _writing(self.path):
            self._file.write(text.getvalue())
            self._file.flush()


@contextlib.contextmanager
def growing_table(path: str | os.PathLike, header: Sequence[str]) -> Iterator[GrowingTable]:
    """A new CSV file that grows with the work: what was added is in it at once, unlike with `write_table`.

        with growing_table("labels.csv", ["file", "label"]) as table:
            table.add([("a.wav", "dog"), ("b.wav", "rain")])

    If the process is killed, the file holds what was added: whole lines, since rows that are added together are written
    together. It replaces a file that was there as soon as it is opened. Raises minast.Error if it cannot be written.
    """
    with _writing(path):
        file = open(path, "w", newline="", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  closed below
    try:
        table = GrowingTable(path, file)
        table.add([header])
        yield table
    finally:
        with contextlib.suppress(OSError):  # all is flushed; a full disk was said then
            file.close()


@contextlib.contextmanager
def _writing(path):
    try:
        yield
    except OSError as error:
        raise Error(f"{visible(os.fspath(path))} cannot be written: {error.strerror or reason(error)}.") from None


def write_rows(file: IO[str], header: Sequence[str] | None, rows: Iterable[Sequence]) -> None:
    """`write_table` into an open text file, such as sys.stdout; header: None for none."""
    plain, quoted = (csv.writer(file, quoting=how, lineterminator="\n") for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    for row in rows if header is None else itertools.chain([header], rows):
        cells = [safe(cell) for cell in row]
        returns = any(isinstance(cell, str) and "\r" in cell for cell in cells)  # Python up to 3.12 leaves them bare
        (quoted if returns else plain).writerow(cells)


def safe(cell: object) -> object:
    """A cell as it is written: a text that a spreadsheet would run gets an apostrophe in front."""
    if isinstance(cell, str) and RISKY.match(cell) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def original(cell: str) -> str:
    """The text that `safe` was given."""
    return cell[1:] if cell.startswith("'") and RISKY.match(cell) else cell
