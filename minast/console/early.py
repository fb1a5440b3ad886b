"""Ctrl-C while a command is still importing: it leaves without a traceback, which would only show where it was.

This comes before everything else in `import minast`, and imports nothing that Python has not loaded already: `_signal`
is what the module signal is made of, whose own import takes as long as some of the moments that matter here.
"""

import _signal
import os
import sys

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is not known to Windows
NUMBERS = tuple(int(getattr(_signal, name)) for name in NAMES if hasattr(_signal, name))


def stop_quietly_while_importing() -> None:
    """If this process was started as `minast` or `python -m minast...`: leave at once on Ctrl-C, SIGTERM and SIGHUP.

    `cli.run` then puts `signals.raising` in its place. A program that imports minast is left alone, and so are signals
    that somebody ignores or handles already.
    """
    if started_as_command():
        for number in NUMBERS:
            if _signal.getsignal(number) in (_signal.SIG_DFL, _signal.default_int_handler):
                try:
                    _signal.signal(number, leave)
                except ValueError:  # not in the main thread
                    return


def started_as_command() -> bool:
    """Whether minast is the program that runs, rather than a library of another."""
    if sys.argv[:1] == ["-m"]:  # so it is while Python looks for the module to run
        words = iter(sys.orig_argv)
        option = next((word for word in words if word.startswith("-m")), "-m")
        return (option[2:] or next(words, "")).split(".")[0] == "minast"
    return os.path.splitext(os.path.basename(sys.argv[0] if sys.argv else ""))[0] == "minast"


def is_the_program() -> bool:
    """The same, once Python has found the module to run."""
    main = sys.modules["__main__"]
    if spec := getattr(main, "__spec__", None):
        return spec.name.split(".")[0] == "minast"
    return os.path.splitext(os.path.basename(getattr(main, "__file__", None) or ""))[0] == "minast"


def leave(number: int, frame: object) -> None:
    """End the process now, with one line and the exit status that a shell expects."""
    try:
        os.write(2, b"minast: stopped.\n")
    finally:
        os._exit(128 + number)
