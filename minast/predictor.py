"""What one model and several have in common: sounds in, the likeliest labels out."""

import difflib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from .decisions import Decisions
from .errors import Error
from .text import visible

Sound = str | os.PathLike | np.ndarray  # the path of an audio file, or a waveform (S,)


class Heard(NamedTuple):
    """The probabilities of one sound, calibrated where that is known."""

    seconds: float
    starts: np.ndarray  # (W,) s: where its segments begin
    ends: np.ndarray  # (W,) s
    segments: np.ndarray  # (W, K)
    scores: np.ndarray  # (K,) of the whole sound
    notes: list[str]  # what to know about the file


class Predictor(ABC):
    """Sounds in, names out. `Classifier` is one model, `Ensemble` several.

    labels: names of the K classes. head: "softmax", exactly one label a sound, or "sigmoid", any number of labels, each
    with its own probability. decisions: thresholds, where there are any. is_calibrated: whether probabilities are.
    name: in error messages.
    """

    labels: list[str]
    head: str
    decisions: Decisions | None
    is_calibrated: bool
    name: str

    @abstractmethod
    def hear(self, sound: Sound, rate: float | None = None) -> Heard:
        """All probabilities of a sound. rate: as in `predict`. Raises minast.Error as `predict` does."""

    def predict(
        self,
        sounds: Sound | Sequence[Sound],
        top: int = 5,
        rate: float | None = None,
        labels: Sequence[str] = (),
        per_segment: bool = False,
    ) -> dict | list[dict]:
        """The likeliest labels of a sound, or of each of a list of sounds.

        top: how many labels, best first. rate: Hz, of waveforms that are not at the model's (`features.rate`); files
        say their own. labels: choose among these names only; their probabilities stay as they are. per_segment: also
        say what is heard when.
        -> {"file": path or None, "seconds": float, "segments": int, "head": "softmax" or "sigmoid",
        "calibrated": bool, "labels": [{"label": str, "probability": float}, ...], "notes": [str, ...]}, or a list of
        such dictionaries; notes: what to know about the file, such as that it is cut short (`minast.audio`). A model
        with thresholds adds "threshold" (None: the label is never given) and "given" to each label. per_segment adds
        "per_segment": [{"start": s, "end": s, "labels": [...]}, ...], the likeliest labels of each segment.
        Raises minast.Error for a file that cannot be read, a waveform that is not one channel of floats or shorter than
        25 ms, and a label that the model lacks.
        """
        whole("top", top)
        labels = [labels] if isinstance(labels, str) else list(labels)
        chosen = self.numbers(labels) if labels else np.arange(len(self.labels))
        results = [self._result(sound, self.hear(sound, rate), chosen, top, per_segment) for sound in listed(sounds)]
        return results[0] if is_one(sounds) else results

    def numbers(self, labels: Sequence[str]) -> np.ndarray:
        """Class numbers of labels given by name. Raises minast.Error, with the nearest names, for an unknown one."""
        for name in labels:
            if name not in self.labels:
                close = difflib.get_close_matches(name, self.labels, 3, 0.5)
                known = ", ".join(visible(each, 80) for each in self.labels[:10])
                known += ", ..." if len(self.labels) > 10 else ""
                hint = (
                    f"did you mean {', '.join(visible(each, 80) for each in close)}?" if close else f"it has {known}."
                )
                raise Error(f"{self.name} has no label {name!r}: {hint}")
        return np.array([self.labels.index(name) for name in labels])

    def _result(self, sound, heard, chosen, top, per_segment):
        if not np.isfinite(heard.scores).all():
            message = "the model's scores are not numbers: its weights are damaged or were never trained."
            raise Error(message if isinstance(sound, np.ndarray) else f"{os.fspath(sound)}: {message}")
        result = {
            "file": None if isinstance(sound, np.ndarray) else os.fspath(sound),
            "seconds": round(heard.seconds, 3),
            "segments": len(heard.segments),
            "head": self.head,
            "calibrated": self.is_calibrated,
            "labels": self._best(heard.scores, chosen, top),
            "notes": heard.notes,
        }
        if per_segment:
            result["per_segment"] = [
                {"start": round(float(start), 3), "end": round(float(end), 3), "labels": self._best(row, chosen, top)}
                for start, end, row in zip(heard.starts, heard.ends, heard.segments, strict=True)
            ]
        return result

    def _best(self, scores, chosen, top):
        """The likeliest of the chosen classes, as dictionaries."""
        best = chosen[np.argsort(-scores[chosen], kind="stable")][:top]
        rows = [{"label": self.labels[k], "probability": round(float(scores[k]), 6)} for k in best]
        if self.decisions is not None:
            for row, k in zip(rows, best, strict=True):
                threshold = self.decisions.thresholds[k]
                row["threshold"] = None if threshold is None else round(threshold, 6)
                row["given"] = bool(scores[k] >= self.decisions.limits[k])
        return rows


def is_one(sounds: object) -> bool:
    """Whether this is a single sound rather than several."""
    return isinstance(sounds, (str, os.PathLike, np.ndarray))


def listed(sounds: object) -> list[Sound]:
    """A list of sounds, of one or of many; minast.Error for what cannot be one."""
    if not is_one(sounds) and not isinstance(sounds, Iterable):
        raise Error(f"a sound must be a path or a float array (samples,), this is {type(sounds).__name__}.")
    found = [sounds] if is_one(sounds) else list(sounds)
    for sound in found:
        if not is_one(sound):
            raise Error(f"a sound must be a path or a float array (samples,), this is {type(sound).__name__}.")
    return found


def whole(name: str, value: object) -> None:
    """minast.Error unless the value is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise Error(f"{name} is {value!r}: it must be a whole number of at least 1.")
