"""What is in the file of each clip: length, rate, channels, and the landmarks of its sound. Kept on disk.

A file is read once: what was found lies in the cache under a hash of its content, so that a second check, and a
training run after a check, need only the hashes.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from .. import threads
from ..audio.resample import resample
from ..console.say import note
from ..errors import Error
from ..features import FRAME
from ..storage.cache import private_folder
from ..storage.files import atomic
from ..storage.npz import Archive, write_arrays
from ..text import visible
from .clips import Clip, Clips
from .content import of_clip
from .landmarks import RATE, VERSION, landmarks

KIND = f"minast recording {VERSION}.1"  # of an entry; the second number: of what is said beside landmarks


class Recording(NamedTuple):
    """What is known about the recording of a clip."""

    seconds: float
    rate: int  # Hz
    channels: int
    silent: bool  # digital silence
    notes: tuple[str, ...]
    landmarks: np.ndarray  # (n, 2) uint32


@contextlib.contextmanager
def recordings(clips: Clips, label: str = "reading", sound: bool = True) -> Iterator[Iterator[Recording | Error]]:
    """An iterator over what is in each clip's file, in order, on all cores, with a progress bar.

    A file that cannot be read gives its minast.Error. sound: False leaves the landmarks out.
    """
    from tqdm import tqdm

    folder = _folder()
    with threads.ordered(lambda clip: recording(clip, folder, sound), clips) as results:
        yield iter(tqdm(results, total=len(clips), desc=label, unit="file", disable=None, leave=False, delay=0.5))


def recording(clip: Clip, folder: str | None = None, sound: bool = True) -> Recording | Error:
    """What is in the file of a clip, or why it cannot be used.   folder: of the cache, None for none"""
    path = _entry(clip, folder)
    if path and (found := _stored(path)):
        return found
    try:
        read = clip.read(None if clip.path else RATE)
        seconds = len(read.wave) / read.rate
        if seconds < FRAME:
            raise Error(f"{visible(clip.name)}: it lasts {seconds:.3f} s, at least {FRAME} s are needed.")
        about = seconds, int(read.rate), read.channels, not np.any(read.wave), tuple(read.notes)
        if not sound:
            return Recording(*about, np.zeros((0, 2), np.uint32))
        found = Recording(*about, landmarks(resample(read.wave, read.rate, RATE)))
    except Error as error:
        return error
    if path and path == _entry(clip, folder):  # the file is still the one whose hash the name is
        _store(path, found)
    return found


# -- the cache -----------------------------------------------------------------------------------------------------


def _folder():
    """The folder of the entries, None if there is none."""
    try:
        return os.fspath(private_folder("recordings"))
    except Error as error:  # costs time, no more
        _say_once(f"what is known about recordings is not kept on disk: {error}")
        return None


_say_once = cache(note)


def _entry(clip, folder):
    """Where the entry of a clip is or will be; None without a file that can be read, or without a cache."""
    if not folder or clip.path is None:
        return None
    try:
        key = hashlib.sha256(of_clip(clip) + KIND.encode()).hexdigest()
    except (OSError, ValueError):
        return None  # reading it will raise a clearer error
    return os.path.join(folder, key[:2], f"{key}.npz")


def _stored(path):
    """The entry at a path; None if there is none that can be used."""
    if not os.path.exists(path):
        return None
    try:
        with Archive(path) as archive:
            about = json.loads(str(archive.read("about")))
            marks = archive.read("landmarks")
        seconds, rate, channels, silent, notes = about
        if marks.dtype != np.uint32 or marks.ndim != 2 or marks.shape[1] != 2:
            return None
        return Recording(float(seconds), int(rate), int(channels), bool(silent), tuple(map(str, notes)), marks)
    except (Error, KeyError, ValueError, TypeError, OSError):
        return None


def _store(path, found):
    """Write an entry. A full disk costs time, no more."""
    *about, marks = found
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with atomic(path, private=True, sync=False) as f:
            write_arrays(f, {"about": np.array(json.dumps(about)), "landmarks": marks})
    except (Error, OSError) as error:
        _say_once(f"what is known about recordings is not kept on disk: {error}")
