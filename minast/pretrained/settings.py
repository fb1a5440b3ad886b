"""What a pretrained model says about itself: labels, features, loss; and what is known where it is silent."""

import csv
import json
import math
import os
from dataclasses import dataclass, field
from math import prod

from ..config import grid_shape
from ..errors import Error

AUDIOSET = {"mean": -4.2677393, "std": 4.5689974}
ESC = {"mean": -6.6268077, "std": 5.358466}
SPEECH = {"mean": -6.845978, "std": 5.5654526}
# The official checkpoints by their number of classes. Speech Commands has one label a clip and was trained with BCE
# all the same. Source: egs/*/run*.sh of the official code.
KNOWN = {527: ("AudioSet", "bce", AUDIOSET), 50: ("ESC-50", "ce", ESC), 35: ("Speech Commands V2", "bce", SPEECH)}
# Strides and lengths that were published; no two of them give the same number of patches.
PUBLISHED = [(stride, frames) for stride in (10, 12, 14, 16) for frames in (1024, 512, 128)]
ACTIVATIONS = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_python": "erf"}
LOSSES = {"multi_label_classification": "bce", "single_label_classification": "ce"}


@dataclass
class Settings:
    """None or empty: the source does not say."""

    labels: list | None = None
    loss: str | None = None
    features: dict = field(default_factory=dict)  # rate, window, mean, std
    geometry: dict = field(default_factory=dict)  # mel_bins, frames, fstride, tstride of the positions' grid
    heads: int | None = None
    eps: float | None = None
    gelu: str | None = None
    random_head: bool = False


def settings_beside(path):
    """The settings of a Hugging Face folder: config.json and preprocessor_config.json beside the weights."""
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    config = _json(os.path.join(folder, "config.json"))
    features = _json(os.path.join(folder, "preprocessor_config.json"))
    out = Settings()
    if "hidden_size" in config:
        out.heads = _number(folder, config, "num_attention_heads", int)
        out.eps = _number(folder, config, "layer_norm_eps", float)
        activation = config.get("hidden_act", "gelu")
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            raise Error(f"{folder}/config.json: hidden_act is {activation!r}: minast has {', '.join(ACTIVATIONS)}.")
        out.gelu = ACTIVATIONS[activation]
        out.loss = LOSSES.get(str(config.get("problem_type")))
        out.labels = _labels(config.get("id2label"))
        names = {
            "num_mel_bins": "mel_bins",
            "max_length": "frames",
            "frequency_stride": "fstride",
            "time_stride": "tstride",
        }
        if "max_length" in config and "frequency_stride" in config:
            out.geometry = {own: _number(folder, config, name, int) for name, own in names.items() if name in config}
    if "num_mel_bins" in features:
        names = {"sampling_rate": "rate", "mean": "mean", "std": "std"}
        kinds = {"rate": int, "mean": float, "std": float}
        out.features = {
            own: _number(folder, features, name, kinds[own], "preprocessor_config.json")
            for name, own in names.items()
            if name in features
        }
        if features.get("do_normalize") is False:  # (x - 0) / (2 * 1/2) leaves the features as they are
            out.features |= {"mean": 0.0, "std": 0.5}
    return out


def read_labels(path):
    """Class names in a file, in order: AudioSet's class_labels_indices.csv, or one name a line.   -> list of str

    A first line with `display_name` makes it a CSV, whose `index`, if there, gives the order.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as f:
            lines = f.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Error(
            f"{path}: the labels cannot be read: {getattr(error, 'strerror', None) or 'no UTF-8 text'}."
        ) from None
    if not lines or "display_name" not in lines[0]:
        names = [line.strip() for line in lines if line.strip()]
    else:
        rows = list(csv.DictReader(lines))
        if rows and "index" in rows[0]:
            try:
                rows.sort(key=lambda row: int(row["index"]))
                whole = [int(row["index"]) for row in rows] == list(range(len(rows)))
            except (TypeError, ValueError):
                whole = False
            if not whole:
                raise Error(f"{path}: the column `index` does not count 0, 1, 2, ... without a gap.")
        names = [row["display_name"] for row in rows]
    if not names or None in names:
        raise Error(
            f"{path}: there are no labels in it: a name a line, or a CSV with a column display_name, is needed."
        )
    return names


def official_grid(patches):
    """Where the positions of an official AST lie; the file says only how many there are.   -> (rows, columns)

    The published ones (strides 10, 12, 14, 16; 10.24, 5.12 and 1.28 s) are known by their count. Another must be whole
    columns of the 12 rows that 128 mel bins make at stride 10; minast.Error, with the counts, if it is not.
    """
    for stride, frames in PUBLISHED:
        grid = grid_shape(128, frames, stride, stride)
        if prod(grid) == patches:
            return grid
    rows = grid_shape(128, 16, 10, 10)[0]
    if patches < rows or patches % rows:
        raise Error(
            f"the positions are those of {patches} patches: that is no published AST, and not whole columns of {rows} "
            "(128 mel bins at stride 10): say how they lie (source_grid=, --source-grid)."
        )
    return rows, patches // rows


def geometry_of(grid):
    """Mel bins, frames and strides that make an official AST's grid; the shortest length for an unpublished one."""
    for stride, frames in PUBLISHED:
        if grid_shape(128, frames, stride, stride) == tuple(grid):
            return {"mel_bins": 128, "frames": frames, "fstride": stride, "tstride": stride}
    stride = next((s for s, _ in PUBLISHED if grid_shape(128, 16, s, s)[0] == grid[0]), 10)
    return {"mel_bins": 128, "frames": 16 + (grid[1] - 1) * stride, "fstride": stride, "tstride": stride}


def _json(path):
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as f:
            value = json.load(f)
    except (ValueError, OSError, RecursionError):
        raise Error(f"{path}: this is no JSON file.") from None
    return value if isinstance(value, dict) else {}


def _number(folder, config, name, kind, file="config.json"):
    value = config.get(name)
    if value is None:
        return None
    sound = not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
    if not sound or (kind is int and (value != int(value) or value < 1)):
        wanted = "a whole number above 0" if kind is int else "a finite number"
        raise Error(f"{folder}/{file}: {name} is {value!r}: {wanted} is needed.")
    return kind(value)


def _labels(id2label):
    """Names in order; None where there are none, or the placeholders LABEL_0, LABEL_1, ..."""
    if not isinstance(id2label, dict) or not id2label:
        return None
    try:
        names = [str(id2label[key]) for key in sorted(id2label, key=int)]
    except ValueError:
        return None
    return None if all(name == f"LABEL_{i}" for i, name in enumerate(names)) else names
