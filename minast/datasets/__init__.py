"""Labelled clips: `open_dataset("builtin" | "fsdd:PATH" | "esc10:PATH" | ... | FOLDER | MANIFEST.csv)`.

What a folder means is decided in `layout`, what a table means in `table`. A data set that is known by name has a file
of its own, which registers it (`registry`): adding one is adding one file, whose function `read` returns a `Dataset`.
"""

import importlib
import os
import pkgutil

import numpy as np

from ..audio import CONVERTIBLE, EXTENSIONS
from ..errors import Error
from . import folder, manifest
from .common import Clip, Dataset, checked
from .registry import SOURCES, data_help, fold_help
from .splits import NOW, assigned
from .summary import understood

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg):
    importlib.import_module(f"{__name__}.{_module}")  # those of known data sets register themselves

__all__ = ["DATA", "FOLD", "NAMED", "SOURCES", "Clip", "Dataset", "open_dataset", "understood"]

NAMED = tuple(source.name for source in SOURCES.values() if source.path)  # given as NAME:PATH
DATA = data_help()  # what `open_dataset` takes
FOLD = fold_help()


def open_dataset(
    data: str | os.PathLike = "builtin",
    seed: int = 0,
    fold: int | None = None,
    training: bool = True,
    *,
    usual_fold: int | None = None,
    drawn_by: str = NOW,
    trained_on: np.ndarray | None = None,
    skip_bad: bool = False,
    validation: float | None = None,
    folds: int | None = None,
    alike: bool | str = False,
) -> Dataset:
    """Find the clips of a data set, their labels and their splits. Nothing is decoded yet.

    data: "builtin", "NAME:PATH" for a name in `SOURCES`, a folder, or a CSV manifest. seed: draws the split of data
    without one, and the built-in sounds. fold: the test fold of data that come in folds (default: `usual_fold`, else
    the first). training: also refuse data that cannot be trained on: a single class, no clips to train or validate
    on, a class without training clips. trained_on: clips (`content.trained_on`) that a split that is drawn does not
    hold out. skip_bad: go on without files that are named and not there; they are in `bad`.

    What is drawn never tears a `group` or the copies of a file apart. Data without splits or folds are divided into
    train, validation and test: a fifth of each class is for testing, a fifth of the rest for validation. validation:
    another share of the training clips, 0 for none, also for data that have a test split or folds and no validation
    split. folds: so many are drawn, and a split that the data have is not used. alike: whether clips with the same
    sound are looked for and kept together as well, which reads all files (up to `near.MOST`); or what
    `Dataset.alike` was when the split was drawn before. drawn_by: "content" or "position" draw train and test alone,
    as earlier versions did; with "learnt" a clip in `trained_on`, or one that belongs with it, is "train".
    Raises minast.Error for these, and for data that are missing, malformed or could mean several things.
    """
    if seed < 0:
        raise Error(f"the seed is {seed}: it must be 0 or more.")
    if validation is not None and not 0 <= validation < 1:
        raise Error(f"the share of validation clips is {validation:g}: it must be 0 or more, and below 1.")
    read = _read(str(data), seed, fold if folds is None else None)
    found = assigned(read, seed, fold, usual_fold, drawn_by, trained_on, validation, folds, alike)
    if found.bad and not skip_bad:
        rest = len(found.bad) - 1
        more = f" {rest} more {'file is' if rest == 1 else 'files are'} missing." if rest else ""
        raise Error(found.bad[0].reason + more)
    return checked(found) if training else found


def _read(data, seed, fold):
    if not data:
        raise Error(f"DATA is empty: it is {DATA}.")
    name, colon, path = data.partition(":")
    source = SOURCES.get(name)
    if source and bool(colon) == source.path:
        if source.path and not path:
            raise Error(f"{data}: {name} needs its folder, as {source.usage}.")
        if source.path and not os.path.isdir(path):
            raise Error(f"{data}: there is no folder {path}.")
        if fold is not None and source.folds and fold not in source.folds:
            raise Error(f"fold is {fold}: {name} has folds {source.folds[0]} to {source.folds[-1]}.")
        return source.read(path, seed)
    if os.path.isdir(data):
        return _folder(data, seed)
    if os.path.isfile(data):
        if data.lower().endswith(EXTENSIONS + CONVERTIBLE):
            raise Error(f"{data} is one recording: DATA is {DATA}.")
        return manifest.read(data, seed)
    if source and source.path:
        raise Error(f"{data}: {name} needs its folder, as {source.usage}.")
    raise Error(f"{data}: there is no such folder or file; DATA is {DATA}.")


def _folder(path, seed):
    """The data of a folder, with a hint if it looks like a data set that has a name."""
    known = next((source for source in SOURCES.values() if source.recognise and source.recognise(path)), None)
    try:
        found = folder.read(path, seed)
    except Error as error:
        if known is None:
            raise
        raise Error(f"{error} This looks like {known.title}: give it as {known.name}:{path}.") from None
    if known is None:
        return found
    if len(found.labels) < 2:
        raise Error(f"{path}: this looks like {known.title}: give it as {known.name}:{path}.")
    return found.noting(f"this looks like {known.title}: {known.name}:{path} uses its official split")
