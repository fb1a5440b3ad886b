"""Where clips come from: `open_dataset("builtin" | "fsdd:PATH" | "esc10:PATH" | FOLDER | MANIFEST.csv)`."""

import os

from ..errors import Error
from .common import Clip, Dataset

__all__ = ["Clip", "Dataset", "open_dataset"]

NAMES = "builtin, fsdd:PATH, esc10:PATH, esc50:PATH, a folder with one sub-folder per class, or a CSV manifest"


def open_dataset(data="builtin", seed=0, fold=None):
    """-> Dataset. seed: of the split where the data come without one, and of the built-in sounds.

    fold: which fold is the test set, for data sets that have folds (default 1).
    """
    from . import esc, folder, fsdd, manifest

    kind, _, path = str(data).partition(":")
    if fold is not None and kind not in ("esc10", "esc50"):
        raise Error(f"{data}: these data have no folds, --fold is for esc10:PATH and esc50:PATH.")
    if data == "builtin":
        from . import builtin_set

        return builtin_set.read(seed)
    if kind in ("fsdd", "esc10", "esc50"):
        if not path:
            raise Error(f"{data}: {kind} needs the folder it lies in, as {kind}:PATH.")
        if not os.path.isdir(path):
            raise Error(f"{data}: there is no folder {path}.")
        return fsdd.read(path) if kind == "fsdd" else esc.read(path, kind, 1 if fold is None else fold)
    if os.path.isdir(data):
        return folder.read(data, seed)
    if os.path.isfile(data):
        return manifest.read(data, seed)
    raise Error(f"{data}: there is no such folder or file; DATA is {NAMES}.")
