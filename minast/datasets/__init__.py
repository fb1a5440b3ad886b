"""Where clips come from: `open_dataset("builtin" | "fsdd:PATH" | "esc10:PATH" | FOLDER | MANIFEST.csv)`."""

import os

from ..errors import Error
from .common import Clip, Dataset, checked

__all__ = ["NAMED", "Clip", "Dataset", "open_dataset"]

NAMES = "builtin, fsdd:PATH, esc10:PATH, esc50:PATH, a folder with one sub-folder per class, or a CSV manifest"


NAMED = ("fsdd", "esc10", "esc50")


def open_dataset(data="builtin", seed=0, fold=None, training=True):
    """-> Dataset. seed: of the split where the data come without one, and of the built-in sounds.

    fold: which fold is the test set, for data sets that have folds (default 1). training: refuse, with minast.Error,
    what nothing can be learnt from: one class only, or nothing to train or to validate on.
    """
    if seed < 0:
        raise Error(f"the seed is {seed}: it must be 0 or more.")
    found = _read(str(data), seed, fold)
    return checked(found) if training else found


def _read(data, seed, fold):
    from . import esc, folder, fsdd, manifest

    kind, _, path = data.partition(":")
    if fold is not None and kind not in ("esc10", "esc50"):
        raise Error(f"{data}: these data have no folds, --fold is for esc10:PATH and esc50:PATH.")
    if data == "builtin":
        from . import builtin

        return builtin.read(seed)
    if kind in NAMED:
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
