"""What a command tells its user: results as JSON on standard output, notes and complaints on standard error."""

import contextlib
import json
import os
import shlex
import sys
import warnings

from ..text import visible

LONGEST = 2000  # characters of a message


def as_started(text: str) -> str:
    """A text with `python -m minast.VERB` replaced by `minast VERB` if the console command was used."""
    console = os.path.splitext(os.path.basename(sys.argv[0]))[0] == "minast"
    return text.replace("python -m minast.", "minast ") if console else text


def as_typed() -> str | None:
    """The command that runs, as it can be typed again; None in a script or a notebook."""
    path, package = os.path.realpath(sys.argv[0]), __name__.partition(".")[0]
    name, folder = os.path.splitext(os.path.basename(path))[0], os.path.basename(os.path.dirname(path))
    if name != package and folder != package:
        return None
    return shlex.join([*([name] if name == package else ["python", "-m", f"{package}.{name}"]), *sys.argv[1:]])


def complain(message: object) -> None:
    """One sentence on standard error: what went wrong."""
    _tell(f"minast: {message}")


def note(message: object) -> None:
    """One sentence on standard error: what the user should know although the command goes on."""
    _tell(f"note: {message}")


def _tell(message):
    with contextlib.suppress(OSError, ValueError):  # if nobody listens, that stops nothing
        print(visible(as_started(message), LONGEST), file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """A UserWarning at the line, outside minast, that led here: for functions that scripts call."""
    level, frame = 2, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "minast":
        level, frame = level + 1, frame.f_back
    warnings.warn(visible(message), stacklevel=level)


def print_json(value: object) -> None:
    """One JSON value on standard output. Non-ASCII characters are escaped, so it is valid on any stream."""
    print(json.dumps(printable(value), indent=1))


class JsonList:
    """One JSON list on standard output, a value at a time: what is printed stays, whatever becomes of the rest.

    with JsonList() as output:
        output.add(value)

    The text is that of `print_json` of the whole list. Leaving the block ends the list, also after Ctrl-C.
    """

    def __enter__(self) -> "JsonList":
        self._before = "["
        return self

    def add(self, value: object) -> None:
        """Print the next value, and pass it on at once."""
        lines = json.dumps(printable(value), indent=1).splitlines()
        print(self._before + "".join(f"\n {line}" for line in lines), end="", flush=True)
        self._before = ","

    def __exit__(self, *_) -> None:
        print("[]" if self._before == "[" else "\n]", flush=True)


def printable(value: object) -> object:
    """A value ready for JSON: NaN and infinities become null."""
    if isinstance(value, dict):
        return {key: printable(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable(v) for v in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value
