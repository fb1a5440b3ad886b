"""Many recordings through the model: segments of several share a batch, and come out in order with their times."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import threads
from ..errors import Error, reason
from ..scoring import BATCH, in_batches
from .sound import OpenSound

OPENED = 4  # recordings that are opened ahead of the one that is read


class Scored(NamedTuple):
    """What the model says of one segment."""

    key: Any  # the recording's
    start: float  # s
    end: float  # s
    row: np.ndarray  # (...), a row of what the function gives


class Ended(NamedTuple):
    """A recording's end: it follows all of its segments."""

    key: Any
    sound: OpenSound | None  # with `seconds` and `notes`; None if it could not be opened
    error: str = ""  # why it could not be read (to its end); "" if it was


def scored(
    function: Callable[[np.ndarray], np.ndarray],
    keys: Iterable,
    open_sound: Callable[[Any], OpenSound],
    hop: int | None = None,
    batch: int = BATCH,
) -> Iterator[Scored | Ended]:
    """`function` of each segment of each recording, as soon as its batch is full; an `Ended` behind each recording.

    function: (B, frames, F) -> (B, ...), such as `scoring.segment_scores`. keys: a recording each, whatever
    `open_sound` takes. hop: frames from one segment to the next (default: end to end). Recordings are opened, decoded
    and turned into spectrograms in the background while the model computes. One that cannot be read costs no other: its
    `Ended` says why, and what came before it should be dropped.
    """

    def opened(key):
        try:
            return key, open_sound(key), ""
        except Exception as error:  # of whatever decoder: one bad file never stops an archive
            return key, None, sentence(error)

    def items(sounds):
        for key, sound, why in sounds:
            try:
                for segment in sound.timed_segments(hop) if sound else ():
                    yield segment.x, (key, segment.start, segment.end)
            except Exception as error:  # it could be read when it was opened
                why = sentence(error)
            yield None, Ended(key, sound, why)

    with (
        threads.ordered(opened, keys, OPENED) as sounds,
        threads.in_background(items(sounds), 2 * batch) as segments,
    ):
        for row, about in in_batches(function, segments, batch):
            yield about if row is None else Scored(*about, row)


def sentence(error: Exception) -> str:
    """What an exception says: all of ours, the first line of another library's."""
    return str(error) if isinstance(error, Error) else f"{type(error).__name__}: {reason(error)}."
