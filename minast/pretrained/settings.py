"""What a pretrained model says about itself: labels, features, loss; and what is known where it is silent."""

import csv
import os
from dataclasses import dataclass, field
from math import prod

from ..config import PATCH, grid_shape
from ..errors import Error
from .fields import Fields

AUDIOSET = {"mean": -4.2677393, "std": 4.5689974}
ESC = {"mean": -6.6268077, "std": 5.358466}
SPEECH = {"mean": -6.845978, "std": 5.5654526}
# The official checkpoints by their number of classes. Speech Commands has one label a clip and was trained with BCE
# all the same. Source: egs/*/run*.sh of the official code.
KNOWN = {527: ("AudioSet", "bce", AUDIOSET), 50: ("ESC-50", "ce", ESC), 35: ("Speech Commands V2", "bce", SPEECH)}
# Strides and lengths that were published; no two of them give the same number of patches.
PUBLISHED = [(stride, frames) for stride in (10, 12, 14, 16) for frames in (1024, 512, 128)]
ACTIVATIONS = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_python": "erf"}
GEOMETRY = {"mel_bins": ("num_mel_bins", PATCH), "frames": ("max_length", PATCH)}  # own name: theirs, the least
GEOMETRY |= {"fstride": ("frequency_stride", 1), "tstride": ("time_stride", 1)}
RATES = (100, 768000)  # Hz, what FeatureConfig takes
LOSSES = {"multi_label_classification": "bce", "single_label_classification": "ce", "regression": None, None: None}


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
    """The settings of a Hugging Face folder: config.json and preprocessor_config.json beside the weights.

    A field may be missing. One that is there and means nothing raises minast.Error.
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
            out.geometry = {own: config.whole(*field) for own, field in GEOMETRY.items() if field[0] in config}
    if "num_mel_bins" in features:
        features.whole("num_mel_bins")
        rate, mean = features.whole("sampling_rate", *RATES), features.number("mean")
        found = {"rate": rate, "mean": mean, "std": features.number("std", above=0)}
        out.features = {name: value for name, value in found.items() if value is not None}
        if not features.yes_or_no("do_normalize", True):  # (x - 0) / (2 * 1/2) leaves the features as they are
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
