"""Rows of different lengths in one array: the labels of clips, their names."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Ragged:
    """Row i is values[starts[i] : starts[i + 1]].   starts (n + 1,), values (m,)"""

    starts: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[self.starts[i] : self.starts[i + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Of each row.   -> (n,)"""
        return np.diff(self.starts)

    @property
    def rows(self) -> np.ndarray:
        """To which row each value belongs.   -> (m,)"""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, rows: np.ndarray) -> "Ragged":
        """Some of its rows, in the order given.   rows (k,) of numbers from 0 to n - 1"""
        first, lengths = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        starts = starts_of(lengths)
        return Ragged(starts, self.values[np.repeat(first - starts[:-1], lengths) + np.arange(starts[-1])])

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """The sum of weights[value] over each row, 0 for an empty one.   weights (K,) -> (n,) float64"""
        return np.bincount(self.rows, np.asarray(weights, np.float64)[self.values], minlength=len(self))


def starts_of(lengths: np.ndarray) -> np.ndarray:
    """Where rows of these lengths start, and where the last one ends.   (n,) -> (n + 1,) int64"""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


class Texts(Sequence):
    """Many short texts in one run of bytes: 8 bytes each beside their letters, where a str takes 50.

    Whatever a file name can hold comes back as it was, undecodable bytes (lone surrogates) included.
    """

    def __init__(self, texts: Iterable[str] = ()):
        self._bytes, self._starts = bytearray(), array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add a text at the end."""
        self._bytes += text.encode("utf-8", "surrogatepass")
        self._starts.append(len(self._bytes))

    @property
    def letters(self) -> int:
        """How long all of them are together, in bytes."""
        return len(self._bytes)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, i):
        """The text at a place, or the list of those in a slice."""
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        return self._bytes[self._starts[i] : self._starts[i + 1]].decode("utf-8", "surrogatepass")
