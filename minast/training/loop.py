"""The training loop."""

import json
import math
import os
import sys
from collections.abc import Iterator

import numpy as np

from .. import optim, scoring
from ..backend import GPU
from ..errors import Error
from ..gpu.transfer import pin_memory, to_device
from ..text import duration
from . import batches, run_folder
from .estimate import Estimate
from .late import FoundLate
from .prefetch import Prefetcher
from .progress import Clock
from .run import Run
from .stopping import Stopper
from .tensorboard import Board

ENOUGH = 50  # steps on a GPU after which its pace is known
SILENCE = 600  # seconds without a line after which a log says how far a long epoch is


def train(run: Run) -> None:
    """Train from the step that `run` has reached to its last, or out of patience, saving the run after each epoch.

    Everything random comes from (seed, epoch, step), so the loop can be entered at any step. Ctrl-C ends it after the
    current step: the run is saved, then KeyboardInterrupt is raised, as signals.Stopped. Raises minast.Error if numbers
    are not finite.
    """
    from tqdm import tqdm

    if run.finished:
        return
    config, learner, progress = run.config, run.learner, run.progress
    model, per_epoch, clock = learner.model, run.steps_per_epoch, Clock(run.info.history)
    with (
        Stopper(quiet=run.group.rank > 0) as stop,
        Board(run) as board,
        np.errstate(all="ignore"),  # every loss and every gradient norm is checked below
        Prefetcher(pin_memory(run.batch, model.xp), range(progress.step, run.steps)) as prefetcher,
        tqdm(total=run.steps, initial=progress.step, unit="step", disable=None, dynamic_ncols=True) as bar,
    ):
        if run.unscored:
            end_epoch(run, clock, bar, board)
            if run.out_of_patience:
                bar.write(patience_text(run))
                return
        for (x, y), (_, labels) in agreed(to_device(prefetcher, model.xp), run):
            epoch, at = divmod(progress.step, per_epoch)
            if at == 0:
                progress.begin_epoch()
            lr = optim.schedule(config, progress.step, per_epoch)
            loss, norm, logits = learner.step(x, y, lr, run.patches_kept(progress.step))
            if not (math.isfinite(loss) and (math.isfinite(norm) or not learner.scale.exhausted)):
                raise not_finite(run, progress.step + 1, f"the loss is {loss} and the gradient norm {norm}")
            found = run.group.gather([batches.hits(model.numpy(logits), labels), stop.number])
            progress.add(loss, int(found[:, 0].sum()))
            stop.tell(int(found[:, 1].max()))
            board.step(loss, lr)

            if not clock.clips and model.backend.name == "cuda":
                bar.write(f"first step done after {clock.session:.1f} s, compiling or loading its kernels included")
            clock.clips += run.batch_size
            bar.set_postfix_str(bar_text(run, epoch, at + 1, clock, prefetcher.waited), refresh=False)
            bar.update()
            if clock.clips == ENOUGH * run.batch_size and model.backend.name in GPU:  # else it was estimated before
                seconds = run.batch_size * per_epoch / clock.speed
                bar.write(str(Estimate(seconds, seconds * config.epochs)))
            if bar.disable and clock.silent > SILENCE and (at + 1) % per_epoch:
                print(step_text(run, epoch, at + 1, clock), flush=True)
                clock.said()
            if progress.step % per_epoch == 0:
                learner.end_epoch(epoch + 1)
                end_epoch(run, clock, bar, board)
                if run.out_of_patience:
                    bar.write(patience_text(run))
                    return
            if run.group.size == 1:
                stop.tell(stop.number)  # it may have come since
            if stop.told and not run.finished:
                run_folder.save_last(run)
                raise stop.error


def agreed(batches: Iterator, run: Run) -> Iterator:
    """The batches, each when all processes have theirs. Raises FoundLate on all if one cannot be made on any."""
    if run.group.size == 1:
        yield from batches
        return
    while True:
        batch = error = None
        try:
            batch = next(batches, None)
        except FoundLate as found:
            error = found
        said = [each.decode() for each in run.group.talk(str(error or "").encode())]
        if any(said):
            raise FoundLate(next(filter(None, said)))
        if batch is None:
            return
        yield batch


def end_epoch(run: Run, clock: Clock, bar, board: Board) -> None:
    """Score the clips, save the run, print the epoch's line.   bar: the progress bar above which it appears"""
    step, per_epoch = run.progress.step - 1, run.steps_per_epoch
    row = validate(run, step // per_epoch, optim.schedule(run.config, step, per_epoch), clock)
    row = json.loads(run.group.shared(lambda: json.dumps(row)))  # clocks differ, and perhaps the processors' last bits
    run_folder.keep(run, row)
    board.epoch(row)
    bar.write(epoch_text(run, row, clock))
    if run.data.train.late and (found := run.data.train.late.report()):
        bar.write(f"note: {found}")
    sys.stdout.flush()
    clock.said()


def validate(run: Run, epoch: int, lr: float, clock: Clock) -> dict:
    """Score the validation or test clips after an epoch, counted from 0.   -> the epoch's row of history.csv"""
    run.data.settle()
    scores = scoring.clip_scores(run.learner.model, run.info, run.data.valid, group=run.group)
    if not np.isfinite(scores).all():
        raise not_finite(run, run.progress.step, f"the scores of the {run.data.split} clips are no longer finite")
    return {
        "epoch": epoch + 1,
        "lr": lr,  # of its last step
        "train_loss": run.progress.loss_sum / run.steps_per_epoch,
        "train_top1": run.progress.hits / (run.steps_per_epoch * run.batch_size),
        "valid_loss": scoring.mean_loss(scores, run.data.valid_targets, run.config.loss),
        **scoring.measures(scores, run.data.valid_targets, run.scored_as),
        "seconds": round(clock.seconds, 1),
    }


def bar_text(run: Run, epoch: int, steps: int, clock: Clock, waited: float) -> str:
    """What the progress bar says after `steps` steps of an epoch.   waited: seconds spent waiting for batches"""
    top = "accuracy" if run.scored_as == "ce" else "top-1"  # fraction of clips whose top guess is one of their labels
    loss, right = run.progress.loss_sum / steps, run.progress.hits / (steps * run.batch_size)
    return (
        f"epoch {epoch + 1}/{run.config.epochs} loss {loss:.3f} {top} {right:.1%} "
        f"{clock.speed:.0f} clips/s waiting {waited / clock.session:.0%}"
    )


def step_text(run: Run, epoch: int, steps: int, clock: Clock) -> str:
    """The line printed now and then within a long epoch, where no progress bar is shown."""
    return (
        f"epoch {epoch + 1} of {run.config.epochs}, step {steps} of {run.steps_per_epoch}  "
        f"loss {run.progress.loss_sum / steps:.4f}  {clock.speed:.0f} clips/s  {left_text(run, clock)}"
    )


def epoch_text(run: Run, row: dict, clock: Clock) -> str:
    """The line printed after an epoch."""
    width, measure = len(str(run.config.epochs)), run.measure
    return (
        f"epoch {row['epoch']:{width}d} of {run.config.epochs}  loss {row['train_loss']:.4f}  "
        f"{run.data.split}: loss {row['valid_loss']:.4f}  {measure} {row[measure]:.1%}  "
        f"{clock.speed:.0f} clips/s  {duration(row['seconds'])}{left_text(run, clock, ', ')}"
    )


def left_text(run: Run, clock: Clock, before: str = "") -> str:
    """How long the run will still take at this session's pace, scoring included; "" when it is over."""
    left = run.steps - run.progress.step
    return f"{before}{duration(run.batch_size * left / clock.speed)} left" if left and clock.clips else ""


def patience_text(run: Run) -> str:
    """Why a run ends before its last epoch."""
    done, patience = len(run.info.history), run.config.patience
    none = "it was not" if patience == 1 else f"none of the last {patience} epochs was"
    better = f"{none} better on the validation clips than epoch {run.best}"
    return f"stopped after epoch {done} of {run.config.epochs}: {better}"


class Diverged(Error):
    """Numbers of a run that are no longer finite: other runs, with other seeds, may do better."""


def not_finite(run: Run, step: int, what: str) -> Diverged:
    """The sentence for numbers that blew up: at which step, what to do, what is left."""
    epoch = (step - 1) // run.steps_per_epoch + 1
    saved = os.path.exists(os.path.join(run.out, run_folder.LAST))
    left = f"what was saved before is in {run.out}" if saved else "nothing was saved yet"
    return Diverged(f"step {step} (epoch {epoch}): {what}; {left}. Try a lower --lr than {run.config.lr:g}.")
