"""ESC-10 and ESC-50 with their five official folds, one of which is the test set.

Two layouts: "NNN - Class/F-ID-X.ogg" (ESC-10 as first published), and audio/*.wav with meta/esc50.csv.
"""

import csv
import os
import re
from functools import partial

from ..errors import Error
from ..text import visible
from .common import Bad, Clip, Dataset
from .registry import Source, register

FOLDS = (1, 2, 3, 4, 5)
FOLDER = re.compile(r"\d+ - (.+)")
NAME = re.compile(r"([1-5])-.+\.(ogg|wav)")


def read(kind: str, path: str, seed: int = 0) -> Dataset:
    """ESC-10 (kind "esc10") or ESC-50 ("esc50") in a folder, with the fold of each clip."""
    table = _table_of(path)
    found = list(_table(path, table, kind) if os.path.isfile(table) else _folders(path))
    if not found:
        raise Error(f"{path}: neither meta/esc50.csv nor folders like '001 - Dog bark' with 1-100032-A.ogg are here.")
    labels = sorted({name for name, _, _ in found})
    clips = [Clip(file, (labels.index(name),), path=file, fold=fold) for name, fold, file in sorted(found)]
    missing = [clip for clip in clips if not os.path.isfile(clip.path)]
    bad = [
        Bad(c.name, (labels[c.labels[0]],), f"{visible(table)}: there is no file {visible(c.path)}.") for c in missing
    ]
    clips = [clip for clip in clips if clip not in missing] if missing else clips
    return Dataset(f"{kind}:{path}", labels, clips, split_from="official", kind="esc", bad=tuple(bad))


def _recognise(path, kind):
    if os.path.isfile(_table_of(path)):
        return kind == "esc50"
    found = list(_folders(path))
    return bool(found) and (kind == "esc50") == (len({name for name, _, _ in found}) > 10)


def _table_of(path):
    return os.path.join(path, "meta", "esc50.csv")


def _folders(path):
    for folder in sorted(os.listdir(path)):
        inside = os.path.join(path, folder)
        if (match := FOLDER.fullmatch(folder)) and os.path.isdir(inside):
            for name in os.listdir(inside):
                if own := NAME.fullmatch(name):
                    yield match.group(1), int(own.group(1)), os.path.join(inside, name)


def _table(path, table, kind):
    try:
        with open(table, newline="", encoding="utf-8") as f:
            for row in csv.DictReader(f):
                if kind == "esc50" or row["esc10"] == "True":
                    name, fold = row["category"].replace("_", " "), int(row["fold"])
                    yield name, fold, os.path.join(path, "audio", row["filename"])
    except (KeyError, ValueError, AttributeError, csv.Error) as error:
        raise Error(f"{visible(table)}: this is not ESC-50's table ({error!r}).") from None


for _kind, _title in (("esc10", "ESC-10: 400 clips, 10 classes"), ("esc50", "ESC-50: 2000 clips, 50 classes")):
    register(
        Source(_kind, _title, partial(read, _kind), folds=FOLDS, recognise=partial(_recognise, kind=_kind)),
    )
