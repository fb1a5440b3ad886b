"""FSD50K (Fonseca et al. 2022): FSD50K.dev_audio, FSD50K.eval_audio, FSD50K.ground_truth; 200 classes, multi-label.

Official split: dev.csv says which clips are trained on and which validate (36,796 and 4,170), those of eval.csv are the
test set (10,231). Where FSD50K.metadata is there as well, its uploaders are the groups.
"""

import json
import os

from ..errors import Error
from ..text import counted, visible
from . import official
from .common import Clip, Dataset
from .registry import Source, register
from .table import place

TRUTH = "FSD50K.ground_truth"
SPLITS = {"train": "train", "val": "valid"}


def read(path: str, seed: int = 0) -> Dataset:
    """The folder that FSD50K's folders are in. Classes in the order of vocabulary.csv."""
    path = official.root(path, TRUTH, "dev.csv")
    vocabulary = os.path.join(path, TRUTH, "vocabulary.csv")
    labels = _vocabulary(vocabulary)
    number = {name: k for k, name in enumerate(labels)}
    clips, bad, notes = [], [], []
    for part in ("dev", "eval"):
        table = os.path.join(path, TRUTH, f"{part}.csv")
        uploader = _uploaders(os.path.join(path, "FSD50K.metadata", f"{part}_clips_info_FSD50K.json"))
        own = [
            _clip(row, part, path, table, number, uploader)
            for row in official.records(table, "FSD50K", "fname", "labels", *(["split"] if part == "dev" else []))
        ]
        if uploader is None:
            notes.append(f"FSD50K.metadata has no {part}_clips_info_FSD50K.json: who uploaded these clips is not known")
        elif unknown := sum(not clip.group for clip in own):
            notes.append(f"of {counted(unknown, f'{part} clip')} the metadata do not say who uploaded them")
        here, lost = official.found(own, labels, table)
        clips += here
        bad += lost
    return Dataset(
        f"fsd50k:{path}",
        [official.spelt(name, vocabulary) for name in labels],
        clips,
        multilabel=True,
        kind="fsd50k",
        split_from="official",
        notes=tuple(notes),
        bad=tuple(bad),
    )


def _clip(row, part, path, table, number, uploader):
    name, split = row["fname"], "test" if part == "eval" else SPLITS.get(row["split"])
    names = row["labels"].split(",")
    if split is None:
        raise Error(f"{visible(table)}: the split of clip {visible(name, 40)} is neither train nor val.")
    if unknown := [each for each in names if each not in number]:
        raise Error(
            f"{visible(table)}: clip {visible(name, 40)} has the label {visible(unknown[0], 80)!r}, which "
            "vocabulary.csv does not have."
        )
    file = os.path.join(path, f"FSD50K.{part}_audio", f"{name}.wav")
    labels = tuple(sorted({number[each] for each in names}))
    return Clip(file, labels, split, file, group=(uploader or {}).get(name, ""))


def _vocabulary(path):
    """The names of the classes. The file has no header: index, name, mid."""
    names = []
    try:
        with open(path, encoding="utf-8-sig") as f:
            for line, text in enumerate(f, 1):
                cells = text.rstrip("\r\n").split(",")
                if len(cells) != 3 or cells[0] != str(len(names)):
                    raise Error(f"{place(path, line)}: FSD50K's vocabulary has lines such as 3,Aircraft,/m/0k5j.")
                names.append(cells[1])
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Error(f"{visible(path)}: FSD50K's list of classes cannot be read: {reason}.") from None
    return names


def _uploaders(path):
    """{clip: who uploaded it}; None without the file."""
    try:
        with open(path, encoding="utf-8") as f:
            return {name: str(about["uploader"]) for name, about in json.load(f).items() if about.get("uploader")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise Error(f"{visible(path)}: this is not FSD50K's description of its clips ({error}).") from None


def _recognise(path):
    return os.path.isfile(os.path.join(path, TRUTH, "dev.csv"))


register(Source("fsd50k", "FSD50K: 51,197 clips, 200 classes, multi-label", read, recognise=_recognise))
