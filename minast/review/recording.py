"""The folder of one recording: tiles of its spectrogram, its sound in parts, relevance maps of its events.

The recording is decoded once more, in blocks: what the model looked at can only be computed when the events are known,
and the darkest and brightest colours only when all of it was heard.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from .. import threads
from ..audio.write import compressed
from ..config import FeatureConfig
from ..explain_plot import relevance_over_time
from ..features import hop_seconds
from ..pages.sound import relevance_png
from ..streaming.sound import OpenSound
from .spool import Spool
from .tiles import TILE, count_levels, encoded, ending, tiles

SOUND = 60  # seconds of a part of the sound
AHEAD = 6  # pictures and sounds that are compressed at a time, or wait for it
MOST_SECONDS = 20.0  # of an event whose relevance is computed
KINDS = {"audio/mpeg": "mp3", "audio/ogg": "ogg", "audio/wav": "wav"}


def write(
    folder: str,
    path: str,
    features: FeatureConfig,
    chosen: Sequence[tuple[int, float, float, int]],
    model=None,
    info=None,
) -> dict:
    """Write all that the page shows of the recording at `path` into an empty folder.   -> what the page must know of it

    {"seconds", "levels" (of zoom), "sound" (the ending of its parts), "relevance": {number of an event: [from, to]}}.
    chosen: (number, start, end, label) of events whose relevance is wanted. Raises minast.Error if it cannot be read.
    """
    sounds = Sounds(features.rate)
    with Spool(features.mel_bins) as spool:
        sound = OpenSound(path, features, heard=sounds.add)
        with threads.ordered(sounds.written, _heard(sound, spool, sounds, folder), AHEAD) as written:
            kinds = set(written)
        count = count_levels(spool.frames)
        with threads.ordered(_picture, _pictures(spool, count, folder), AHEAD) as written:
            for _ in written:
                pass
        maps = {i: _relevance(folder, spool, model, info, i, a, b, k) for i, a, b, k in chosen}
    return {"seconds": round(sound.seconds, 3), "levels": count, "sound": kinds.pop(), "relevance": maps}


def _heard(sound, spool, sounds, folder):
    """Put the log-mel away; the parts of the sound, as soon as each is complete.   -> (path without ending, wave)"""
    for i, wave in enumerate(chain(_during(sound, spool, sounds), sounds.rest())):
        yield os.path.join(folder, f"{i:04}"), wave


def _during(sound, spool, sounds):
    for mel in sound.mels():
        spool.add(mel)
        yield from sounds.complete()


class Sounds:
    """A waveform that comes in blocks, cut into parts of SOUND seconds."""

    def __init__(self, rate: int):
        self.rate, self._waiting = rate, []

    def add(self, block: np.ndarray) -> None:
        """The next samples."""
        self._waiting.append(block)

    def complete(self) -> Iterator[np.ndarray]:
        """The parts that are complete."""
        size = SOUND * self.rate
        if sum(map(len, self._waiting)) < size:
            return
        whole = np.concatenate(self._waiting)
        last = len(whole) // size * size
        self._waiting = [whole[last:]]
        yield from (whole[i : i + size] for i in range(0, last, size))

    def rest(self) -> Iterator[np.ndarray]:
        """What is left at the end, in parts."""
        yield from self.complete()
        if sum(map(len, self._waiting)):
            yield np.concatenate(self._waiting)

    def written(self, part: tuple[str, np.ndarray]) -> str:
        """Compress a part and write it.   -> its ending"""
        kind, content = compressed(part[1], self.rate)
        _write(f"{part[0]}.{KINDS[kind]}", content)
        return KINDS[kind]


def _pictures(spool, count, folder):
    for tile in tiles(spool.levels(TILE), count):
        yield os.path.join(folder, f"{tile.level}-{tile.place:04}.{ending()}"), tile.levels


def _picture(tile):
    _write(tile[0], encoded(tile[1]))


def _relevance(folder, spool, model, info, i, start, end, label):
    """Write the map of one event, of its first MOST_SECONDS.   -> [from, to], the seconds that it shows

    What is shown reaches over the segments in which the event was heard, which may begin before it and end after it.
    """
    f, step = info.features, hop_seconds(info.features.rate)
    first, last = round(start / step), max(round(min(end, start + MOST_SECONDS) / step), round(start / step) + 1)
    lacking = max(0, f.frames - (last - first))  # an event may be shorter than a segment: then it is in its middle
    first = max(0, min(first - lacking // 2, spool.frames - f.frames))
    last = min(max(last, first + f.frames), spool.frames)
    values = relevance_over_time(model, info, spool.mel(first, last), label)
    _write(os.path.join(folder, f"r{i}.png"), relevance_png(values))
    return [round(first * step, 3), round(last * step, 3)]


def _write(path, content):
    """Into a folder that nobody looks into before it is complete: no file needs to be replaced in one step."""
    with open(path, "wb") as file:
        file.write(content)
