"""What a model's scores mean and when a label counts as given: calibration and thresholds, found on labelled clips.

    decided = decide(scores, targets, "bce", "precision", 0.9)     # of validation clips
    decided.calibrated(scores)                                     # (N, K) probabilities that mean what they say
    decided.given(decided.calibrated(scores))                      # (N, K) bool: at or above their thresholds

A checkpoint keeps them as `info.decisions` (`minast calibrate`, and `train` for data with a validation split). They are
for one set of weights: `convert`, averaging and further training drop them. Thresholds are of calibrated probabilities.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..config import COUNT
from ..errors import Error
from ..storage.schema import ListOf, Maybe, Number, OneOf, Record, Several, Text, as_json, checked
from . import calibration, thresholds
from .reliability import calibration_error
from .thresholds import GOALS

FEW = 10  # clips of a class: a threshold that rests on fewer may be far off
FOLDS = 5  # for the calibration error of clips that the calibration was not fitted to
SHARE = Number(0, 1)
SAVED = {
    "loss": OneOf(("ce", "bce")),
    "slope": Number(calibration.LEAST, calibration.MOST),
    "bias": Number(-1e6, 1e6),
    "thresholds": ListOf(Maybe(SHARE), 10**6),
    "goal": OneOf(GOALS),
    "wanted": Maybe(SHARE),
    "clips": ListOf(COUNT, 10**6),
    "data": Text(2**15, plain=False),
    "ece": Several((Number(0, 1), Number(0, 1))),
}


@dataclass(frozen=True)
class Decisions:
    """Calibration and thresholds of a model; class number k has `thresholds[k]`.

    Raises minast.Error for values that do not fit, as all of them may come from a file.
    """

    loss: str  # "ce": softmax(slope log p), "bce": sigmoid(slope logit(p) + bias)
    slope: float  # 1 / temperature; 1 with a bias of 0: probabilities stay as they are
    bias: float
    thresholds: Sequence[float | None]  # of calibrated probabilities; None: never given
    goal: str  # what they were chosen for: "F1", "precision" or "recall"
    wanted: float | None  # the precision or recall that was asked for
    clips: Sequence[int]  # positive clips of each class among those they were chosen on
    data: str  # which clips these were, for people
    ece: tuple[float, float]  # calibration error before, and after on clips that the calibration was not fitted to

    def __post_init__(self):
        for name, kind in SAVED.items():
            object.__setattr__(self, name, checked(kind, getattr(self, name), name))
        if len(self.thresholds) != len(self.clips):
            raise Error(f"there are {len(self.thresholds)} thresholds and {len(self.clips)} counts of clips.")
        if (self.wanted is None) != (self.goal == "F1"):
            needed = "no wanted value" if self.goal == "F1" else f"a wanted {self.goal}"
            raise Error(f"wanted is {self.wanted}: thresholds for {self.goal} need {needed}.")

    @property
    def calibrates(self) -> bool:
        """Whether `calibrated` changes anything."""
        return (self.slope, self.bias) != (1.0, 0.0)

    def calibrated(self, scores: np.ndarray) -> np.ndarray:
        """Calibrated probabilities.   scores (..., K), as of `scoring.clip_scores` -> (..., K) float64"""
        if not self.calibrates:
            return scores
        return calibration.calibrated(scores, self.loss, self.slope, self.bias)

    @property
    def limits(self) -> np.ndarray:
        """The thresholds as numbers, inf for a class that is never given.   -> (K,)"""
        return np.array([np.inf if each is None else each for each in self.thresholds])

    def given(self, calibrated: np.ndarray) -> np.ndarray:
        """Which labels are at or above their thresholds.   calibrated (..., K) -> (..., K) bool"""
        return calibrated >= self.limits

    def to_save(self) -> dict:
        """Plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_saved(cls, saved: Any) -> "Decisions":
        """What `to_save` gave. Raises minast.Error for anything else."""
        return cls(**checked(Record(SAVED), saved, "decisions", as_json))


def decide(
    scores: np.ndarray,
    targets: np.ndarray,
    loss: str,
    goal: str = "F1",
    wanted: float | None = None,
    data: str = "",
) -> Decisions:
    """Calibration and thresholds from labelled clips that the model was not trained on.   scores, targets (N, K)

    A calibration that does not lower the log loss on clips that it was not fitted to (`cross_calibrated`) is not used:
    a handful of clips says little about a model that is right on all of them.

    scores: means of probabilities over segments, as `scoring.clip_scores` gives them. goal and wanted: as for
    `thresholds.chosen`. data: which clips these are, for people. Raises minast.Error if there are no clips, or shapes
    differ.
    """
    scores, targets = np.asarray(scores, np.float64), np.asarray(targets)
    if scores.shape != targets.shape or scores.ndim != 2 or not len(scores):
        raise Error(f"decisions need scores and targets (clips, classes) of at least one clip, not {scores.shape}.")
    slope, bias = calibration.fit(scores, targets, loss)
    fair, elsewhere = calibration.calibrated(scores, loss, slope, bias), cross_calibrated(scores, targets, loss)
    if not calibration.log_loss(elsewhere, targets, loss) < calibration.log_loss(scores, targets, loss):
        slope, bias, fair, elsewhere = 1.0, 0.0, scores, scores
    before, after = (calibration_error(p, targets, loss) for p in (scores, elsewhere))
    return Decisions(
        loss,
        slope,
        bias,
        thresholds.chosen(fair, targets, goal, wanted),
        goal,
        wanted,
        [int(n) for n in (targets > 0.5).sum(axis=0)],
        data,
        (0.0, 0.0) if np.isnan(before) else (before, after),
    )


def cross_calibrated(scores: np.ndarray, targets: np.ndarray, loss: str) -> np.ndarray:
    """Probabilities calibrated by the other clips: each fifth by what was fitted to the rest.   (N, K) -> (N, K)"""
    part = np.random.default_rng(0).permutation(len(scores)) % min(FOLDS, len(scores))
    found = np.empty_like(scores)
    for fold in range(part.max() + 1):
        rest = part != fold
        found[~rest] = calibration.calibrated(scores[~rest], loss, *calibration.fit(scores[rest], targets[rest], loss))
    return found
