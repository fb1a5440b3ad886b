"""A .json of settings beside the weights, its fields believed only if they are what they must be."""

import json
import math
import os
from collections.abc import Mapping

from ..errors import Error


class Fields(Mapping):
    """The fields of one file, none if there is no such file; minast.Error names the file and what it has instead."""

    def __init__(self, path):
        self.path, self._fields = path, {}
        if not os.path.lexists(path):
            return
        try:
            with open(path, encoding="utf-8") as f:
                self._fields = json.load(f)
        except OSError as error:
            raise Error(f"{path}: this cannot be read: {error.strerror or error}.") from None
        except (ValueError, RecursionError):
            raise Error(f"{path}: this is no JSON file.") from None
        if not isinstance(self._fields, dict):
            raise Error(f"{path}: this is JSON, but no object of settings: fetch the model's own file again.")

    def __getitem__(self, name):
        return self._fields[name]

    def __iter__(self):
        return iter(self._fields)

    def __len__(self):
        return len(self._fields)

    def whole(self, name, least=1, most=math.inf):
        """A whole number from `least` to `most`, or None if the field is missing."""
        wanted = f"a whole number from {least}" + ("" if most == math.inf else f" to {most}")
        return self._checked(name, lambda x: _finite(x) and x == int(x) and least <= x <= most, wanted, int)

    def number(self, name, above=-math.inf, below=math.inf):
        """A finite number between two others, or None if the field is missing."""
        wanted = "a finite number" if above == -math.inf else f"a number above {above}"
        wanted += "" if below == math.inf else f" and below {below}"
        return self._checked(name, lambda x: _finite(x) and above < x < below, wanted, float)

    def yes_or_no(self, name, default):
        """A boolean, `default` if the field is missing."""
        value = self._checked(name, lambda x: isinstance(x, bool), "true or false", bool)
        return default if value is None else value

    def one_of(self, name, choices, default):
        """One of `choices`, as it stands there; `default` if the field is missing."""
        if name not in self:
            return default
        known = ", ".join("null" if c is None else c for c in choices)
        return self._checked(
            name, lambda x: (x is None or isinstance(x, str)) and x in choices, f"one of {known}", lambda x: x
        )

    def labels(self, name):
        """Names in the order of their numbers; None where there are none, or only LABEL_0, LABEL_1, ..."""
        wanted = 'names by number, {"0": ..., "1": ...}, without a gap'
        names = self._checked(name, lambda x: x is None or _numbered(x), wanted, lambda x: x and _in_order(x))
        return None if not names or all(text == f"LABEL_{i}" for i, text in enumerate(names)) else names

    def _checked(self, name, sound, wanted, kind):
        if name not in self:
            return None
        value = self[name]
        if not sound(value):
            shown = json.dumps(value, ensure_ascii=False)
            shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
            raise Error(
                f"{self.path}: {name} is {shown}: it must be {wanted}; correct it, or fetch the model's own file again."
            )
        return kind(value)


def _finite(x):
    try:
        return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)
    except OverflowError:  # an int beyond all floats
        return False


def _numbered(x):
    """{"0": name, "1": name, ...}, in any order: names are text, or numbers as digits have them."""
    names = isinstance(x, dict) and all(isinstance(v, (str, int)) and not isinstance(v, bool) for v in x.values())
    return names and set(x) == {str(i) for i in range(len(x))}


def _in_order(x):
    return [str(x[str(i)]) for i in range(len(x))]
