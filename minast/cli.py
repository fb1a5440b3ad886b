"""What all commands share: common flags, errors as one sentence, exit statuses."""

import argparse
import json
import os
import sys

from . import threads
from .backend import BACKENDS
from .datasets import DATA as DATA
from .datasets import FOLD as FOLD
from .datasets import SOURCES
from .errors import Error


def as_started(text: str) -> str:
    """A text with `python -m minast.VERB` replaced by `minast VERB` if the console command was used."""
    console = os.path.splitext(os.path.basename(sys.argv[0]))[0] == "minast"
    return text.replace("python -m minast.", "minast ") if console else text


class Parser(argparse.ArgumentParser):
    """argparse that shows a command's docstring as it is written, line by line."""

    def __init__(self, verb, doc):
        super().__init__(
            prog=as_started(f"python -m minast.{verb}"),
            description=as_started(doc or ""),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )


DATA_NAMES = tuple(f"{name}:" if source.path else name for name, source in SOURCES.items())
CHECKPOINT = ".npz written by train or convert"


def add_backend(parser):
    """--backend and --threads."""
    parser.add_argument("--backend", choices=BACKENDS, help="where the model runs (default: the best this machine has)")
    add_threads(parser)


def add_data(parser, text=DATA, **options):
    """DATA, what `open_dataset` takes; shells complete the names of data sets."""
    parser.add_argument("data", metavar="DATA", help=text, **options).suggestions = DATA_NAMES


def add_skip_bad(parser):
    """--skip-bad, for commands that read a data set."""
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out files that cannot be used, instead of stopping"
    )


def add_threads(parser):
    """--threads alone, for commands that run no model."""
    parser.add_argument(
        "--threads",
        action=Threads,
        type=int,
        metavar="N",
        help="number of CPU threads (default: $MINAST_THREADS, else all cores)",
    )


class Threads(argparse.Action):
    """Applies --threads N as soon as it is parsed: to BLAS, to minast's own loops and to processes started later."""

    def __call__(self, parser, namespace, values, option_string=None):
        threads.set_count(values)
        namespace.threads = values


def run(main, argv=None):
    """Run a command's `main(argv) -> status`, then exit: 0 success, 2 a user's error, 130 stopped by Ctrl-C.

    argv: the command's arguments (default: the process's).
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show must not crash
    try:
        status = main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except Error as error:
        complain(error)
        status = 2
    except MemoryError as error:
        complain(f"out of memory ({error}): use a smaller model or batch, or fewer classes.")
        status = 2
    except KeyboardInterrupt:
        complain("stopped.")
        status = 130
    except BrokenPipeError:  # the reader went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except OSError as error:
        complain(f"{error.filename or 'a file'}: {error.strerror or error}.")
        status = 2
    sys.exit(status)


def complain(message):
    """One sentence on standard error."""
    print(as_started(f"minast: {message}"), file=sys.stderr)


def note(message):
    """What the user should know although the command goes on: one sentence on standard error."""
    print(as_started(f"note: {message}"), file=sys.stderr)


def print_json(value):
    """One JSON value on standard output. Non-ASCII characters are escaped, so it is valid on any stream."""
    print(json.dumps(printable(value), indent=1))


def printable(value):
    """A value ready for JSON: NaN and infinities become null."""
    if isinstance(value, dict):
        return {key: printable(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable(v) for v in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value


def counted(n: int, noun: str, nouns: str | None = None) -> str:
    """ "1 file", "2 files".   nouns: the plural, if it is not the noun with an s"""
    return f"{n} {noun if n == 1 else nouns or noun + 's'}"
