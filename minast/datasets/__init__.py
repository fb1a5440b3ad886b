"""Labelled clips: `open_dataset("builtin" | "fsdd:PATH" | "esc10:PATH" | "esc50:PATH" | FOLDER | MANIFEST.csv)`.

One file per kind of data set, each with a function `read` that returns a `Dataset`.
"""

import os

from ..audio import EXTENSIONS
from ..errors import Error
from .common import Clip, Dataset, checked

__all__ = ["DATA", "NAMED", "Clip", "Dataset", "open_dataset"]

NAMED = ("fsdd", "esc10", "esc50")  # given as NAME:PATH
DATA = "builtin, a folder, a .csv manifest, fsdd:PATH, esc10:PATH or esc50:PATH"  # what `open_dataset` takes


def open_dataset(
    data: str | os.PathLike = "builtin", seed: int = 0, fold: int | None = None, training: bool = True
) -> Dataset:
    """Find the clips of a data set, their labels and their splits. Nothing is decoded yet.

    data: "builtin", "fsdd:PATH", "esc10:PATH", "esc50:PATH", a folder with one sub-folder per class, or a CSV manifest.
    seed: draws the split of data that come without one, and the built-in sounds. fold: the test fold of esc10 and esc50
    (default 1). training: also refuse data that cannot be trained on: a single class, or no clips to train or validate
    on. Raises minast.Error for these, and for data that are missing or malformed.
    """
    if seed < 0:
        raise Error(f"the seed is {seed}: it must be 0 or more.")
    found = _read(str(data), seed, fold)
    return checked(found) if training else found


def _read(data, seed, fold):
    from . import esc, folder, fsdd, manifest

    if not data:
        raise Error(f"DATA is empty: it is {DATA}.")
    kind, _, path = data.partition(":")
    if fold is not None and kind not in ("esc10", "esc50"):
        raise Error(f"{data}: these data have no folds; --fold is for esc10:PATH and esc50:PATH.")
    if data == "builtin":
        from . import builtin

        return builtin.read(seed)
    if kind in NAMED:
        if not path:
            raise Error(f"{data}: {kind} needs its folder, as {kind}:PATH.")
        if not os.path.isdir(path):
            raise Error(f"{data}: there is no folder {path}.")
        return fsdd.read(path) if kind == "fsdd" else esc.read(path, kind, 1 if fold is None else fold)
    if os.path.isdir(data):
        return folder.read(data, seed)
    if os.path.isfile(data):
        if data.lower().endswith(EXTENSIONS):
            raise Error(f"{data} is one recording: DATA is {DATA}.")
        return manifest.read(data, seed)
    raise Error(f"{data}: there is no such folder or file; DATA is {DATA}.")
