"""A whole run, from its settings to the path of its best checkpoint: what the command and `Classifier.fit` share."""

import os
import shlex
from argparse import Namespace
from contextlib import ExitStack, suppress

from .. import cli, threads
from ..console import signals
from ..errors import Error
from ..text import visible
from . import flags, loop, run_folder
from .finish import finish
from .late import FoundLate
from .resume import resumed_run
from .run import Run
from .start import new_run


def fit(data: str | os.PathLike | None, *, out: str | os.PathLike | None = None, **options) -> str:
    """Train as the command does, printing what it prints.   -> path of the best checkpoint, best.npz

    data: as DATA of the command; None with `resume`. out: the output folder. options: the other flags, with
    underscores; see `python -m minast.train --help`.

        path = minast.train.fit("my_sounds", preset="tiny", epochs=10, noise=True)
        path = minast.train.fit(None, resume="runs/my_sounds-tiny")

    Raises minast.Error for an unknown option, naming the nearest one, and for everything that stops the command;
    KeyboardInterrupt after Ctrl-C, when the run is saved and can be resumed.
    """
    if data is None and options.get("resume") is None:
        raise Error("there is nothing to train on: data is None, and no run is to be resumed.")
    with threads.fixed():  # `threads` as an option is for this run, not for the caller's process
        return train(flags.from_keywords(data, out=out, **options))


def train(options: Namespace) -> str:
    """Prepare, train, evaluate.   options: parsed flags -> path of the best checkpoint

    After Ctrl-C, SIGTERM or SIGHUP it says what was saved and how to continue, and raises KeyboardInterrupt, as
    signals.Stopped.
    """
    run = None
    with ExitStack() as leaving, signals.raising(), threads.fixed():
        try:
            if options.resume is None:
                run = new_run(options, leaving)
            else:
                run_folder.take(options.resume, leaving)
                run = resumed_run(options)
                run_folder.complete(run)
            loop.train(run)
            return finish(run)
        except FoundLate as error:
            raise found_late(run, error) from None
        except KeyboardInterrupt:
            with suppress(OSError):  # the terminal may be gone
                print(cli.as_started(stopped(options, run)), flush=True)
            raise


def found_late(run: Run | None, error: FoundLate) -> Error:
    """Save a run that cannot go on because of a file.   -> the sentence that says so, and how to continue"""
    if run is None:
        return Error(f"{error} --skip-bad goes on without it.")
    run_folder.save_last(run)
    resume = f"python -m minast.train --resume {visible(shlex.quote(run.out))}"
    return Error(
        cli.as_started(
            f"{error} The run is saved after step {run.progress.step} of {run.steps}; to go on without what cannot be "
            f"read: {resume} --skip-bad"
        )
    )


def stopped(options: Namespace, run: Run | None) -> str:
    """What to say after Ctrl-C: what was done, what was saved, and how to continue."""
    if run and run.progress.saved is not None:
        step, saved = run.progress.step, run.progress.saved
        lost = "nothing is lost" if step == saved else f"the steps after step {saved} are lost"
        resume = f"python -m minast.train --resume {visible(shlex.quote(run.out))}"
        return f"Stopped after step {step} of {run.steps}; {lost}. Resume with:\n  {resume}"
    if options.resume is not None:
        return f"Stopped: nothing in {visible(options.resume)} has changed. Run the same command again to continue."
    if run and run.progress.step:
        return f"Stopped after step {run.progress.step}: nothing was saved yet. Run the same command again."
    return "Stopped before the first step: nothing was trained yet. Run the same command again."
