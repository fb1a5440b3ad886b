"""How far a training run is, and how fast it goes."""

import time
from dataclasses import dataclass

from ..config import COUNT
from ..storage.schema import Number, Record, Several, as_json, checked

# "scale" is the loss scale's: see loss_scale.py
COUNTERS = Record({"step": COUNT, "sums": Several((Number(), COUNT))}, others=True)


@dataclass
class Progress:
    """Steps done, and the sums of the epoch in progress."""

    step: int = 0  # optimizer steps done since the run began
    loss_sum: float = 0.0  # of this epoch's training losses
    hits: int = 0  # training clips of this epoch whose top guess was right
    saved: int | None = None  # the step at which this session last saved the run, if it has

    def begin_epoch(self) -> None:
        """Set the epoch's sums to zero."""
        self.loss_sum, self.hits = 0.0, 0

    def add(self, loss: float, hits: int) -> None:
        """Count a step with its loss and hits."""
        self.step, self.loss_sum, self.hits = self.step + 1, self.loss_sum + loss, self.hits + hits

    def to_save(self) -> dict:
        """The counters that last.npz keeps."""
        return {"step": self.step, "sums": [self.loss_sum, self.hits]}

    @classmethod
    def from_saved(cls, counters: dict) -> "Progress":
        """What `to_save` gave. Raises minast.Error for anything else."""
        counters = checked(COUNTERS, counters, "counters", as_json)
        return cls(counters["step"], *counters["sums"])


class Clock:
    """Time and speed of a run: time counts from its first session, speed is this session's."""

    def __init__(self, history: list[dict]):
        self.before = history[-1]["seconds"] if history else 0.0
        self.began, self.clips = time.perf_counter(), 0
        self._said = self.began

    @property
    def seconds(self) -> float:
        """Seconds of training in all sessions; time after the last saved epoch of an earlier one is not counted."""
        return self.before + self.session

    @property
    def session(self) -> float:
        """Seconds since this session began, more than 0."""
        return max(time.perf_counter() - self.began, 1e-9)

    @property
    def silent(self) -> float:
        """Seconds since `said` was last called."""
        return time.perf_counter() - self._said

    def said(self) -> None:
        """Note that a line was printed."""
        self._said = time.perf_counter()

    @property
    def speed(self) -> float:
        """Clips per second."""
        return self.clips / self.session
