"""A trained model as scripts and notebooks use it: sounds in, names out. The commands are built on it."""

import difflib
import os
from collections.abc import Iterable, Sequence

import numpy as np

from .checkpoint import Info, load, save
from .config import FeatureConfig
from .console.say import warn
from .errors import Error
from .model import AST
from .scoring import BATCH, by_clip, clip_mean, segment_embeddings, segment_scores
from .streaming.sound import OpenSound
from .text import visible
from .training.fit import fit

Sound = str | os.PathLike | np.ndarray  # the path of an audio file, or a waveform (S,)


class Classifier:
    """A model with its labels and its features.

    >>> classifier = minast.Classifier.load("runs/builtin-nano/best.npz")
    >>> classifier.predict("bell.wav", top=2)["labels"]
    [{'label': 'bell', 'probability': 0.992298}, {'label': 'rain', 'probability': 0.001506}]
    >>> classifier.embed(["bell.wav", "rain.wav"]).shape
    (2, 96)

    A sound is the path of an audio file, or a waveform: a float array (S,) in [-1, 1]. Sounds longer than the model's
    input are cut into segments, the last one flush with the end, and their results averaged; files are read in blocks,
    so that memory does not grow with their length. model: AST, any backend. info: what `minast.load` returns
    beside it. name: the model's name in error messages.
    """

    def __init__(self, model: AST, info: Info, name: str = "this model"):
        self.model, self.info, self.name = model, info, name

    def __repr__(self):
        size = f"{self.model.parameters / 1e6:.1f} M weights"
        return f"<minast.Classifier: {len(self.labels)} labels, {self.head}, {size}, backend {self.model.backend.name}>"

    @classmethod
    def load(cls, path: str | os.PathLike, backend: str | None = None) -> "Classifier":
        """The classifier in a checkpoint that `train`, `convert` or `save` wrote.

        backend: "numpy", "fast", "cupy", "cuda" or "emulator" (default: the best this machine has). Raises minast.Error
        for a file that is missing or damaged, and for a backend that this machine cannot run.
        """
        model, info = load(path, backend)
        model.cuda_graphs = True
        return cls(model, info, os.fspath(path))

    @classmethod
    def fit(cls, data: str | os.PathLike, *, out: str | os.PathLike | None = None, **options) -> "Classifier":
        """Train a classifier, as `minast train DATA` does, and load the best one.

        >>> classifier = minast.Classifier.fit("my_sounds/", preset="nano", epochs=3)

        data: a folder with one sub-folder per class, a CSV manifest, or any other DATA of the command (`open_dataset`).
        out: the run's folder (default: runs/<data>-<preset>). options: the command's flags, with underscores
        (`weight_decay=0.01`). Raises minast.Error for data or options that cannot be trained with.
        """
        return cls.load(fit(data, out=out, **options), options.get("backend"))

    def save(self, path: str | os.PathLike) -> None:
        """Write the classifier as one .npz checkpoint, for `load` and the commands."""
        info = self.info
        save(path, self.model, info.labels, info.features, info.loss, info.history, info.notes, None, info.decisions)

    # -- what it is ------------------------------------------------------------------------------------------------

    @property
    def labels(self) -> list[str]:
        """The names of the K classes."""
        return self.info.labels

    @property
    def features(self) -> FeatureConfig:
        """How a waveform becomes the model's input: rate (Hz), mel bins, window, frames, mean, std."""
        return self.info.features

    @property
    def head(self) -> str:
        """ "softmax": exactly one label a sound; "sigmoid": any number of labels, each with its own probability."""
        return self.info.head

    # -- what it does ----------------------------------------------------------------------------------------------

    def predict(
        self, sounds: Sound | Sequence[Sound], top: int = 5, rate: float | None = None, labels: Sequence[str] = ()
    ) -> dict | list[dict]:
        """The likeliest labels of a sound, or of each of a list of sounds.

        top: how many labels, best first. rate: Hz, of waveforms that are not at the model's (`features.rate`); files
        say their own. labels: choose among these names only; their probabilities stay as they are.
        -> {"file": path or None, "seconds": float, "segments": int, "head": "softmax" or "sigmoid",
        "labels": [{"label": str, "probability": float}, ...], "notes": [str, ...]}, or a list of such dictionaries;
        notes: what to know about the file, such as that it is cut short (`minast.audio`).
        Raises minast.Error for a file that cannot be read, a waveform that is not one channel of floats or shorter than
        25 ms, and a label that the model lacks.
        """
        whole("top", top)
        labels = [labels] if isinstance(labels, str) else list(labels)
        chosen = self.numbers(labels) if labels else np.arange(len(self.labels))
        results = [self._predicted(sound, rate, chosen, top) for sound in _listed(sounds)]
        return results[0] if _is_one(sounds) else results

    def embed(self, sounds: Sound | Sequence[Sound], rate: float | None = None, batch: int = BATCH) -> np.ndarray:
        """Embeddings: what the head sees of each sound, averaged over its segments.   n sounds -> (n, D) float32

        A single sound gives (1, D). rate: as in `predict`. batch: segments that go through the model together.
        A file that was understood with an assumption, or is cut short, causes a UserWarning. Raises minast.Error as
        `predict` does.
        """
        whole("batch", batch)
        clips = (self._warned(sound, rate).segments() for sound in _listed(sounds))
        rows = [rows.mean(axis=0) for rows in by_clip(segment_embeddings(self.model), clips, batch)]
        return np.array(rows, np.float32).reshape(len(rows), self.model.config.dim)

    # -- steps -----------------------------------------------------------------------------------------------------

    def open(self, sound: Sound, rate: float | None = None) -> OpenSound:
        """A sound on its way to the model, in blocks: its log-mel, segments, length, and what to know about it."""
        return OpenSound(sound, self.features, rate, self.model.backend.spectrograms(self.features.rate))

    def read(self, sound: Sound, rate: float | None = None) -> tuple[float, np.ndarray]:
        """A sound's length and its log-mel spectrogram, not normalised.   -> (seconds, mel (T, F))"""
        opened = self._warned(sound, rate)
        mel = opened.mel()
        return opened.seconds, mel

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

    def _warned(self, sound, rate):
        opened = self.open(sound, rate)
        for note in opened.notes:
            warn(f"{opened.file}: {note.text}")
        return opened

    def _predicted(self, sound, rate, chosen, top):
        opened = self.open(sound, rate)
        rows = next(by_clip(segment_scores(self.model, self.info.loss), [opened.segments()]))
        scores = clip_mean(rows)
        if not np.isfinite(scores).all():
            message = "the model's scores are not numbers: its weights are damaged or were never trained."
            raise Error(_about(sound, message))
        best = chosen[np.argsort(-scores[chosen], kind="stable")][:top]
        return {
            "file": None if isinstance(sound, np.ndarray) else os.fspath(sound),
            "seconds": round(opened.seconds, 3),
            "segments": len(rows),
            "head": self.head,
            "labels": [{"label": self.labels[k], "probability": round(float(scores[k]), 6)} for k in best],
            "notes": [note.text for note in opened.notes],
        }


def _is_one(sounds):
    return isinstance(sounds, (str, os.PathLike, np.ndarray))


def _listed(sounds):
    """A list of sounds, of one or of many; minast.Error for what cannot be one."""
    if not _is_one(sounds) and not isinstance(sounds, Iterable):
        raise Error(f"a sound must be a path or a float array (samples,), this is {type(sounds).__name__}.")
    found = [sounds] if _is_one(sounds) else list(sounds)
    for sound in found:
        if not _is_one(sound):
            raise Error(f"a sound must be a path or a float array (samples,), this is {type(sound).__name__}.")
    return found


def whole(name, value):
    """minast.Error unless the value is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise Error(f"{name} is {value!r}: it must be a whole number of at least 1.")


def _about(sound, message):
    return message if isinstance(sound, np.ndarray) else f"{os.fspath(sound)}: {message}"
