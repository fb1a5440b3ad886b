"""What TensorBoard shows of a run (`--tensorboard`): loss and learning rate by step, losses and measures by epoch."""

import importlib.util
import os
from contextlib import AbstractContextManager

from ..errors import Error
from .run import Run

FOLDER = "tensorboard"  # in the run's folder: `tensorboard --logdir runs` finds it there
EVERY = 10  # steps


class Board(AbstractContextManager):
    """Writes a run's numbers through tensorboardX, or nothing at all unless the run asks for it.

    A resumed run goes on in a further file; what an earlier session wrote after the step at which it was last saved is
    not shown.
    """

    def __init__(self, run: Run):
        self._run, self._writer = run, None
        if run.settings.tensorboard and not run.group.rank:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(os.path.join(run.out, FOLDER), purge_step=run.progress.step + 1)

    def step(self, loss: float, lr: float) -> None:
        """The training loss and the learning rate of the step that was just done, every tenth step."""
        if self._writer and self._run.progress.step % EVERY == 0:
            self._add({"step/loss": loss, "step/lr": lr})

    def epoch(self, row: dict) -> None:
        """The row of history.csv of the epoch that has just ended."""
        if self._writer:
            left_out, of_training = ("epoch", "lr", "seconds"), ("train_loss", "train_top1")
            names = {name: f"{self._run.data.split}_{name.removeprefix('valid_')}" for name in row}
            names |= {name: name for name in of_training}
            self._add({f"epoch/{names[name]}": value for name, value in row.items() if name not in left_out})
            self._writer.flush()

    def _add(self, values):
        for name, value in values.items():
            self._writer.add_scalar(name, value, self._run.progress.step)

    def __exit__(self, *_):
        if self._writer:
            self._writer.close()


def check(wanted: bool) -> None:
    """Raises minast.Error if TensorBoard is wanted and tensorboardX is not installed."""
    if wanted and importlib.util.find_spec("tensorboardX") is None:
        raise Error("--tensorboard needs tensorboardX, which is not installed: pip install tensorboardX.")
