"""What all commands share: errors as sentences, exit statuses, common flags."""

import argparse
import os
import sys

from . import threads
from .errors import Error


class Parser(argparse.ArgumentParser):
    """argparse whose help keeps the docstring's lines."""

    def __init__(self, verb, doc):
        super().__init__(
            prog=f"python -m minast.{verb}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
        )


DATA = "builtin, a folder, a .csv manifest, fsdd:PATH, esc10:PATH or esc50:PATH"


def add_backend(parser):
    from .backend import BACKENDS

    parser.add_argument("--backend", choices=BACKENDS, help="where the model runs (default: the best this machine has)")
    add_threads(parser)


def add_threads(parser):
    parser.add_argument("--threads", action=Threads, type=int, help="cores to use (default: $MINAST_THREADS, else all)")


class Threads(argparse.Action):
    """--threads N is obeyed as soon as it is read: by BLAS, by our own loops, by processes that are started."""

    def __call__(self, parser, namespace, values, option_string=None):
        threads.set_count(values)
        namespace.threads = values


def run(main):
    """Call a command's `main(argv) -> status` and leave: 0 done, 2 a user's error, 130 stopped by Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no crash
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except Error as error:
        print(f"minast: {error}", file=sys.stderr)
        status = 2
    except MemoryError as error:
        print(
            f"minast: the memory is not enough ({error}): take a smaller model or batch, or fewer classes.",
            file=sys.stderr,
        )
        status = 2
    except KeyboardInterrupt:
        print("minast: stopped.", file=sys.stderr)
        status = 130
    except BrokenPipeError:  # the reader went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except OSError as error:
        print(f"minast: {error.filename or 'a file'}: {error.strerror or error}.", file=sys.stderr)
        status = 2
    sys.exit(status)


def printable(value):
    """JSON-ready: NaN and infinities become null."""
    if isinstance(value, dict):
        return {key: printable(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable(v) for v in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value
