"""A part of a recording, without decoding all that is before it each time.

Level and channels are judged over a whole recording (`Recording`), so that a part of it sounds as it does in the whole.
What was judged is remembered for the files that were read last; a part is then found by seeking in formats whose frames
can be counted, and by decoding from the beginning in others.
"""

import math
import os
from collections.abc import Iterator
from functools import lru_cache
from threading import Lock

import numpy as np

from ..errors import Error
from .level import mono
from .notes import CUT, Note
from .recording import Recording
from .resample import resample

COUNTED = ("WAV", "WAVEX", "W64", "RF64", "AIFF", "AU", "CAF", "FLAC")  # formats in which libsndfile seeks exactly
MARGIN = 0.1  # s that are resampled on both sides, and dropped
LACKING = 0.1  # s that a part may reach beyond the end without a note
REMEMBERED = 8  # recordings, 16 MiB each at most

_lock = Lock()


def read(path: str, part: tuple[float, float], rate: int | None) -> tuple[Recording, np.ndarray, list[Note]]:
    """From `part[0]` to `part[1]` (s) of a file.   -> its recording, wave (n,) float32 at `rate` Hz, notes

    rate: in Hz; None keeps the file's own. A part that ends after the recording does ends with it; a note says so.
    Raises minast.Error as `Recording` does, and for a part that begins where the recording has ended.
    """
    about = os.stat(path) if os.path.exists(path) else None
    with _lock:  # so that threads that want parts of one file judge it once
        recording = _judged(path, about and (about.st_size, about.st_mtime_ns, about.st_ino))
    start, end = part
    rate, seconds = rate or recording.rate, recording.seconds
    if start >= seconds:
        raise Error(f"{path}: a clip is said to begin at {start:g} s, and the recording ends at {seconds:.3f} s.")
    notes = list(recording.notes)
    if end > seconds + LACKING:
        notes.append(Note(CUT, f"a clip is said to end at {end:g} s, and the recording ends at {seconds:.3f} s."))
    wave = _sought(recording, start, min(end, seconds), rate)
    wave = _from_the_beginning(recording, start, min(end, seconds), rate) if wave is None else wave
    return recording, wave, notes


@lru_cache(maxsize=REMEMBERED)
def _judged(path, about):
    """about: what changes when the file does"""
    return Recording(path)


def _sought(recording, start, end, rate):
    """The part (n,), by seeking; None for a file in which frames cannot be counted, or that is not quite as it says."""
    import soundfile

    level = recording.only
    if level is None:
        return None
    try:
        with soundfile.SoundFile(recording.path) as file:
            if file.format not in COUNTED or file.frames != level.frames or file.samplerate != recording.rate:
                return None
            own = recording.rate
            step = own // math.gcd(own, rate)  # every so many samples one of the old rate falls onto one of the new
            first = max(0, round((start - MARGIN) * own)) // step * step
            last = min(file.frames, round((end + MARGIN) * own))
            file.seek(first)
            block = file.read(last - first, dtype="float32", always_2d=True)
    except (OSError, RuntimeError, ValueError, TypeError):
        return None
    if len(block) != last - first:
        return None
    x = mono(block, level.scale(), level.loudest_if_cancelled())
    x = x if own == rate else resample(x, own, rate)
    skip = round(start * rate) - first * rate // own
    return np.ascontiguousarray(x[skip : skip + _samples(start, end, rate)])


def _from_the_beginning(recording, start, end, rate):
    """The part (n,), by decoding up to its end."""
    first, count = round(start * rate), _samples(start, end, rate)
    return np.concatenate([np.zeros(0, np.float32), *_within(recording.blocks(rate), first, first + count)])


def _within(blocks, first, last) -> Iterator[np.ndarray]:
    begin = 0
    for block in blocks:
        if begin + len(block) > first:
            yield block[max(0, first - begin) : last - begin]
        begin += len(block)
        if begin >= last:
            return


def _samples(start, end, rate):
    return max(1, round((end - start) * rate))
