"""A folder with one sub-folder per class, or with train/ and test/ (and valid/) that each hold such sub-folders."""

import os

from ..audio import EXTENSIONS
from ..errors import Error
from .common import SPLITS, Clip, Dataset, audio_files, stratified

ALIASES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
}
ALIASES |= {"test": "test", "testing": "test", "eval": "test"}


def read(folder: str, seed: int) -> Dataset:
    """The clips in a folder. If it does not split them, a fifth of each class is held out, drawn by `seed`."""
    top = _folders(folder)
    given = {name: ALIASES[name.lower()] for name in top if name.lower() in ALIASES}
    if "train" in given.values() and len(given) == len(top) > 1:
        found = [
            (split, name, os.path.join(folder, sub, name))
            for sub, split in given.items()
            for name in _folders(os.path.join(folder, sub))
        ]
    else:
        given, found = {}, [("", name, os.path.join(folder, name)) for name in top]
    files = {(split, name): audio_files(path) for split, name, path in found}
    labels = sorted({name for (_, name), paths in files.items() if paths})
    if not labels:
        what = f"{len(top)} sub-folders but no audio in them" if top else "no sub-folders"
        raise Error(
            f"{folder}: this folder has {what}; training needs one sub-folder per class, with "
            f"{', '.join(e[1:] for e in EXTENSIONS[:4])} files in it."
        )
    clips = [
        Clip(path, (labels.index(name),), split, path=path)
        for (split, name), paths in sorted(
            files.items(), key=lambda item: (SPLITS.index(item[0][0]) if given else 0, item)
        )
        for path in paths
    ]
    if not given and len(labels) > 1:
        clips = stratified(clips, seed)
    origin = "given by the folders" if given else f"a fifth of each class held out, seed {seed}"
    return Dataset(str(folder), labels, clips, split_from=origin)


def _folders(path):
    return sorted(e.name for e in os.scandir(path) if e.is_dir() and not e.name.startswith("."))
