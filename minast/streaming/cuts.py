"""What was found, cut out of its recordings: a folder for each label, the best first. `minast train` takes such a
folder.

A cut is one channel at the recording's own rate, as the model heard it (channels averaged; see `audio`), without loss:
.flac out of .flac, else .wav; 16 bits, or 24 out of a recording with more.
"""

import heapq
import os
import re
from collections.abc import Iterable, Iterator
from itertools import count
from typing import NamedTuple

import numpy as np

from ..audio import Recording
from ..errors import Error, reason
from ..storage.files import atomic, writable_folder
from ..text import visible
from . import remote

UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')  # what some file system refuses in a name
LONGEST = 60  # characters of a label or a recording in a name


class Cut(NamedTuple):
    """A file to write: `path`, and the seconds of the recording that it holds."""

    path: str
    start: float
    end: float


def best(results: Iterable[tuple[str, dict]], labels: list[str], folder: str, top: int) -> dict[str, list[Cut]]:
    """The `top` events of each label with the highest scores.   -> {recording: its cuts}

    Their names sort best first: bell/001_0.987_street_12.500s.wav. Of equal scores the first counts as better.
    """
    heaps, order, places = {}, count(), _folders(labels)
    for name, result in results:
        for start, end, label, score in result.get("events", ()):
            heap = heaps.setdefault(label, [])
            entry = (score, -next(order), name, start, end)
            if len(heap) < top:
                heapq.heappush(heap, entry)
            else:
                heapq.heappushpop(heap, entry)
    found = {}
    for label, heap in heaps.items():
        place = os.path.join(folder, places[label])
        for rank, (score, _, name, start, end) in enumerate(sorted(heap, reverse=True), 1):
            stem, suffix = os.path.splitext(os.path.basename(name))
            ending = ".flac" if suffix.lower() == ".flac" else ".wav"
            path = os.path.join(place, f"{rank:03}_{score:.3f}_{_safe(stem)}_{start:.3f}s{ending}")
            found.setdefault(name, []).append(Cut(path, start, end))
    return found


def write(name: str, cuts: list[Cut]) -> None:
    """Cut one recording, in one pass over it. Raises minast.Error if it cannot be read or a cut cannot be written."""
    with remote.local(name) as path:
        recording = Recording(path)
        subtype = _subtype(path)
        for folder in {os.path.dirname(cut.path) for cut in cuts}:
            writable_folder(folder)
        waiting, open_cuts, begin = sorted(cuts, key=lambda cut: cut.start), [], 0
        for block in recording.blocks():
            end = begin + len(block)
            while waiting and round(waiting[0].start * recording.rate) < end:
                open_cuts.append(_writer(waiting.pop(0), recording.rate, subtype))
                next(open_cuts[-1])
            for writer in list(open_cuts):
                try:
                    writer.send((begin, block))
                except StopIteration:
                    open_cuts.remove(writer)
            if not waiting and not open_cuts:
                return
            begin = end
        for writer in open_cuts:
            try:
                writer.send(None)
            except StopIteration:
                continue


def _writer(cut: Cut, rate: int, subtype: str) -> Iterator:
    """A coroutine that takes (begin, block) until the cut is complete, or None at the recording's end."""
    import soundfile

    first, last = round(cut.start * rate), max(round(cut.end * rate), round(cut.start * rate) + 1)
    form = "FLAC" if cut.path.endswith(".flac") else "WAV"
    with atomic(cut.path, sync=False, buffering=0) as f:
        sink = _Sink(f)
        try:
            with soundfile.SoundFile(sink, "w", rate, 1, subtype, format=form) as out:
                while (given := (yield)) is not None:
                    begin, block = given
                    out.write(np.clip(block[max(0, first - begin) : last - begin], -1, 1))
                    if begin + len(block) >= last:
                        break
        except (soundfile.SoundFileError, AssertionError) as error:  # the latter for less than it was given
            if not sink.error:
                raise Error(f"{visible(cut.path)} cannot be written: {reason(error)}.") from None
        if sink.error:
            raise sink.error


class _Sink:
    """An unbuffered file for libsndfile, which would print a traceback for an error and go on: it is kept instead."""

    def __init__(self, file):
        self.file, self.error, self.seek, self.tell, self.read = file, None, file.seek, file.tell, file.read

    def write(self, data):
        """-> the bytes that were written"""
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            return 0


def _subtype(path):
    import soundfile

    try:
        with open(path, "rb") as file:  # soundfile itself opens no name that is not UTF-8
            coding = soundfile.info(file).subtype
    except (soundfile.SoundFileError, RuntimeError, OSError):  # it is read through PyAV
        coding = ""
    return "PCM_24" if coding in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE") else "PCM_16"


def _folders(labels):
    """A folder's name for each label, none twice, on file systems that ignore case either."""
    found, taken = [], set()
    for k, label in enumerate(labels):
        name = _safe(label)
        if name.casefold() in taken:
            name = f"{name} (label {k})"
        taken.add(name.casefold())
        found.append(name)
    return found


def _safe(text):
    return UNSAFE.sub("_", visible(text, LONGEST)).strip(". ") or "_"
