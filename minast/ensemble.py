"""Several models as one: the mean of their probabilities, the simplest way to better results.

Source: the official code's ensemble.py, which averages the scores of models that differ in seed and in stride.
"""

import os
from collections.abc import Sequence

import numpy as np

from .classifier import Classifier
from .datasets.common import quoted
from .errors import Error
from .predictor import Heard, Predictor, Sound
from .text import visible


class Ensemble(Predictor):
    """Classifiers with the same labels, in any order, as one: the unweighted mean of their probabilities.

    >>> ensemble = minast.Ensemble.load(["seed0/best.npz", "seed1/best.npz"])
    >>> ensemble.predict("bell.wav", top=1)["labels"]
    [{'label': 'bell', 'probability': 0.98726}]

    Each model gets its own features, so rates, input lengths and sizes may differ. Probabilities are calibrated if
    those of all members are. Thresholds of several are not used: they were chosen for the single models. Raises
    minast.Error for labels that differ, and for softmax beside sigmoid, whose probabilities mean different things.
    """

    def __init__(self, members: Sequence[Classifier]):
        if not members:
            raise Error("an ensemble needs at least one model.")
        self.members, first = list(members), members[0]
        self.labels, self.head = first.labels, first.head
        self.name = " and ".join(member.name for member in members)
        self.orders = [in_order(first, member) for member in members]
        self.decisions = first.decisions if len(members) == 1 else None

    def __repr__(self):
        return f"<minast.Ensemble: {len(self.members)} models, {len(self.labels)} labels, {self.head}>"

    @classmethod
    def load(cls, paths: Sequence[str | os.PathLike], backend: str | None = None, raw: bool = False) -> "Ensemble":
        """The ensemble of several checkpoints. backend, raw and errors as for `Classifier.load`."""
        return cls([Classifier.load(path, backend, raw) for path in paths])

    @property
    def loss(self) -> str:
        """What the models were trained with: "ce" or "bce"."""
        return self.members[0].info.loss

    @property
    def is_calibrated(self) -> bool:
        """Whether the probabilities of all members are calibrated."""
        return all(member.is_calibrated for member in self.members)

    def hear(self, sound: Sound, rate: float | None = None) -> Heard:
        """All probabilities of a sound: of the first model's segments, and of the whole. rate, errors: as `predict`.

        A segment's are the mean over the models, each of which counts with what overlaps the segment in time. A
        waveform without a rate is at the first model's.
        """
        rate = rate or self.members[0].features.rate  # files say their own
        found = [
            each._replace(segments=each.segments[:, order], scores=each.scores[order])
            for each, order in ((member.hear(sound, rate), order) for member, order in self._each())
        ]
        first = found[0]
        segments = np.mean([over(first.starts, first.ends, each) for each in found], axis=0)
        notes = list(dict.fromkeys(note for each in found for note in each.notes))
        return first._replace(segments=segments, scores=np.mean([e.scores for e in found], axis=0), notes=notes)

    def _each(self):
        return zip(self.members, self.orders, strict=True)


def load_predictor(paths: Sequence[str], backend: str | None = None, raw: bool = False) -> Predictor:
    """A `Classifier` of one checkpoint, an `Ensemble` of several. Raises minast.Error as they do."""
    return Classifier.load(paths[0], backend, raw) if len(paths) == 1 else Ensemble.load(paths, backend, raw)


def caveats(predictor: Predictor) -> list[str]:
    """What is to be known about probabilities: whether they mean anything, whether they are calibrated."""
    members = predictor.members if isinstance(predictor, Ensemble) else [predictor]
    several = len(members) > 1
    said = [
        f"the head of {visible(member.name) if several else 'this model'} is random, not trained yet: "
        f"{'its' if several else 'these'} probabilities mean nothing."
        for member in members
        if member.info.notes.get("random_head")
    ]
    calibrated = sum(member.is_calibrated for member in members)
    if predictor.decisions is not None:
        both = "probabilities are calibrated, and thresholds are the checkpoint's; --raw does without both."
        said.append(both if calibrated else "thresholds are the checkpoint's; --raw does without.")
    elif calibrated == len(members):
        said.append("probabilities are calibrated, each model's by itself; thresholds of single models are not used.")
    elif calibrated:
        said.append(
            f"the probabilities of {calibrated} of {len(members)} models are calibrated and those of "
            f"{len(members) - calibrated} are not: their mean is neither. Calibrate all, or add --raw."
        )
    return said


def in_order(first: Classifier, other: Classifier) -> np.ndarray:
    """Where each label of the first is among the other's.   -> (K,). Raises minast.Error where they do not agree."""
    if first.head != other.head:
        raise Error(
            f"{first.name} has a {first.head} head and {other.name} a {other.head} one: their probabilities cannot be "
            "averaged."
        )
    for one, another in ((first, other), (other, first)):
        if lacking := [name for name in one.labels if name not in another.labels]:
            raise Error(
                f"{visible(another.name)} lacks {len(lacking)} of the {len(one.labels)} labels of "
                f"{visible(one.name)}, the first is {quoted(lacking[0], 80)}: models are averaged only if they know "
                "the same labels."
            )
    return other.numbers(first.labels)


def over(starts: np.ndarray, ends: np.ndarray, heard: Heard) -> np.ndarray:
    """What is heard in given segments: the mean over a sound's own segments, weighted by how long they overlap.

    starts, ends (W,) s -> (W, K). Both sets of segments are in order and cover the sound.
    """
    if len(starts) == len(heard.starts) and np.allclose((starts, ends), (heard.starts, heard.ends), atol=1e-3):
        return heard.segments
    rows = np.empty((len(starts), heard.segments.shape[1]))
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        near = slice(np.searchsorted(heard.ends, start, "right"), np.searchsorted(heard.starts, end, "left"))
        both = np.minimum(heard.ends[near], end) - np.maximum(heard.starts[near], start)
        rows[i] = both @ heard.segments[near] / both.sum()
    return rows
