"""Which clips an epoch sees, and how much each class weighs: against classes of very different size."""

from threading import Lock

import numpy as np

from ..config import TrainConfig
from ..datasets.targets import Targets
from . import batches

SAMPLE = 4  # a purpose, beside those of batches.py


def clip_weights(targets: Targets) -> np.ndarray:
    """How often a clip is drawn, relative to others: sum over its labels of 1000 / (count + 0.01).   -> (n,) float64

    count: the training clips with that label. Clips without any label count as a class of their own, so that sounds
    that are none of the classes are drawn as often as those of one class; in the official code, whose data have none,
    their weight is 0. Source: the official code's gen_weight_file.py.
    """
    weights = targets.sums(1000 / (targets.counts() + 0.01))
    without = weights == 0
    weights[without] = 1000 / (without.sum() + 0.01)
    return weights


def class_weights(targets: Targets) -> np.ndarray:
    """The weight of each class in the loss: N / (C count), N labels in all, of C different classes.   -> (K,) float32

    So every class has the same weight over an epoch, and that of a label is 1 on average: the learning rate keeps its
    meaning. A class without training clips has weight 1.
    Source: scikit-learn's class_weight="balanced"; King and Zeng 2001, "Logistic regression in rare events data".
    """
    counts = targets.counts()
    return np.where(counts > 0, counts.sum() / ((counts > 0).sum() * np.maximum(counts, 1)), 1).astype(np.float32)


class Sampler:
    """`sampler(epoch)` -> the clips of an epoch, (n,) indices: a pure function of (seed, epoch), epochs from 0.

    config.sampler "shuffle": each once. "balanced": n draws with replacement, by `clip_weights`; so that a rare clip
    comes often, others not at all. The order of an epoch is kept until the next one's is asked for: it takes a second
    to draw for two million clips. Threads may share a Sampler.
    Source: the official code's WeightedRandomSampler.
    """

    def __init__(self, config: TrainConfig, targets: Targets):
        self.config, self.clips, self.sums = config, len(targets), None
        self._known, self._lock = {}, Lock()
        if config.sampler == "balanced":
            self.sums = np.cumsum(clip_weights(targets))

    def __call__(self, epoch: int) -> np.ndarray:
        """The clips of an epoch, in order.   -> (n,)"""
        with self._lock:
            if epoch not in self._known:
                self._known = {e: order for e, order in self._known.items() if e == epoch - 1}  # still in preparation
                self._known[epoch] = self._drawn(epoch)
            return self._known[epoch]

    def _drawn(self, epoch):
        if self.sums is None:
            return batches.order(self.clips, self.config, epoch)
        rng = np.random.default_rng([self.config.seed, SAMPLE, epoch])
        return np.searchsorted(self.sums, rng.random(self.clips) * self.sums[-1], side="right")
