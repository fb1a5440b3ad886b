"""The audio files of AudioSet below a folder: two million names in arrays."""

import math
import os
import re
from array import array
from dataclasses import dataclass, field
from functools import partial

from .. import audio
from ..errors import Error
from ..text import visible
from .audioset_tables import ID
from .ragged import Texts

NAME = re.compile(
    rf"(?:([\w-]{{{ID}}})|Y([\w-]{{{ID}}}))(?:_(\d{{1,9}}(?:\.\d*)?)(?:_\d{{1,9}}(?:\.\d*)?)?)?", re.ASCII
)


@dataclass
class Files:
    """The audio files below a folder whose names are those of segments, in arrays."""

    tables: dict[str, str] = field(default_factory=dict)  # file name: path
    ids: bytearray = field(default_factory=bytearray)
    starts: array = field(default_factory=partial(array, "d"))  # seconds as the name has it, NaN if it has none
    folders: list[str] = field(default_factory=list)
    folder: array = field(default_factory=partial(array, "i"))
    names: Texts = field(default_factory=Texts)
    other: Texts = field(default_factory=Texts)  # audio with other names
    convertible: Texts = field(default_factory=Texts)


def find(path: str, tables: tuple[str, ...]) -> Files:
    """The tables of these names and all audio files below a folder. Folders behind links are read once.

    Raises minast.Error for a folder that cannot be read.
    """
    from tqdm import tqdm

    found, seen = Files(), set()
    readable = audio.readable()
    walk = os.walk(path, onerror=_refuse, followlinks=True)
    bar = tqdm(walk, desc="looking for clips", unit="folder", disable=None, leave=False, delay=1)
    for folder, subfolders, entries in bar:
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found.folders.append(os.path.join(folder, ""))
        for name in sorted(entries):
            stem, dot, suffix = name.rpartition(".")
            suffix = dot + suffix.lower()
            if suffix in readable:
                ytid, start = parsed(stem)
                if ytid is None:
                    found.other.append(os.path.join(folder, name))
                    continue
                found.ids += ytid
                found.starts.append(start)
                found.folder.append(len(found.folders) - 1)
                found.names.append(name)
            elif name in tables:
                found.tables.setdefault(name, os.path.join(folder, name))
            elif suffix in audio.CONVERTIBLE:
                found.convertible.append(os.path.join(folder, name))
    return found


def _refuse(error):
    raise Error(f"{visible(error.filename)}: this folder cannot be read: {error.strerror or error}.") from None


def parsed(stem: str) -> tuple[bytes | None, float]:
    """The id and the start in a file's name; None if it has no id, NaN if it has no start.

    Lengths decide, since - and _ may be in an id, and Y at its beginning.
    """
    match = NAME.fullmatch(stem)
    if match is None:
        return None, math.nan
    start = match[3]
    return (match[1] or match[2]).encode(), float(start) if start else math.nan
