"""ESC-10 and ESC-50 with their five official folds, one of which is the test set.

Two layouts: "NNN - Class/F-ID-X.ogg" (ESC-10 as first published), and audio/*.wav with meta/esc50.csv. F is the fold,
ID the Freesound recording that the clip was cut from, X counts the clips of one recording.
"""

import os
import re
from functools import partial

from ..errors import Error
from . import official
from .common import Clip, Dataset
from .registry import Download, Source, register

FOLDS = (1, 2, 3, 4, 5)
FOLDER = re.compile(r"\d+ - (.+)")
NAME = re.compile(r"([1-5])-([^-]+)-.+\.(ogg|wav)")


def read(kind: str, path: str, seed: int = 0) -> Dataset:
    """ESC-10 (kind "esc10") or ESC-50 ("esc50") in a folder, with the fold and the source recording of each clip."""
    table = _table_of(path)
    found = list(_table(path, table, kind) if os.path.isfile(table) else _folders(path))
    if not found:
        raise Error(f"{path}: neither meta/esc50.csv nor folders like '001 - Dog bark' with 1-100032-A.ogg are here.")
    labels = sorted({name for name, *_ in found})
    clips = [
        Clip(file, (labels.index(name),), path=file, fold=fold, group=source)
        for name, fold, file, source in sorted(found)
    ]
    clips, bad = official.found(clips, labels, table)
    return Dataset(f"{kind}:{path}", labels, clips, split_from="official", kind="esc", bad=bad)


def _recognise(path, kind):
    if os.path.isfile(_table_of(path)):
        return kind == "esc50"
    found = list(_folders(path))
    return bool(found) and (kind == "esc50") == (len({name for name, *_ in found}) > 10)


def _table_of(path):
    return os.path.join(path, "meta", "esc50.csv")


def _folders(path):
    """(class, fold, file, source recording) of each clip"""
    for folder in sorted(os.listdir(path)):
        inside = os.path.join(path, folder)
        if (match := FOLDER.fullmatch(folder)) and os.path.isdir(inside):
            for name in os.listdir(inside):
                if own := NAME.fullmatch(name):
                    yield (
                        official.spelt(match.group(1), inside),
                        int(own.group(1)),
                        os.path.join(inside, name),
                        own.group(2),
                    )


def _table(path, table, kind):
    """The same, of the clips that meta/esc50.csv names"""
    for row in official.records(table, "ESC-50", "filename", "fold", "category", "esc10"):
        if kind == "esc50" or row["esc10"] == "True":
            fold, own = official.whole(row["fold"], table, "fold"), NAME.fullmatch(row["filename"])
            file = os.path.join(path, "audio", row["filename"])
            yield official.spelt(row["category"], table), fold, file, own.group(2) if own else ""


ARCHIVE = Download(
    "https://github.com/karolpiczak/ESC-50/archive/refs/heads/master.zip", clips=2000, licence="CC BY-NC 3.0"
)
register(
    Source(
        "esc10",
        "ESC-10: 400 clips, 10 classes",
        partial(read, "esc10"),
        folds=FOLDS,
        recognise=partial(_recognise, kind="esc10"),
    )
)
register(
    Source(
        "esc50",
        "ESC-50: 2000 clips, 50 classes",
        partial(read, "esc50"),
        folds=FOLDS,
        recognise=partial(_recognise, kind="esc50"),
        download=ARCHIVE,
    )
)
