"""A trained model as scripts and notebooks use it: sounds in, names out. The commands are built on it."""

import os
from collections.abc import Sequence

import numpy as np

from .checkpoint import Info, load, save
from .config import FeatureConfig
from .console.say import warn
from .errors import Error
from .model import AST
from .predictor import Heard, Predictor, Sound, listed, whole
from .scoring import BATCH, by_clip, clip_mean, segment_embeddings, segment_scores, segment_times
from .streaming.sound import OpenSound


class Classifier(Predictor):
    """A model with its labels and its features.

    >>> classifier = minast.Classifier.load("runs/builtin-nano/best.npz")
    >>> classifier.predict("bell.wav", top=2)["labels"]
    [{'label': 'bell', 'probability': 0.992298}, {'label': 'rain', 'probability': 0.001506}]
    >>> classifier.embed(["bell.wav", "rain.wav"]).shape
    (2, 96)

    A sound is the path of an audio file, or a waveform: a float array (S,) in [-1, 1]. Sounds longer than the model's
    input are cut into segments, the last one flush with the end, and their results averaged; files are read in blocks,
    so that memory does not grow with their length. model: AST, any backend. info: what `minast.load` returns
    beside it. name: the model's name in error messages. raw: leave out the calibration and the thresholds that a
    checkpoint may have (`info.decisions`); otherwise probabilities are calibrated.
    """

    def __init__(self, model: AST, info: Info, name: str = "this model", raw: bool = False):
        self.model, self.info, self.name = model, info, name
        self.decisions = None if raw else info.decisions

    def __repr__(self):
        size = f"{self.model.parameters / 1e6:.1f} M weights"
        return f"<minast.Classifier: {len(self.labels)} labels, {self.head}, {size}, backend {self.model.backend.name}>"

    @classmethod
    def load(cls, path: str | os.PathLike, backend: str | None = None, raw: bool = False) -> "Classifier":
        """The classifier in a checkpoint that `train`, `convert` or `save` wrote.

        backend: "numpy", "fast", "cupy", "cuda" or "emulator" (default: $MINAST_BACKEND, else the best this machine
        has). raw: as for the class. Raises minast.Error for a file that is missing or damaged, and for a backend that
        this machine cannot run. Several checkpoints are one `Ensemble`.
        """
        model, info = load(path, backend)
        model.cuda_graphs = True
        return cls(model, info, os.fspath(path), raw)

    @classmethod
    def fit(cls, data: str | os.PathLike, *, out: str | os.PathLike | None = None, **options) -> "Classifier":
        """Train a classifier, as `minast train DATA` does, and load the best one.

        >>> classifier = minast.Classifier.fit("my_sounds/", preset="nano", epochs=3)

        data: a folder with one sub-folder per class, a CSV manifest, or any other DATA of the command (`open_dataset`).
        out: the run's folder (default: runs/<data>-<preset>). options: the command's flags, with underscores
        (`weight_decay=0.01`), but for those that train many models: folds and seeds are for `train.fit`. Raises
        minast.Error for data or options that cannot be trained with.
        """
        if options.get("seeds") is not None or (options.get("folds") is not None and options.get("fold") is None):
            raise Error("folds and seeds train many models, a classifier is one: use minast.train.fit, or name a fold.")
        from .training.fit import fit  # here: who predicts need not wait for the import of all that trains

        return cls.load(fit(data, out=out, **options), options.get("backend"))

    def save(self, path: str | os.PathLike) -> None:
        """Write the classifier as one .npz checkpoint, for `load` and the commands."""
        info = self.info
        more = {"history": info.history, "notes": info.notes, "decisions": info.decisions}
        save(path, self.model, info.labels, info.features, info.loss, **more)

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

    @property
    def is_calibrated(self) -> bool:
        """Whether probabilities are calibrated."""
        return self.decisions is not None and self.decisions.calibrates

    # -- what it does ----------------------------------------------------------------------------------------------

    def hear(self, sound: Sound, rate: float | None = None) -> Heard:
        """All probabilities of a sound: of its segments, and their mean. rate and errors as for `predict`.

        Where probabilities are calibrated, that of the sound is the calibrated mean, as decisions are found with.
        """
        opened = self.open(sound, rate)
        rows = next(by_clip(segment_scores(self.model, self.info.loss), [opened.segments()]))
        scores = clip_mean(rows)
        if self.decisions is not None:
            rows, scores = self.decisions.calibrated(rows), self.decisions.calibrated(scores)
        starts, ends = segment_times(opened.seconds, self.features)
        return Heard(opened.seconds, starts, ends, rows, scores, [note.text for note in opened.notes])

    def embed(self, sounds: Sound | Sequence[Sound], rate: float | None = None, batch: int = BATCH) -> np.ndarray:
        """Embeddings: what the head sees of each sound, averaged over its segments.   n sounds -> (n, D) float32

        A single sound gives (1, D). rate: as in `predict`. batch: segments that go through the model together.
        A file that was understood with an assumption, or is cut short, causes a UserWarning. Raises minast.Error as
        `predict` does.
        """
        whole("batch", batch)
        clips = (self._warned(sound, rate).segments() for sound in listed(sounds))
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

    def _warned(self, sound, rate):
        opened = self.open(sound, rate)
        for note in opened.notes:
            warn(f"{opened.file}: {note.text}")
        return opened
