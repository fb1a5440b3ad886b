"""The segments of an index that are most similar to a query: exact, in blocks.

    similarity(q, e) = <q, e> / (|q| |e|)          cosine, from -1 to 1; of an embedding that is 0 it counts as 0

in float64, whatever the index holds. Of equal similarities the first row comes first.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..features import hop_seconds, normalise, pad_or_trim
from ..streaming.sound import OpenSound
from .index import Index


class Query(NamedTuple):
    """The segment of a query that is looked for."""

    start: float  # s
    end: float  # s
    x: np.ndarray  # (frames, F), the model's input


def loudest(sound: OpenSound) -> Query:
    """The segment with the most power, of those that begin every half segment; a short sound is one segment."""
    best, most, f = None, -np.inf, sound.features
    for segment in sound.timed_segments(max(1, f.frames // 2)):
        power = float(np.exp(np.float64(segment.x) * 2 * f.std + f.mean).mean())
        if best is None or power > most:
            best, most = segment, power
    return Query(*best)


def segment_at(sound: OpenSound, start: float) -> Query | None:
    """The segment that begins at `start`, in seconds; None if the sound is over by then."""
    f, blocks, seen = sound.features, [], 0
    step = hop_seconds(f.rate)
    first = round(start / step)
    for mel in sound.mels():
        part = mel[max(0, first - seen) : max(0, first + f.frames - seen)]
        seen += len(mel)
        blocks.append(part)
        if seen >= first + f.frames:
            break
    mel = np.concatenate(blocks) if blocks else np.zeros((0, f.mel_bins), np.float32)
    if not len(mel):
        return None
    x = normalise(pad_or_trim(mel, f.frames), f.mean, f.std)
    return Query(first * step, min(first * step + f.frames * step, sound.seconds), x)


def most_similar(
    index: Index, queries: np.ndarray, top: int, told: Callable[[int], object] = lambda rows: None
) -> tuple[np.ndarray, np.ndarray]:
    """The `top` most similar rows of each query, best first.   queries (Q, D) -> rows (Q, top), similarities (Q, top)

    Fewer than `top` if the index has fewer. told: is called with the number of rows that were compared.
    """
    queries = unit(np.asarray(queries, np.float64))
    rows, best = np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0))
    for first, block, _ in index.blocks():
        found = queries @ unit(block).T
        numbers = np.broadcast_to(np.arange(first, first + len(block)), found.shape)
        rows, best = np.concatenate([rows, numbers], axis=1), np.concatenate([best, found], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :top]
        rows, best = np.take_along_axis(rows, order, 1), np.take_along_axis(best, order, 1)
        told(len(block))
    return rows, np.clip(best, -1.0, 1.0)


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1; one of length 0 stays.   (n, D) -> (n, D)"""
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    return x / np.where(length > 0, length, 1.0)
