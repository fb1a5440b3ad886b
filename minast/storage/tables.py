"""CSV tables, with nothing in them that a spreadsheet would run.

A spreadsheet takes a cell that begins with = + - or @ for a formula, and a formula may start programs or send data.
Such a text, say a file called -x.wav, gets an apostrophe in front: spreadsheets show it as text, and `original` takes
the apostrophe away again. Numbers stay numbers. Source: OWASP, "CSV Injection".
"""

import csv
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from typing import IO

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


def write_rows(file: IO[str], header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """The same into an open text file, such as sys.stdout."""
    plain, quoted = (csv.writer(file, quoting=how, lineterminator="\n") for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    for row in itertools.chain([header], rows):
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
