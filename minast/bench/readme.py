"""The one writer of the tables in README files. A table stands between two lines that carry its name:

<!-- minast bench registers: begin -->
<!-- minast bench registers: end -->
"""

from argparse import Action, ArgumentParser
from pathlib import Path

from ..errors import Error
from ..gpu import kernel_source
from ..storage.files import atomic, writable_file

CPU, GPU = "cpu", "gpu"  # the tables of the timed rows: in README.md and in kernels/README.md


def of_kernels() -> Path:
    """The path of kernels/README.md, in a checkout or in an installed package."""
    return kernel_source.folder() / "README.md"


def markers(table: str) -> tuple[str, str]:
    """The two marker lines of a table: (begin, end)."""
    return f"<!-- minast bench {table}: begin -->", f"<!-- minast bench {table}: end -->"


def read(path: str | Path, table: str) -> str:
    """The text between a table's marker lines.

    Raises Error if the file cannot be read, or does not have both lines once each and in order.
    """
    lines, begin, end = _located(path, table)
    return "".join(lines[begin + 1 : end]).strip("\n")


def write(path: str | Path, table: str, text: str) -> None:
    """Put `text` between a table's marker lines, atomically. Raises Error as `read` does, or if writing fails."""
    lines, begin, end = _located(path, table)
    with atomic(path, "w", encoding="utf-8") as f:
        f.writelines([*lines[: begin + 1], text.strip("\n") + "\n", *lines[end:]])


def find(path: str | Path, *tables: str) -> str:
    """The first of these tables that has a marker line in the file.

    Raises Error if none has one, and the errors of `read`: call it before a long measurement whose result goes there.
    """
    lines = _lines(path)
    present = (table for table in tables if any(line.strip() in markers(table) for line in lines))
    table = next(present, tables[-1])
    _located(path, table)
    return table


def add_flag(parser: ArgumentParser) -> None:
    """The flag of the commands whose table belongs in kernels/README.md."""
    parser.add_argument(
        "--readme", action=ToReadme, nargs=0, default=False, help="write the table into kernels/README.md"
    )


class ToReadme(Action):
    """Like "store_true", but refuses at once if kernels/README.md cannot be written."""

    def __call__(self, parser, namespace, values, option_string=None):
        writable_file(of_kernels())
        namespace.readme = True


def show_or_write(table: str, text: str, to_readme: bool) -> None:
    """Print a table, or with --readme put it into kernels/README.md."""
    if to_readme:
        write(of_kernels(), table, text)
    else:
        print(text)


def _located(path, table):
    """The lines of a file and the numbers of the two that are a table's markers."""
    lines = _lines(path)
    places = [[i for i, line in enumerate(lines) if line.strip() == marker] for marker in markers(table)]
    if [len(found) for found in places] != [1, 1] or places[0] > places[1]:
        begin, end = markers(table)
        raise Error(f"{path}: the table needs the lines {begin} and {end}, once each and in this order, around it.")
    return lines, places[0][0], places[1][0]


def _lines(path):
    try:
        return Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError as error:
        raise Error(f"{path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Error(f"{path} is not a UTF-8 text file: name the README that has the table.") from None
