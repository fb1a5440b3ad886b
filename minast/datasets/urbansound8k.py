"""UrbanSound8K (Salamon, Jacoby, Bello 2014): audio/foldN/*.wav and metadata/UrbanSound8K.csv, ten official folds.

The folds are not to be mixed: clips of one Freesound recording (column fsID) are in one fold.
"""

import os

from ..errors import Error
from . import official
from .common import Clip, Dataset
from .registry import Source, register

TABLE = ("metadata", "UrbanSound8K.csv")
COLUMNS = ("slice_file_name", "fsID", "fold", "class")


def read(path: str, seed: int = 0) -> Dataset:
    """The folder of UrbanSound8K, or the one it is in. Groups are the recordings that clips were cut from."""
    path = official.root(path, *TABLE)
    table = os.path.join(path, *TABLE)
    if not os.path.isfile(table):
        raise Error(f"{path}: there is no {os.path.join(*TABLE)} here, which names UrbanSound8K's clips.")
    rows = list(official.records(table, "UrbanSound8K", *COLUMNS))
    names = [official.spelt(row["class"], table) for row in rows]
    labels = sorted(set(names))
    clips = []
    for row, name in zip(rows, names, strict=True):
        fold = official.whole(row["fold"], table, "fold")
        file = os.path.join(path, "audio", f"fold{fold}", row["slice_file_name"])
        clips.append(Clip(file, (labels.index(name),), path=file, fold=fold, group=row["fsID"]))
    clips, bad = official.found(clips, labels, table)
    return Dataset(f"urbansound8k:{path}", labels, clips, split_from="official", kind="urbansound8k", bad=bad)


def _recognise(path):
    return os.path.isfile(os.path.join(path, *TABLE))


register(
    Source(
        "urbansound8k",
        "UrbanSound8K: 8732 clips, 10 classes",
        read,
        folds=tuple(range(1, 11)),
        recognise=_recognise,
    )
)
