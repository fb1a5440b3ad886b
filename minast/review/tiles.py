"""A spectrogram of any length as pictures of TILE columns, at zoom levels: a column of level k is FACTOR**k frames."""

import io
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from .. import plots
from ..pages.sound import png

TILE = 2048  # columns of a picture: 20 s at level 0
FACTOR = 4  # from one level to the next
QUALITY = 75  # of WebP: 2 kB a second of sound at level 0, where PNG takes 9


class Tile(NamedTuple):
    """A picture to write.   levels (t, F) uint8, t <= TILE"""

    level: int
    place: int
    levels: np.ndarray


def count_levels(frames: int) -> int:
    """Zoom levels of a spectrogram: at the last one it fits into a single picture."""
    levels, columns = 1, frames
    while columns > TILE:
        levels, columns = levels + 1, -(-columns // FACTOR)
    return levels


def tiles(blocks: Iterable[np.ndarray], count: int) -> Iterator[Tile]:
    """All pictures of a spectrogram that comes in blocks of TILE frames (t, F), the last shorter, at `count` levels.

    A column of a level is the mean of FACTOR columns of the one below. What is in memory is one picture for each level.
    """
    waiting, done = [[] for _ in range(count)], [0] * count

    def put(level, part):
        waiting[level].append(part)
        if sum(map(len, waiting[level])) >= TILE:
            yield from flush(level)

    def flush(level):
        if not waiting[level]:
            return
        whole = np.concatenate(waiting[level])
        waiting[level] = []
        yield Tile(level, done[level], whole)
        done[level] += 1
        if level + 1 < count:
            yield from put(level + 1, _smaller(whole))

    for block in blocks:
        yield from put(0, block)
    for level in range(count):
        yield from flush(level)


def _smaller(levels):
    """The mean of each FACTOR rows.   (t, F) -> (t / FACTOR rounded up, F)"""
    starts = np.arange(0, len(levels), FACTOR)
    sums = np.add.reduceat(levels, starts, axis=0, dtype=np.uint32)
    return (sums / np.diff([*starts, len(levels)])[:, None]).astype(np.uint8)


@cache
def ending() -> str:
    """ "webp", or "png" where Pillow was built without it."""
    from PIL import features

    return "webp" if features.check("webp") else "png"


def encoded(levels: np.ndarray) -> bytes:
    """A picture in the colours of all spectrograms, low frequencies at the bottom.   levels (t, F) uint8"""
    palette, upright = plots.colours(plots.SPECTROGRAM, 256), levels.T[::-1]
    if ending() == "png":
        return png(upright, palette)
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(palette[upright]).save(file, "WEBP", quality=QUALITY, method=2)
    return file.getvalue()
