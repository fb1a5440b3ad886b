"""A training run is its settings, its data, what learns, and its progress."""

from dataclasses import MISSING, asdict, dataclass, fields
from functools import partial

import numpy as np

from ..backend import BACKENDS
from ..checkpoint import Info
from ..config import COUNT, FeatureConfig, TrainConfig
from ..datasets import Dataset
from ..datasets.splits import DRAWN_BY
from ..errors import Error
from ..features import ON_CPU, Spectrograms
from ..storage.schema import Flag, Maybe, OneOf, Plain, Record, Text, Whole, as_json, checked
from . import batches
from .bad_files import say_notes, usable
from .feature_cache import FeatureCache
from .learner import Learner
from .progress import Progress

BY_TYPE = {bool: Flag(), int: COUNT, str: Text(2**15, plain=False), int | None: Maybe(COUNT)}
BY_NAME = {"train": Record({}, others=Plain()), "backend": OneOf(tuple(BACKENDS)), "threads": Whole(1, 1024)}
BY_NAME["drawn_by"] = OneOf(DRAWN_BY)


@dataclass
class Settings:
    """What a run was started with. last.npz keeps it, so that --resume needs no other flag."""

    data: str  # the DATA argument; a path in it is relative to `folder`
    folder: str  # the working directory in which the run was started
    fold: int | None
    fingerprint: str  # of the clips: see run_folder.fingerprint
    preset: str  # or the name of the file with pretrained weights
    train: TrainConfig
    cache: bool  # whether features are cached on disk
    backend: str  # another backend, or another number of threads, rounds differently
    threads: int
    skip_bad: bool = False  # whether files that cannot be used are left out
    drawn_by: str = "position"  # how the split was drawn: see datasets.open_dataset; version 0.1 did not say

    def to_save(self) -> dict:
        """Plain values for last.npz."""
        return asdict(self)

    @classmethod
    def from_saved(cls, saved: dict) -> "Settings":
        """What `to_save` gave, now or in version 0.1.0. Raises minast.Error for anything else.

        A field is checked by its name, or by its type; one that has a default may be missing.
        """
        kinds = {f.name: BY_NAME.get(f.name) or BY_TYPE[f.type] for f in fields(cls)}
        record = Record(kinds, optional=[f.name for f in fields(cls) if f.default is not MISSING])
        saved = checked(record, saved, "settings", as_json)
        return cls(**{**saved, "train": TrainConfig.from_saved(saved["train"])})


@dataclass
class TrainingData:
    """Features and targets of the clips to train on, and of those held out, which are scored after each epoch."""

    dataset: Dataset
    train: FeatureCache
    train_targets: np.ndarray  # (clips, K) of 0 and 1
    valid: FeatureCache
    valid_targets: np.ndarray
    test: FeatureCache | None = None  # clips that are used once, at the end, where there is a validation split as well

    @classmethod
    def read(
        cls,
        dataset: Dataset,
        features: FeatureConfig,
        cache: bool,
        train: FeatureCache | None = None,
        bad: list | None = None,
        skip_bad: bool = False,
        spectrograms: Spectrograms = ON_CPU,
    ) -> "TrainingData":
        """Compute all features, or read them from the cache. train: those of the training clips, if there already.

        bad: what could not be read of these; skip_bad: leave such clips out. spectrograms: where features are computed.
        Raises minast.Error as `usable` does, after all clips of all splits were looked at.
        """
        bad = [] if bad is None else bad
        read = partial(FeatureCache, features=features, cache=cache, bad=bad, spectrograms=spectrograms)
        if train is None:
            train = read(dataset.of("train"))
        split = dataset.validation_split
        valid = read(dataset.of(split), label="held-out features")
        kept = dataset.of("test") if split == "valid" else []
        test = read(kept, label="test features") if kept else None
        dataset = usable(dataset, bad, skip_bad, training=True)
        if not len(valid):
            raise Error(f"{dataset.name}: no file of the {split} split can be used.")
        say_notes(*filter(None, (train, valid, test)))
        return cls(dataset, train, dataset.targets(train.clips), valid, dataset.targets(valid.clips), test or None)


@dataclass
class Run:
    """All that the training loop needs."""

    out: str  # the output folder
    settings: Settings
    info: Info  # metadata stored in its checkpoints: labels, features, history
    data: TrainingData
    learner: Learner
    progress: Progress

    @property
    def config(self) -> TrainConfig:
        """How the model is trained."""
        return self.settings.train

    @property
    def measure(self) -> str:
        """The number by which the best epoch is chosen."""
        return "accuracy" if self.config.loss == "ce" else "mAP"

    @property
    def batch_size(self) -> int:
        """Clips per step: the batch asked for, or all clips if there are fewer."""
        return min(self.config.batch, len(self.data.train))

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return batches.steps_per_epoch(len(self.data.train), self.config.batch)

    @property
    def steps(self) -> int:
        """Optimizer steps from the first epoch to the last."""
        return self.steps_per_epoch * self.config.epochs

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch of a step, a pure function of its number.   -> x (B, frames, F), y (B, K)"""
        mels, targets, size = self.data.train, self.data.train_targets, self.batch_size
        epoch, at = divmod(step, self.steps_per_epoch)
        chosen = batches.order(len(mels), self.config, epoch)[at * size : (at + 1) * size]
        return batches.training_batch(mels, targets, chosen, self.info.features, self.config, epoch, at)
