"""Free Spoken Digit Dataset: recordings/{digit}_{speaker}_{take}.wav. Official split: takes 0 to 4 are the test set."""

import os
import re

from ..errors import Error
from .common import Clip, Dataset
from .registry import Source, register

NAME = re.compile(r"(\d)_(\w+)_(\d+)\.wav")


def read(path: str, seed: int = 0) -> Dataset:
    """The folder of the Free Spoken Digit Dataset, or its `recordings`. Classes "0" to "9"."""
    clips = []
    for file, match in _files(path):
        digit, _, take = match.groups()
        clips.append(Clip(file, (int(digit),), "test" if int(take) < 5 else "train", path=file))
    if not clips:
        raise Error(f"{path}: no file here is named like 7_jackson_32.wav, as the Free Spoken Digit Dataset's are.")
    labels = [str(k) for k in range(10)]
    return Dataset(f"fsdd:{path}", labels, clips, split_from="official: takes 0 to 4 are the test set", kind="fsdd")


def _files(path):
    folder = os.path.join(path, "recordings")
    folder = folder if os.path.isdir(folder) else path
    for name in sorted(os.listdir(folder)):
        if match := NAME.fullmatch(name):
            yield os.path.join(folder, name), match


def _recognise(path):
    return next(_files(path), None) is not None


register(Source("fsdd", "Free Spoken Digit Dataset: 3000 clips, 10 digits", read, recognise=_recognise))
