"""From settings to a result: what the command and `Classifier.fit` share."""

import os
from argparse import Namespace

from .. import parallel, threads
from ..console import signals
from ..errors import Error
from . import flags, many
from .single import run_one


def fit(data: str | os.PathLike | None, *, out: str | os.PathLike | None = None, **options) -> str:
    """Train as the command does, printing what it prints.   -> path of the checkpoint, best.npz

    data: as DATA of the command; None with `resume`. out: the output folder. options: the other flags, with
    underscores; see `python -m minast.train --help`. With `folds` or `seeds`, which make many runs, the path of their
    summary.json is returned.

        path = minast.train.fit("my_sounds", preset="tiny", epochs=10, noise=True)
        path = minast.train.fit(None, resume="runs/my_sounds-tiny")
        path = minast.train.fit("esc10:ESC-10", folds="all", seeds=3)

    With `workers`, a script must be a file that does this below `if __name__ == "__main__":`, since the processes that
    are started import it; if one of them is killed, all end, and this one with them.

    Raises minast.Error for an unknown option, naming the nearest one, and for everything that stops the command;
    KeyboardInterrupt after Ctrl-C, when the run is saved and can be resumed.
    """
    if data is None and options.get("resume") is None:
        raise Error("there is nothing to train on: data is None, and no run is to be resumed.")
    with parallel.joined(), threads.fixed():  # `threads` as an option is for this run, not for the caller's process
        return train(flags.from_keywords(data, out=out, **options))


def train(options: Namespace) -> str:
    """One run, or many.   options: parsed flags -> path of the checkpoint, or of the summary of many runs

    After Ctrl-C, SIGTERM or SIGHUP it says what was saved and how to continue, and raises KeyboardInterrupt, as
    signals.Stopped.
    """
    workers = options.workers or 1
    if workers > 1 and options.batch and options.batch < workers:
        raise Error(f"--batch {options.batch} is less than a clip for each of {workers} --workers: one must change.")
    with signals.raising(), parallel.joined():
        return parallel.spread(_train, options, workers)


def _train(options):
    with threads.fixed():
        if not many.wanted(options):
            return run_one(options)
        if parallel.world().size > 1:
            raise Error("--folds and --seeds make many runs, each by one process: leave out --workers or mpiexec.")
        return many.run_all(options)
