"""What config.json and preprocessor_config.json of a Hugging Face folder say about the model, every field checked."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from json import loads

from ..config import FEATURES, LABEL, MODEL
from ..errors import Error
from ..storage.schema import Flag, Maybe, Misfit, Number, OneOf, Whole, as_json, checked
from ..storage.stored import decoding

GEOMETRY = ("mel_bins", "frames", "fstride", "tstride")  # of the grid that the positions are on
FIELDS = {  # their names in config.json
    "mel_bins": "num_mel_bins",
    "frames": "max_length",
    "fstride": "frequency_stride",
    "tstride": "time_stride",
}
ACTIVATIONS = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_python": "erf"}
LOSSES = {"multi_label_classification": "bce", "single_label_classification": "ce", "regression": None, None: None}
LARGEST = 2**24  # bytes of a JSON file


@dataclass(frozen=True)
class Numbered:
    """{"0": name, "1": name, ...}, in any order; names are texts, or numbers (the classes of digits).   -> [name]"""

    wanted = 'names by number, {"0": ..., "1": ...}, without a gap'

    def take(self, value):
        """-> list of names in their order"""
        if not isinstance(value, dict) or set(value) != {str(i) for i in range(len(value))}:
            raise Misfit(value, self.wanted)
        names = [value[str(i)] for i in range(len(value))]
        if not all(isinstance(name, (str, int)) and not isinstance(name, bool) for name in names):
            raise Misfit(value, self.wanted)
        return [LABEL.take(str(name)) for name in names]


CONFIG = {  # what config.json may say, of its many fields
    "hidden_size": MODEL["dim"],
    "num_attention_heads": MODEL["heads"],
    "layer_norm_eps": Number(above=0, below=1),
    "hidden_act": OneOf(tuple(ACTIVATIONS)),
    "problem_type": OneOf(tuple(LOSSES)),
    "id2label": Maybe(Numbered()),
    **{theirs: MODEL[own] for own, theirs in FIELDS.items()},
}
PREPROCESSOR = {  # and preprocessor_config.json
    "num_mel_bins": Whole(1, FEATURES["mel_bins"].most),
    "sampling_rate": FEATURES["rate"],
    "mean": FEATURES["mean"],
    "std": FEATURES["std"],
    "do_normalize": Flag(),
}


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
    heard: bool = True  # if it is an audio model: it was trained on sound, and expects its features


def settings_beside(path: str | os.PathLike) -> Settings:
    """The settings in config.json and preprocessor_config.json, in the folder `path` or beside the file `path`.

    A file or a field may be missing. Raises minast.Error, naming file and field, for an invalid value.
    """
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    config = Fields(os.path.join(folder, "config.json"), CONFIG)
    features = Fields(os.path.join(folder, "preprocessor_config.json"), PREPROCESSOR)
    out = Settings()
    if "hidden_size" in config:
        config["hidden_size"]
        out.heads, out.eps = config.get("num_attention_heads"), config.get("layer_norm_eps")
        out.gelu = ACTIVATIONS[config["hidden_act"]] if "hidden_act" in config else None
        out.loss = LOSSES[config.get("problem_type")]
        names = config.get("id2label")
        out.labels = None if not names or names == [f"LABEL_{i}" for i in range(len(names))] else names
        if "max_length" in config and "frequency_stride" in config:
            out.geometry = {own: config[theirs] for own, theirs in FIELDS.items() if theirs in config}
    if "num_mel_bins" in features:
        features["num_mel_bins"]
        found = {"rate": "sampling_rate", "mean": "mean", "std": "std"}
        out.features = {own: features[theirs] for own, theirs in found.items() if theirs in features}
        if not features.get("do_normalize", True):  # (x - 0) / (2 * 1/2) leaves the features as they are
            out.features |= {"mean": 0.0, "std": 0.5}
    return out


class Fields(Mapping):
    """The fields of a JSON file, none if it does not exist; each is checked when it is asked for.

    kinds: of the fields that may be asked for. Raises minast.Error with the file's name and what it has instead.
    """

    def __init__(self, path, kinds):
        self.path, self.kinds, self._fields = path, kinds, {}
        if not os.path.lexists(path):
            return
        try:
            with open(path, "rb") as file:
                text = file.read(LARGEST + 1)
        except OSError as error:
            raise Error(f"{path}: this cannot be read: {error.strerror or error}.") from None
        if len(text) > LARGEST:
            raise Error(f"{path}: this has more than {LARGEST} bytes: it is no file of settings.")
        with decoding(f"{path}: this is not a JSON file", "download the model's own file again"):
            self._fields = loads(text)
        if not isinstance(self._fields, dict):
            raise Error(f"{path}: this is JSON, but not an object of settings: download the model's own file again.")

    def __getitem__(self, name):
        value = self._fields[name]
        try:
            return checked(self.kinds[name], value, name, as_json)
        except Error as error:
            reason = str(error).rstrip(".")
            raise Error(f"{self.path}: {reason}; correct it, or download the model's own file again.") from None

    def __contains__(self, name):
        return name in self._fields

    def __iter__(self):
        return iter(self._fields)

    def __len__(self):
        return len(self._fields)
