"""What a stored value may be: its type and its bounds, and one sentence for whatever does not fit.

    FRAMES = Whole(16, 2**20)
    checked(FRAMES, 96.0, "frames")     # 96
    checked(FRAMES, "96", "frames")     # minast.Error: frames is '96': it must be a whole number from 16 to 1048576

A kind has `wanted`, what it accepts in words, and `take(value)`, which returns the value as it is kept (a whole number
is an int, a list of JSON a tuple where one belongs) or raises `Misfit`. The structures are described where they are
used: settings in config.py, checkpoints in checkpoint.py, a run's state in training/, config.json in pretrained/.
"""

import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import Error
from ..text import control, visible


class Misfit(Exception):
    """A value that is not of a kind: where inside the structure it is, the value, what is wanted or what is wrong."""

    def __init__(self, value: Any = None, wanted: str = "", problem: str = ""):
        super().__init__(wanted or problem)
        self.value, self.wanted, self.problem, self.at = value, wanted, problem, ""

    def inside(self, at: str) -> "Misfit":
        """The same, seen from the structure around it."""
        self.at = at + self.at
        return self


def checked(kind: Any, value: Any, name: str, spell: Callable[[Any], str] | None = None) -> Any:
    """The value as it is kept. Raises minast.Error: "NAME is VALUE: it must be ..." where it does not fit.

    spell: how a value is shown: `python`, the default, or `as_json` for what was read from JSON.
    """
    try:
        return kind.take(value)
    except Misfit as misfit:
        where = (name + misfit.at).lstrip(".")
        if misfit.problem:
            raise Error(f"{where} {misfit.problem}.") from None
        raise Error(f"{where} is {(spell or python)(misfit.value)}: it must be {misfit.wanted}.") from None


def check_fields(config: Any, kinds: Mapping[str, Any]) -> None:
    """Check the fields of a frozen dataclass and keep them as `take` returns them. Raises minast.Error."""
    for name, kind in kinds.items():
        object.__setattr__(config, name, checked(kind, getattr(config, name), name))


def python(value: Any) -> str:
    """A value as Python writes it, on one line and short."""
    return _short(value, repr)


def as_json(value: Any) -> str:
    """A value as JSON writes it, on one line and short."""
    return _short(value, lambda v: json.dumps(v, ensure_ascii=False))


def _short(value, write):
    if isinstance(value, (list, tuple, dict)) and len(value) > 100:
        return f"a {type(value).__name__} of {len(value)}"
    try:
        return visible(write(value), 80)
    except (RecursionError, ValueError, TypeError):  # nested too deeply, an int of over 4300 digits, no JSON
        return f"an unreadable {type(value).__name__}"


# -- single values -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """A whole number within bounds; 96.0 is taken for 96, True is not taken for 1."""

    least: int
    most: int

    @property
    def wanted(self) -> str:
        """In words."""
        return f"a whole number from {self.least} to {self.most}"

    def take(self, value: Any) -> int:
        """-> int"""
        whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
        try:
            number = operator.index(int(value) if whole else value)
        except TypeError:
            raise Misfit(value, self.wanted) from None
        if isinstance(value, (bool, np.bool_)) or not self.least <= number <= self.most:
            raise Misfit(value, self.wanted)
        return number


@dataclass(frozen=True)
class Number:
    """A finite number: from `least` to `most`, and above or below a bound that is not included."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    @property
    def wanted(self) -> str:
        """In words."""
        parts = [f"of at least {self.least:g}"] if self.least > -math.inf else []
        parts += [f"above {self.above:g}"] if self.above > -math.inf else []
        parts += (
            [f"of at most {self.most:g}" if not parts else f"at most {self.most:g}"] if self.most < math.inf else []
        )
        parts += [f"below {self.below:g}"] if self.below < math.inf else []
        return f"a number {' and '.join(parts)}" if parts else "a finite number"

    def take(self, value: Any) -> float:
        """-> float"""
        try:
            if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
                raise Misfit(value, self.wanted)
            number = float(value)
        except OverflowError:  # an int beyond all floats
            raise Misfit(value, self.wanted) from None
        if not (math.isfinite(number) and self.least <= number <= self.most and self.above < number < self.below):
            raise Misfit(value, self.wanted)
        return number


@dataclass(frozen=True)
class Real:
    """A number that may be NaN or infinite, as measures can be."""

    wanted = "a number"

    def take(self, value: Any) -> float:
        """-> float"""
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise Misfit(value, self.wanted)
        try:
            return float(value)
        except OverflowError:  # an int beyond all floats
            raise Misfit(value, self.wanted) from None


@dataclass(frozen=True)
class Flag:
    """True or False, and no number instead."""

    wanted = "true or false"

    def take(self, value: Any) -> bool:
        """-> bool"""
        if not isinstance(value, (bool, np.bool_)):
            raise Misfit(value, self.wanted)
        return bool(value)


@dataclass(frozen=True)
class Text:
    """A text of limited length; plain: not empty, and without control characters and bytes that are no text."""

    most: int
    plain: bool = True

    @property
    def wanted(self) -> str:
        """In words."""
        return f"a text of {'1' if self.plain else '0'} to {self.most} characters" + (
            ", none of them a control character" if self.plain else ""
        )

    def take(self, value: Any) -> str:
        """-> str"""
        if not isinstance(value, str) or len(value) > self.most or "\0" in value:
            raise Misfit(value, self.wanted)
        if self.plain and (not value.strip() or control(value)):
            raise Misfit(value, self.wanted)
        return value


@dataclass(frozen=True)
class OneOf:
    """One of some words; None may be one of them."""

    choices: tuple

    @property
    def wanted(self) -> str:
        """In words."""
        return "one of " + ", ".join("null" if c is None else str(c) for c in self.choices)

    def take(self, value: Any) -> Any:
        """-> the choice"""
        if not (value is None or isinstance(value, str)) or value not in self.choices:
            raise Misfit(value, self.wanted)
        return value


@dataclass(frozen=True)
class Maybe:
    """A value of a kind, or None."""

    kind: Any

    @property
    def wanted(self) -> str:
        """In words."""
        return f"{self.kind.wanted}, or null"

    def take(self, value: Any) -> Any:
        """-> the value, or None"""
        try:
            return None if value is None else self.kind.take(value)
        except Misfit as misfit:
            if misfit.wanted == self.kind.wanted:
                misfit.wanted = self.wanted
            raise


# -- structures ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ListOf:
    """A list of values of one kind, of limited length; `distinct` ones differ from each other."""

    kind: Any
    most: int
    distinct: bool = False

    @property
    def wanted(self) -> str:
        """In words."""
        return f"a list of at most {self.most}"

    def take(self, value: Any) -> list:
        """-> list"""
        if not isinstance(value, (list, tuple)) or len(value) > self.most:
            raise Misfit(value, self.wanted)
        out = [_inside(f"[{i}]", self.kind, item) for i, item in enumerate(value)]
        if self.distinct and len(set(out)) < len(out):
            seen: set = set()
            twice = next(item for item in out if item in seen or seen.add(item))
            raise Misfit(problem=f"has {python(twice)} more than once")
        return out


@dataclass(frozen=True)
class Several:
    """As many values as there are kinds; a list of JSON becomes a tuple."""

    kinds: tuple

    @property
    def wanted(self) -> str:
        """In words."""
        return f"{len(self.kinds)} values"

    def take(self, value: Any) -> tuple:
        """-> tuple"""
        if not isinstance(value, (list, tuple)) or len(value) != len(self.kinds):
            raise Misfit(value, self.wanted)
        return tuple(_inside(f"[{i}]", *pair) for i, pair in enumerate(zip(self.kinds, value, strict=True)))


@dataclass(frozen=True)
class Record:
    """A dictionary with known fields. optional: which may be missing; None: all. others: whether more may be there.

    A missing field stays missing. `others` may be a kind, which the values of further fields must then be of.
    """

    fields: Mapping[str, Any]
    optional: Iterable[str] | None = ()
    others: Any = False
    wanted = "an object with named fields"

    def take(self, value: Any) -> dict:
        """-> dict"""
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise Misfit(value, self.wanted)
        optional = self.fields if self.optional is None else self.optional
        for name in self.fields:
            if name not in value and name not in optional:
                raise Misfit(problem="is missing").inside(f".{name}")
        out = {}
        for name, item in value.items():
            kind = self.fields.get(name, self.others)
            if kind is False:
                raise Misfit(problem=f"has a field {python(name)} that this version of minast does not know")
            out[name] = item if kind is True else _inside(f".{visible(name, 80)}", kind, item)
        return out


@dataclass(frozen=True)
class Plain:
    """Anything JSON can hold, nested to a limited depth; walked without recursion."""

    depth: int = 32

    @property
    def wanted(self) -> str:
        """In words."""
        return f"numbers, texts, lists and objects, nested at most {self.depth} deep"

    def take(self, value: Any) -> Any:
        """-> the value, unchanged"""
        waiting = [(value, 0)]
        while waiting:
            item, depth = waiting.pop()
            if isinstance(item, dict) and all(isinstance(name, str) for name in item):
                waiting += [(v, depth + 1) for v in item.values()]
            elif isinstance(item, (list, tuple)):
                waiting += [(v, depth + 1) for v in item]
            elif not (item is None or isinstance(item, (str, bool, int, float))):
                raise Misfit(item, self.wanted)
            if depth > self.depth:
                raise Misfit(value, self.wanted)
        return value


def _inside(at, kind, value):
    try:
        return kind.take(value)
    except Misfit as misfit:
        raise misfit.inside(at) from None


# -- numbers in arrays ---------------------------------------------------------------------------------------------

AT_ONCE = 2**18  # numbers: their masks stay in the cache


def checked_floats(array: np.ndarray, where: str, dtype: np.dtype | str = np.float32) -> np.ndarray:
    """The array, if it is of floating-point numbers that are finite and stay so in `dtype`; it is not converted.

    where: begins the sentence of the minast.Error that is raised otherwise.
    """
    if array.dtype.kind != "f":
        raise Error(f"{where} is {array.dtype}: it must be of floating-point numbers.")
    flat, dtype = array.reshape(-1), np.dtype(dtype)
    largest = np.finfo(dtype).max if array.dtype.itemsize > dtype.itemsize else None
    for i in range(0, flat.size, AT_ONCE):
        part = flat[i : i + AT_ONCE]
        if not np.isfinite(part).all():
            raise Error(f"{where} holds NaN or infinite numbers.")
        if largest is not None and max(part.max(), -part.min()) > largest:
            raise Error(f"{where} holds numbers too large for {dtype}.")
    return array
