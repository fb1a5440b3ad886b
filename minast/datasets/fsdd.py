"""Free Spoken Digit Dataset: recordings/{digit}_{speaker}_{take}.wav.

`fsdd` has the official split: takes 0 to 4 are the test set, so each speaker is in both parts. `fsdd-speakers` has one
fold per speaker, in alphabetical order: the test set is a voice that the model has never heard.
"""

import os
import re
from functools import partial

from ..errors import Error
from .common import Clip, Dataset
from .registry import Download, Source, register

NAME = re.compile(r"(\d)_(\w+)_(\d+)\.wav")
SPEAKERS = 6  # in version 1.0.10
LABELS = [str(k) for k in range(10)]


def read(by_speaker: bool, path: str, seed: int = 0) -> Dataset:
    """The folder of the Free Spoken Digit Dataset, or its `recordings`. Classes "0" to "9", groups are speakers."""
    found = [(file, *match.groups()) for file, match in _files(path)]
    if not found:
        raise Error(f"{path}: no file here is named like 7_jackson_32.wav, as the Free Spoken Digit Dataset's are.")
    if not by_speaker:
        clips = [
            Clip(file, (int(digit),), "test" if int(take) < 5 else "train", path=file, group=speaker)
            for file, digit, speaker, take in found
        ]
        return Dataset(f"fsdd:{path}", LABELS, clips, split_from="official: takes 0 to 4 are the test set", kind="fsdd")
    speakers = sorted({speaker for _, _, speaker, _ in found})
    clips = [
        Clip(file, (int(digit),), path=file, fold=1 + speakers.index(speaker), group=speaker)
        for file, digit, speaker, _ in found
    ]
    who = ", ".join(f"{fold} {name}" for fold, name in enumerate(speakers, 1))
    notes = [f"each fold is a speaker: {who}"]
    return Dataset(f"fsdd-speakers:{path}", LABELS, clips, split_from="by speaker", kind="fsdd", notes=tuple(notes))


def _files(path):
    folder = os.path.join(path, "recordings")
    folder = folder if os.path.isdir(folder) else path
    for name in sorted(os.listdir(folder)):
        if match := NAME.fullmatch(name):
            yield os.path.join(folder, name), match


def _recognise(path):
    return next(_files(path), None) is not None


register(
    Source(
        "fsdd",
        "Free Spoken Digit Dataset: 3000 clips, 10 digits",
        partial(read, False),
        recognise=_recognise,
        download=Download(
            "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",
            clips=3000,
            licence="CC BY-SA 4.0",
        ),
    )
)
register(
    Source(
        "fsdd-speakers",
        "Free Spoken Digit Dataset, one speaker left out",
        partial(read, True),
        folds=tuple(range(1, SPEAKERS + 1)),
    )
)
