"""What all commands share: how one is run, its streams, signals and exit statuses; common flags."""

import argparse
import functools
import logging
import os
import sys
from collections.abc import Callable

from . import threads
from .backend import BACKENDS
from .console import early, signals
from .console.arguments import Parser as Parser
from .console.arguments import whole
from .console.say import as_started as as_started
from .console.say import as_typed as as_typed
from .console.say import complain
from .console.say import note as note
from .console.say import print_json as print_json
from .console.say import printable as printable
from .datasets import DATA as DATA
from .datasets import FOLD as FOLD
from .datasets import SOURCES
from .errors import Error, reason
from .text import counted as counted

DATA_NAMES = tuple(f"{name}:" if source.path else name for name, source in SOURCES.items())
CHECKPOINT = ".npz written by train or convert"


def add_backend(parser):
    """--backend and --threads."""
    text = "where the model runs (default: $MINAST_BACKEND, else the best this machine has)"
    parser.add_argument("--backend", choices=BACKENDS, help=text)
    add_threads(parser)


def add_data(parser, text=DATA, **options):
    """DATA, what `open_dataset` takes; shells complete the names of data sets."""
    parser.add_argument("data", metavar="DATA", help=text, **options).suggestions = DATA_NAMES


def add_raw(parser):
    """--raw, for commands that use a checkpoint's calibration and thresholds."""
    parser.add_argument("--raw", action="store_true", help="do without the checkpoint's calibration and thresholds")


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
        type=whole(1, threads.MOST),
        metavar="N",
        help="number of CPU threads (default: $MINAST_THREADS, else all cores)",
    )


class Threads(argparse.Action):
    """Applies --threads N as soon as it is parsed: to BLAS, to minast's own loops and to processes started later."""

    def __call__(self, parser, namespace, values, option_string=None):
        threads.set_count(values)
        namespace.threads = values


def run(main, argv=None):
    """Run a command's `main(argv) -> status`, then exit: 0 success, 2 a user's error, 130, 143, 129 stopped.

    Those of a stopped command are for Ctrl-C, SIGTERM and SIGHUP; 141 says that the reader of its output went away.
    argv: the command's arguments (default: the process's).
    """
    open_streams()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of every folder that it cannot write to
    with signals.raising(leave_at_second=True):
        status = _status(main, sys.argv[1:] if argv is None else argv)
        if not flushed() and not status:
            complain("standard output cannot be written.")
            status = 2
        flushed()  # the complaint, which may have had no place either
        if status in signals.STATUSES and early.is_the_program():
            os._exit(status)  # without waiting for threads in the middle of a file, or with a lock that was left locked
    sys.exit(status)


def _status(main, argv):
    """Call a command.   -> its exit status; what went wrong is said in a sentence"""
    try:
        status = main(argv)
        sys.stdout.flush()
        return status
    except Error as error:
        complain(error)
    except MemoryError as error:
        complain(f"out of memory ({error}): use a smaller model or batch, or fewer classes.")
    except KeyboardInterrupt as error:
        complain("stopped.")
        return signals.status_of(error)
    except SystemExit as left:  # --help
        return left.code
    except BrokenPipeError:  # the reader went away, as `| head` does
        return 141
    except OSError as error:
        what = f"{error.filename}:" if error.filename else "standard output cannot be written:"
        complain(f"{what} {error.strerror or reason(error)}.")
    return 2


def try_to_draw(path: str | os.PathLike, draw: Callable[[], object]) -> bool:
    """Call `draw`, for a picture that comes with other results: if it fails, a note says so and all goes on.

    -> whether it was drawn
    """
    try:
        draw()
        return True
    except Error as error:
        _note_once(str(error))
    except Exception as error:  # of Matplotlib, its files and its fonts
        _note_once(f"{path} is not drawn: {reason(error)}.")
    return False


_note_once = functools.cache(note)  # not at each epoch


# -- streams -------------------------------------------------------------------------------------------------------


def open_streams() -> None:
    """Make standard input, output and error usable, also where a daemon or `>&-` has closed them.

    Otherwise the next file that is opened would take the place of one, and get what is printed.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if not _is_open(number):
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  for good
        if mode == "w" and hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="backslashreplace")  # what the terminal cannot show is no crash


def _is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def flushed() -> bool:
    """Write out what was printed. If that fails, as on a full disk, it is discarded: Python would try again at exit."""
    lost = []
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            lost.append(error)
    return not lost
