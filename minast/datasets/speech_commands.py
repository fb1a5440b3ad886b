"""Speech Commands V2 (Warden 2018): {word}/{speaker}_nohash_{take}.wav, 35 words.

Official split: the files in testing_list.txt are the test set, those in validation_list.txt the validation set, all
others are trained on (84,843, 9,981 and 11,005 clips). The speaker is the hash before _nohash_. _background_noise_
holds noise to mix in, no class.
"""

import os

from .. import audio
from ..errors import Error
from ..text import counted, visible
from . import official
from .clips import Clip
from .common import Dataset, Skipped
from .registry import Download, Source, register

WORDS = 35
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}


def read(path: str, seed: int = 0) -> Dataset:
    """The folder of Speech Commands. Classes are its sub-folders, groups are speakers."""
    path = official.root(path, LISTS["test"])
    split_of = {name: split for split, file in LISTS.items() for name in _listed(os.path.join(path, file))}
    words = sorted(e.name for e in os.scandir(path) if os.path.isdir(e.path) and not e.name.startswith(("_", ".")))
    clips, here = [], set()
    for k, word in enumerate(words):
        for name in sorted(os.listdir(os.path.join(path, word))):
            if name.lower().endswith(audio.readable()):
                file, own = os.path.join(path, word, name), f"{word}/{name}"
                clips.append(Clip(file, (k,), split_of.get(own, "train"), file, group=name.partition("_nohash_")[0]))
                here.add(own)
    if not clips:
        raise Error(f"{path}: there are no folders like right/ with files like bb05582b_nohash_3.wav here.")
    notes, skipped = [], []
    if len(words) != WORDS:
        notes.append(f"{counted(len(words), 'word')} instead of the {WORDS} of version 2")
    if lost := sorted(split_of.keys() - here):
        skipped.append(Skipped("files that the official lists name and that are not here", tuple(lost)))
    return Dataset(
        f"speech-commands:{path}",
        [official.spelt(word, os.path.join(path, word)) for word in words],
        clips,
        kind="speech-commands",
        split_from="official: validation_list.txt and testing_list.txt",
        notes=tuple(notes),
        skipped=tuple(skipped),
    )


def _listed(path):
    """The files of an official list: word/name."""
    try:
        with open(path, encoding="utf-8") as f:
            return [line.strip().replace("\\", "/") for line in f if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Error(
            f"{visible(path)}: the official list cannot be read ({reason}): speech-commands:PATH needs "
            f"{' and '.join(LISTS.values())} in PATH, as they were published."
        ) from None


def _recognise(path):
    return all(os.path.isfile(os.path.join(path, name)) for name in LISTS.values())


register(
    Source(
        "speech-commands",
        "Speech Commands V2: 105,829 clips, 35 words",
        read,
        recognise=_recognise,
        download=Download(  # checksum as in torchaudio/datasets/speechcommands.py, TensorFlow Datasets' checksums.tsv
            "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
            size=2428923189,
            sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            clips=105829,
            licence="CC BY 4.0",
        ),
    )
)
