"""A training run is its settings, its data, what learns, and its progress."""

import math
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property

import numpy as np

from ..backend import BACKENDS
from ..checkpoint import Info
from ..config import COUNT, FeatureConfig, TrainConfig
from ..datasets import Dataset
from ..datasets.content import distinct, pack, unpack
from ..datasets.splits import DRAWN_BY
from ..datasets.targets import Targets
from ..errors import Error
from ..features import ON_CPU, Spectrograms
from ..parallel.group import SINGLE, Group, share_of
from ..storage.schema import Flag, Maybe, Number, OneOf, Plain, Record, Text, Whole, as_json, checked
from . import batches
from .averaging import WeightAverage
from .bad_files import say_notes, usable
from .feature_cache import FeatureCache, large
from .late import FoundLate, Late, StandIns
from .learner import Learner
from .progress import Progress
from .sampling import Sampler
from .waveforms import NO_WAVES, Waveforms

BY_TYPE = {bool: Flag(), int: COUNT, str: Text(2**15, plain=False), int | None: Maybe(COUNT)}
BY_TYPE[float | None] = Maybe(Number(0, 1))
BY_TYPE[str | None] = Maybe(BY_TYPE[str])
BY_NAME = {"train": Record({}, others=Plain()), "backend": OneOf(tuple(BACKENDS)), "threads": Whole(1, 1024)}
BY_NAME["drawn_by"] = OneOf(DRAWN_BY)
BY_NAME["draws"] = OneOf(("clip", "batch"))
BY_NAME["processes"] = Whole(1, 10**6)


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
    split_seed: int | None = None  # of the split and the built-in sounds (None: the seed of training)
    validation: float | None = None  # share of the training clips that was drawn as a validation split
    folds: int | None = None  # folds that were drawn, for data without any
    background_dir: str | None = None  # of background recordings, relative to `folder`
    background_fingerprint: str = ""  # of these recordings: see waveforms.fingerprint
    tensorboard: bool = False  # whether losses and measures are also written for TensorBoard
    draws: str = "batch"  # of random numbers for augmentation: see batches.training_batch; version 0.3 did not say
    processes: int = 1  # that trained together; another number adds gradients in another order

    @property
    def drawing(self) -> dict:
        """The keyword arguments of `open_dataset` that give the same splits again."""
        return {
            "seed": self.train.seed if self.split_seed is None else self.split_seed,
            "fold": self.fold,
            "drawn_by": self.drawn_by,
            **{name: v for name in ("validation", "folds") if (v := getattr(self, name)) is not None},
        }

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
    """Features and targets of the clips to train on, and of those that are scored.

    Where there is a validation split, `valid` holds its clips: they are scored after each epoch and choose the best
    one; `test` are clips that are scored once, at the end. Otherwise the test clips are in `valid`: they are scored
    after each epoch for the curve, and choose nothing.
    """

    dataset: Dataset
    train: FeatureCache
    train_targets: Targets | StandIns  # (clips, K) of 0 and 1, made row by row
    valid: FeatureCache
    valid_targets: np.ndarray
    test: FeatureCache | None = None
    skip_bad: bool = False
    waves: Waveforms = NO_WAVES

    @property
    def split(self) -> str:
        """What `valid` holds, in words: "validation" or "test"."""
        return "validation" if self.dataset.validation_split == "valid" else "test"

    def lengths(self, mels: FeatureCache) -> np.ndarray:
        """Frames of each clip of a split; those of training clips, repeated, where none was computed yet.   -> (n,)"""
        return np.resize(self.train.lengths(), len(mels)) if mels.late else mels.lengths()

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
        Where there are many training clips, none is computed here, and `settle` must be called before clips are scored.
        Raises minast.Error as `usable` does, after all clips of all splits were looked at.
        """
        bad = [] if bad is None else bad
        is_late = train.late if train is not None else large(dataset.of("train"), features)

        def read(clips, **options):
            late = Late(skip_bad=skip_bad) if is_late else None
            return FeatureCache(clips, features, cache, bad=bad, spectrograms=spectrograms, late=late, **options)

        if train is None:
            train = read(dataset.of("train"))
        split = dataset.validation_split
        valid = read(dataset.of(split), label=f"{'validation' if split == 'valid' else 'test'} features")
        kept = dataset.of("test") if split == "valid" else []
        test = read(kept, label="test features") if kept else None
        dataset = usable(dataset, bad, skip_bad, training=True)
        if not len(valid):
            raise Error(f"{dataset.name}: no file of the {split} split can be used.")
        say_notes(*filter(None, (train, valid, test)))
        targets = Targets.of(train.clips, len(dataset.labels))
        targets = StandIns(targets, train.late) if train.late else targets
        return cls(dataset, train, targets, valid, dataset.targets(valid.clips), test or None, skip_bad)

    def settle(self) -> None:
        """Compute what is to be scored and was not computed yet, and leave out what cannot be read.

        Raises FoundLate for files that cannot be read and are not to be skipped.
        """
        waiting = [mels for mels in (self.valid, self.test) if mels is not None and mels.late and not mels.late.settled]
        if not waiting:
            return
        bad = []
        for mels in waiting:
            mels.late.settle(bad, "held-out features" if mels is self.valid else "test features")
        try:
            self.dataset = usable(self.dataset, bad, self.skip_bad)
        except Error as error:
            raise FoundLate(str(error)) from None
        if not len(self.valid):
            raise FoundLate(f"{self.dataset.name}: none of the held-out files can be used.")
        say_notes(*waiting)
        self.valid_targets = self.dataset.targets(self.valid.clips)


@dataclass
class Run:
    """All that the training loop needs."""

    out: str  # the output folder
    settings: Settings
    info: Info  # metadata stored in its checkpoints: labels, features, history
    data: TrainingData
    learner: Learner
    progress: Progress
    group: Group = SINGLE  # the processes that train together
    heard: Sequence[np.ndarray] = ()  # of the others: which clips they have read, where that is known by and by

    @property
    def config(self) -> TrainConfig:
        """How the model is trained."""
        return self.settings.train

    @property
    def scored_as(self) -> str:
        """How scores are measured: "ce" where a clip has one label (accuracy), "bce" where it may have several.

        Runs of earlier versions whose history has no accuracy go on without.
        """
        history = self.info.history
        if history:
            return "ce" if "accuracy" in history[0] else "bce"
        return self.data.dataset.scored_as

    @property
    def measure(self) -> str:
        """The number that is quoted, and by which validation clips choose the best epoch."""
        return "accuracy" if self.scored_as == "ce" else "mAP"

    @property
    def chooses(self) -> bool:
        """Whether the best epoch is chosen, on a validation split; otherwise it is the last."""
        return self.data.split == "validation"

    @property
    def best(self) -> int:
        """The epoch, from 1, whose weights are in best.npz, once there is one and unless they are `averaged`."""
        history = self.info.history
        return best_epoch(history, self.measure) if self.chooses else len(history)

    @property
    def averaged(self) -> WeightAverage | None:
        """The average whose weights are in best.npz: once the run is finished, if weights were averaged."""
        average = self.learner.average
        return average if average and average.count and self.finished else None

    @property
    def out_of_patience(self) -> bool:
        """Whether no epoch of the last `patience` was better than the best before them."""
        done, patience = len(self.info.history), self.config.patience
        return self.chooses and bool(patience) and done > patience and done - self.best >= patience

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return (self.progress.step >= self.steps and not self.unscored) or self.out_of_patience

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

    @property
    def unscored(self) -> bool:
        """Whether all steps of an epoch are done and its held-out clips are not scored, since one cannot be read."""
        return self.progress.step // self.steps_per_epoch > len(self.info.history)

    @property
    def notes(self) -> dict:
        """The notes for its checkpoints: `info.notes`, with the clips that it was trained on as far as it has come."""
        late, notes = self.data.train.late, self.info.notes
        if not late:
            return notes
        lists = [unpack(notes.get("trained_on", "")), late.trained_on(), *self.heard]
        return {**notes, "trained_on": pack(distinct(np.concatenate(lists)))}

    def hear(self) -> None:
        """Learn which clips the other processes have read; all must do so."""
        if self.group.size > 1 and self.data.train.late:
            said = self.group.talk(self.data.train.late.trained_on().tobytes())
            self.heard = [np.frombuffer(each, "<u8") for each in said]

    @cached_property
    def sampler(self) -> Sampler:
        """Draws the clips of each epoch."""
        return Sampler(self.config, self.data.train_targets)

    @property
    def own(self) -> slice:
        """Which clips of a batch are this process's."""
        return share_of(self.batch_size, self.group.rank, self.group.size)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """This process's share of a step's batch, a pure function of its number.   -> x (B, frames, F), y (B, K)"""
        mels, targets, size = self.data.train, self.data.train_targets, self.batch_size
        epoch, at = divmod(step, self.steps_per_epoch)
        chosen = self.sampler(epoch)[at * size : (at + 1) * size]
        options = {"waves": self.data.waves, "draws": self.settings.draws, "part": self.own}
        return batches.training_batch(mels, targets, chosen, self.info.features, self.config, epoch, at, **options)

    def patches_kept(self, step: int) -> np.ndarray | None:
        """Which patches the clips of `batch(step)` keep, as `batches.patches_kept`."""
        model, (epoch, at) = self.learner.model.config, divmod(step, self.steps_per_epoch)
        patches = model.tokens - model.prefix_tokens
        options = {"draws": self.settings.draws, "part": self.own}
        return batches.patches_kept(self.batch_size, patches, self.config, epoch, at, **options)


def best_epoch(history: list[dict], measure: str) -> int:
    """The epoch, from 1, with the highest measure; among equals the lowest validation loss, then the first, wins."""
    keys = [(-math.inf if math.isnan(row[measure]) else row[measure], -row["valid_loss"]) for row in history]
    return 1 + keys.index(max(keys))


def no_patience(data: str) -> str:
    """The sentence for patience without a validation split to look at."""
    return (
        f"--patience needs a validation split, and {data} has none: add --validation 0.2, which draws one from the "
        "training clips."
    )
