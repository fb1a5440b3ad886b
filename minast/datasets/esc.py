"""ESC-10 and ESC-50 with their five official folds, one of which is the test set.

Two layouts: "NNN - Class/F-ID-X.ogg" (ESC-10 as first published), and audio/*.wav with meta/esc50.csv.
"""

import csv
import os
import re

from ..errors import Error
from .common import Clip, Dataset

FOLDER = re.compile(r"\d+ - (.+)")
NAME = re.compile(r"([1-5])-.+\.(ogg|wav)")


def read(path: str, kind: str, fold: int) -> Dataset:
    """ESC-10 (kind "esc10") or ESC-50 ("esc50") in a folder. fold: 1 to 5, the test set; others: training."""
    if fold not in (1, 2, 3, 4, 5):
        raise Error(f"fold is {fold}: {kind} has folds 1 to 5.")
    table = os.path.join(path, "meta", "esc50.csv")
    found = list(_table(path, table, kind) if os.path.isfile(table) else _folders(path))
    if not found:
        raise Error(f"{path}: neither meta/esc50.csv nor folders like '001 - Dog bark' with 1-100032-A.ogg are here.")
    labels = sorted({name for name, _, _ in found})
    clips = [
        Clip(file, (labels.index(name),), "test" if own == fold else "train", path=file)
        for name, own, file in sorted(found)
    ]
    origin = f"official: fold {fold} is the test set"
    return Dataset(f"{kind}:{path}", labels, clips, split_from=origin, kind="esc")


def _folders(path):
    for folder in sorted(os.listdir(path)):
        if match := FOLDER.fullmatch(folder):
            for name in os.listdir(os.path.join(path, folder)):
                if own := NAME.fullmatch(name):
                    yield match.group(1), int(own.group(1)), os.path.join(path, folder, name)


def _table(path, table, kind):
    try:
        with open(table, newline="", encoding="utf-8") as f:
            for row in csv.DictReader(f):
                if kind == "esc50" or row["esc10"] == "True":
                    name, fold = row["category"].replace("_", " "), int(row["fold"])
                    yield name, fold, os.path.join(path, "audio", row["filename"])
    except (KeyError, ValueError, AttributeError, csv.Error) as error:
        raise Error(f"{table}: this is not ESC-50's table ({error!r}).") from None
