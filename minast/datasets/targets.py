"""What a model is to say of each clip: rows of 0 and 1, made when they are asked for."""

from collections.abc import Sequence

import numpy as np

from .clips import Clip, Clips
from .ragged import Ragged


class Targets:
    """targets[i] is 1 for each class that clip i has, else 0.   n clips, K classes: (n, K) float32

    Index it with a number, -> (K,), or with numbers, a slice or a mask, -> (k, K). Only the class numbers are kept: two
    million clips of 527 classes take 30 MB instead of 4 GB.
    """

    def __init__(self, labels: Ragged, classes: int):
        self.labels, self.classes = labels, classes

    @classmethod
    def of(cls, clips: Sequence[Clip], classes: int) -> "Targets":
        """The targets of clips.   classes: how many there are, K"""
        return cls(Clips.of(clips).labels, classes)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, K), as an array of these rows would have it."""
        return len(self), self.classes

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i) -> np.ndarray:
        if isinstance(i, (int, np.integer)):
            y = np.zeros(self.classes, np.float32)
            y[self.labels[range(len(self))[i]]] = 1
            return y
        rows = np.arange(len(self))[i]
        chosen = self.labels.take(rows)
        y = np.zeros((len(rows), self.classes), np.float32)
        y[chosen.rows, chosen.values] = 1
        return y

    def counts(self) -> np.ndarray:
        """Clips of each class.   -> (K,) int"""
        return np.bincount(self.labels.values, minlength=self.classes)

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """targets @ weights, such as the weights of a balanced sampler.   weights (K,) -> (n,) float64"""
        return self.labels.sums(weights)
