"""What config.json and preprocessor_config.json of a Hugging Face folder say about the model, every field checked."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..config import PATCH
from ..errors import Error

GEOMETRY = ("mel_bins", "frames", "fstride", "tstride")  # of the grid that the positions are on
FIELDS = {  # of config.json: their name, the least value
    "mel_bins": ("num_mel_bins", PATCH),
    "frames": ("max_length", PATCH),
    "fstride": ("frequency_stride", 1),
    "tstride": ("time_stride", 1),
}
ACTIVATIONS = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_python": "erf"}
LOSSES = {"multi_label_classification": "bce", "single_label_classification": "ce", "regression": None, None: None}
RATES = (100, 768000)  # Hz, what FeatureConfig accepts


@dataclass
class Settings:
    """What a model says about itself; None or empty where it says nothing."""

    labels: list[str] | None = None
    loss: str | None = None
    features: dict = field(default_factory=dict)  # rate, window, mean, std
    geometry: dict = field(default_factory=dict)  # GEOMETRY
    heads: int | None = None
    eps: float | None = None
    gelu: str | None = None
    random_head: bool = False


def settings_beside(path: str | os.PathLike) -> Settings:
    """The settings in config.json and preprocessor_config.json, in the folder `path` or beside the file `path`.

    A file or a field may be missing. Raises minast.Error, naming file and field, for an invalid value.
    """
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    config = Fields(os.path.join(folder, "config.json"))
    features = Fields(os.path.join(folder, "preprocessor_config.json"))
    out = Settings()
    if "hidden_size" in config:
        config.whole("hidden_size")
        out.heads = config.whole("num_attention_heads")
        out.eps = config.number("layer_norm_eps", above=0, below=1)
        out.gelu = ACTIVATIONS[config.one_of("hidden_act", ACTIVATIONS, "gelu")]
        out.loss = LOSSES[config.one_of("problem_type", LOSSES, None)]
        out.labels = config.labels("id2label")
        if "max_length" in config and "frequency_stride" in config:
            out.geometry = {own: config.whole(*field) for own, field in FIELDS.items() if field[0] in config}
    if "num_mel_bins" in features:
        features.whole("num_mel_bins")
        rate, mean = features.whole("sampling_rate", *RATES), features.number("mean")
        found = {"rate": rate, "mean": mean, "std": features.number("std", above=0)}
        out.features = {name: value for name, value in found.items() if value is not None}
        if not features.yes_or_no("do_normalize", True):  # (x - 0) / (2 * 1/2) leaves the features as they are
            out.features |= {"mean": 0.0, "std": 0.5}
    return out


class Fields(Mapping):
    """The fields of a JSON file, none if it does not exist.

    Each method returns one field, checked, or raises minast.Error with the file's name and what it has instead.
    """

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
            raise Error(f"{path}: this is not a JSON file.") from None
        if not isinstance(self._fields, dict):
            raise Error(f"{path}: this is JSON, but not an object of settings: download the model's own file again.")

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
        """One of `choices`, unchanged; `default` if the field is missing."""
        if name not in self:
            return default
        known = ", ".join("null" if c is None else c for c in choices)
        return self._checked(
            name, lambda x: (x is None or isinstance(x, str)) and x in choices, f"one of {known}", lambda x: x
        )

    def labels(self, name):
        """Names in the order of their numbers; None if there are none, or only LABEL_0, LABEL_1, ..."""
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
                f"{self.path}: {name} is {shown}: it must be {wanted}; correct it, or download the model's own file "
                "again."
            )
        return kind(value)


def _finite(x):
    try:
        return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)
    except OverflowError:  # an int beyond all floats
        return False


def _numbered(x):
    """{"0": name, "1": name, ...}, in any order; names are texts, or numbers (the classes of digits)."""
    names = isinstance(x, dict) and all(isinstance(v, (str, int)) and not isinstance(v, bool) for v in x.values())
    return names and set(x) == {str(i) for i in range(len(x))}


def _in_order(x):
    return [str(x[str(i)]) for i in range(len(x))]
