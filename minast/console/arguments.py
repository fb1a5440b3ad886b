"""Parsing of command lines: numbers with bounds, and argparse that speaks in minast's sentences."""

import argparse
import difflib
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from ..errors import Error
from ..text import listed, visible
from .say import as_started

SEEDS = 2**63 - 1  # the highest seed: what every file format can hold
FOLDS = 1000  # the highest fold: no data set has more
NUMBER = re.compile(r"[-+]?[0-9.]{1,30}(e[-+]?[0-9]{1,10})?", re.I)  # shown as it was typed
MANY = 10**6  # epochs, clips, frames: far more than anybody can mean, and no arithmetic overflows


class Parser(argparse.ArgumentParser):
    """argparse that shows a command's docstring as it is written, and raises minast.Error for what it cannot accept.

    Flags are not completed: an abbreviation that works today would become ambiguous with the next flag.
    """

    def __init__(self, verb, doc):
        super().__init__(
            prog=as_started(f"python -m minast.{verb}"),
            description=as_started(doc or ""),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_args(self, args: Sequence[str] | None = None, namespace=None) -> argparse.Namespace:
        """As argparse does. Raises minast.Error for a flag that does not exist, with the nearest name."""
        self.given = sys.argv[1:] if args is None else list(args)
        found, left = self.parse_known_args(self.given, namespace)
        if left:
            self.error(self.unknown(left))
        return found

    def print_help(self, file=None) -> None:
        """Print the help. argparse's own says nothing if it cannot be written."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """Raise minast.Error with what argparse has found, in one sentence."""
        for pattern, words in SENTENCES:
            message = re.sub(pattern, words, message, count=1, flags=re.S)
        if lacking := MISSING.fullmatch(message):
            names = lacking[1].split(", ")
            message = f"{listed(names, 'and')} {'is' if len(names) == 1 else 'are'} missing"
            left = [word for word in self.given if word.startswith("-") and os.path.exists(word)]
            message += f": {like_a_flag(left[0]) if left else f'{self.prog} --help shows what is expected'}"
        raise Error(f"{visible(message.rstrip('.'))}.")

    def unknown(self, left: Sequence[str]) -> str:
        """The sentence for arguments that nothing takes."""
        given = next((word for word in left if word.startswith("-")), None)
        if given is None:
            return f"nothing takes {', '.join(map(repr, left))}: {self.prog} --help shows what is expected"
        name = given.partition("=")[0]
        known = [word for action in self._actions if action.help != argparse.SUPPRESS for word in action.option_strings]
        close = difflib.get_close_matches(name, known, 1, 0.6)
        if os.path.exists(given):
            hint = like_a_flag(given)
        else:
            hint = f"did you mean {close[0]}?" if close else f"{self.prog} --help lists them all"
        return f"there is no flag {visible(name, 60)}: {hint}"


MISSING = re.compile(r"the following arguments are required: (.+)")
SENTENCES = (  # argparse's words, and ours
    (r"^argument (.+?): invalid choice: (.+) \(choose from (.+)\)$", r"\1 is \2: choose from \3"),
    (r"^argument (.+?): is ", r"\1 is "),  # `_within`
    (r"^argument (.+?): ", r"\1: "),
)


def like_a_flag(path: str) -> str:
    """What to do with a file whose name begins with a dash."""
    return f"if you mean the file, write {visible(os.path.join(os.curdir, path), 60)}"


def whole(least: int, most: int) -> Callable[[str], int]:
    """A `type` for argparse: a whole number within bounds, both included."""

    def parse(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        return _within(text, value, least, most, f"it must be a whole number from {least} to {most}")

    return parse


def number(least: float, most: float, above: bool = False, below: bool = False) -> Callable[[str], float]:
    """A `type` for argparse: a finite number within bounds.   above, below: the lower, the upper bound is excluded"""
    low = f"above {least:g}" if above else f"{least:g} or more"
    words = f"it must be a number, {low} and {'below' if below else 'at most'} {most:g}"

    def parse(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        outside = (above and value == least) or (below and value == most)
        return _within(text, None if outside or math.isnan(value) else value, least, most, words)

    return parse


class EachWithin(argparse.Action):
    """Several numbers, each within bounds of its own: `kinds`, a `type` for each."""

    def __init__(self, *args, kinds, **options):
        super().__init__(*args, nargs=len(kinds), **options)
        self.kinds = kinds

    def __call__(self, parser, namespace, values, option_string=None):
        """Store the numbers as a tuple."""
        try:
            found = tuple(kind(text) for kind, text in zip(self.kinds, values, strict=True))
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        setattr(namespace, self.dest, found)


def _within(text, value, least, most, words):
    if value is None or not least <= value <= most:
        shown = text.strip() if NUMBER.fullmatch(text.strip()) else repr(text[:40])
        raise argparse.ArgumentTypeError(f"is {shown}: {words}")
    return value
