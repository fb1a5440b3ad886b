"""The result of a finished run: scores of the clips that are quoted, measures with intervals, what to know about them.

It is kept as scores.npz in the run's folder, so that the results of many runs can be pooled.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .. import metrics, scoring
from ..config import COUNT
from ..datasets import Clip, Dataset
from ..datasets.common import named
from ..errors import Error
from ..storage.files import atomic
from ..storage.npz import Archive, write_arrays
from ..storage.schema import ListOf, OneOf, Real, Record, Text, as_json, checked
from ..storage.stored import decoding
from ..text import counted

SCORES = "scores.npz"
ABOUT = Record(
    {
        "step": COUNT,
        "epoch": COUNT,
        "seconds": Real(),
        "split": OneOf(("test", "validation")),
        "loss": OneOf(("ce", "bce")),
        "labels": ListOf(Text(1000), 10**6),
        "clips": ListOf(Text(2**15, plain=False), 10**7),
        "groups": ListOf(Text(2**15, plain=False), 10**7),
    }
)


@dataclass
class Result:
    """Scores of a run's final model on its test clips, or on its validation clips if there are no test clips."""

    scores: np.ndarray = field(repr=False)  # (n, K)
    targets: np.ndarray = field(repr=False)  # (n, K) of 0 and 1
    clips: list[str] = field(repr=False)  # their names
    groups: list[str] = field(repr=False)  # the recording, speaker or site of each clip; "" for a clip on its own
    labels: list[str]
    split: str  # "test" or "validation"
    loss: str
    epoch: int  # of the weights that were scored, from 1
    step: int  # steps that the run had done
    seconds: float  # of training

    @cached_property
    def measures(self) -> dict[str, float]:
        """As of `scoring.measures`: accuracy (loss "ce"), mAP, AUC, d'."""
        return scoring.measures(self.scores, self.targets, self.loss)

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals of the measures, by a bootstrap over clips, or over groups where clips have one."""
        return metrics.intervals(self.scores, self.targets, self.loss, metrics.units(self.groups))

    @property
    def measure(self) -> str:
        """The measure that is quoted first."""
        return "accuracy" if self.loss == "ce" else "mAP"

    @classmethod
    def of(cls, scores: np.ndarray, dataset: Dataset, clips: Sequence[Clip], **about: Any) -> "Result":
        """The result of clips of a data set.   scores (n, K); about: the other fields"""
        names, groups = [clip.name for clip in clips], [clip.group for clip in clips]
        return cls(scores, dataset.targets(clips), names, groups, list(dataset.labels), **about)

    def save(self, folder: str | os.PathLike) -> None:
        """Write scores.npz into a run's folder."""
        about = {name: getattr(self, name) for name in ABOUT.fields}
        arrays = {"scores": self.scores, "targets": self.targets.astype(np.uint8)}
        with atomic(os.path.join(folder, SCORES)) as f:
            write_arrays(f, {"result": np.array(json.dumps(about)), **arrays})

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "Result":
        """What `save` has written. Raises minast.Error if it is missing or damaged."""
        path = os.path.join(folder, SCORES)
        with Archive(path) as archive, decoding(f"{path}: the result cannot be read"):
            if missing := [name for name in ("result", "scores", "targets") if name not in archive]:
                raise Error(f"{path}: there is no {missing[0]} in it: it is not the result of a run.")
            about = checked(ABOUT, json.loads(archive.read("result").item()), "result", as_json)
            scores, targets = archive.read("scores"), archive.read("targets")
        shape = len(about["clips"]), len(about["labels"])
        if not scores.shape == targets.shape == shape or len(about["groups"]) != shape[0]:
            raise Error(f"{path}: scores {scores.shape} are not one for each clip and label, {shape}.")
        return cls(scores, targets, **about)


def quoted(result: Result) -> str:
    """ "accuracy 93.33% (95% interval 85.00% to 98.33%), mAP 0.981, AUC 0.9930 on 60 test clips"

    There is no interval for clips of a single group: it says nothing about others.
    """
    name, (low, high) = result.measure, result.intervals[result.measure]
    interval = "no interval" if np.isnan(low + high) else f"95% interval {low:.2%} to {high:.2%}"
    others = [f"mAP {result.measures['mAP']:.3f}"] if name != "mAP" else []
    others.append(f"AUC {result.measures['AUC']:.4f}")
    kinds = len(set(filter(None, result.groups)))
    of = f" of {counted(kinds, 'group')}" if kinds else ""
    return (
        f"{name} {result.measures[name]:.2%} ({interval}), "
        f"{', '.join(others)} on {counted(len(result.clips), f'{result.split} clip')}{of}"
    )


def remarks(result: Result) -> list[str]:
    """Sentences on what the figures leave out, and on a model that has learned nothing."""
    found, count = [], result.targets.sum(axis=0)
    if empty := [name for name, n in zip(result.labels, count, strict=True) if not n]:
        verb, them = ("has", "it") if len(empty) == 1 else ("have", "them")
        found.append(
            f"{counted(len(empty), 'class', 'classes')} {verb} no {result.split} clip, and means leave {them} out: "
            f"{named(empty, 20)}."
        )
    if chance := scoring.chance(result.measures, result.intervals, counted(len(result.clips), f"{result.split} clip")):
        found.append(chance)
    return found
