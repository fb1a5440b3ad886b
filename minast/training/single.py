"""One run, from its settings to its result: new, or resumed from its folder."""

import os
import shlex
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial

from .. import cli
from ..errors import Error
from ..parallel import world
from ..text import visible
from . import loop, run_folder
from .alike import check_run
from .finish import finish
from .late import FoundLate
from .resume import resumed_run
from .run import Run
from .start import new_run


def run_one(
    options: Namespace,
    split_seed: int | None = None,
    alone: bool = True,
    begun: Callable[[Run], object] = id,
) -> str:
    """Prepare, train, evaluate.   options: parsed flags -> path of its checkpoint, best.npz

    split_seed: as in `new_run`. alone: False for one of many runs, which says less. begun: called with the run
    when it is prepared, before it trains. After Ctrl-C, SIGTERM or SIGHUP a run that is alone says what was saved and
    how to continue; KeyboardInterrupt is raised, as signals.Stopped.
    """
    run = None
    with ExitStack() as leaving:
        try:
            if options.resume is None:
                run = new_run(options, leaving, split_seed)
            else:
                run_folder.take(options.resume, leaving)
                run = resumed_run(options)
                check_run(run)
                run_folder.complete(run)
            begun(run)
            world().farewell(partial(lost, run, run.progress.step))
            loop.train(run)
            return finish(run, alone)
        except FoundLate as error:
            raise found_late(run, error) from None
        except KeyboardInterrupt:
            if alone:
                with suppress(OSError):  # the terminal may be gone
                    print(cli.as_started(stopped(options, run)), flush=True)
            raise


def found_late(run: Run | None, error: FoundLate) -> Error:
    """Save a run that cannot go on because of a file.   -> the sentence that says so, and how to continue"""
    if run is None:
        return Error(f"{error} --skip-bad goes on without it.")
    run_folder.save_last(run)
    return Error(
        cli.as_started(
            f"{error} The run is saved after step {run.progress.step} of {run.steps}; to go on without what cannot be "
            f"read: {resume_command(run.out, run.group.flag)} --skip-bad"
        )
    )


def lost(run: Run, before: int) -> str:
    """What to say when another process of a run was lost.   before: the step at which this session began, 0 if new"""
    saved = before if run.progress.saved is None else run.progress.saved
    if not saved:
        return "Nothing was saved yet: run the same command again."
    epochs = f"{len(run.info.history)} of {run.config.epochs} epochs done"
    where = visible(os.path.join(run.out, run_folder.LAST))
    return cli.as_started(
        f"The last good checkpoint is {where}, after step {saved} of {run.steps} ({epochs}). Go on, with any number of "
        f"processes, by:\n  {resume_command(run.out, run.group.flag)}"
    )


def stopped(options: Namespace, run: Run | None) -> str:
    """What to say after Ctrl-C: what was done, what was saved, and how to continue."""
    if run and run.progress.saved is not None:
        step, saved = run.progress.step, run.progress.saved
        lost = "nothing is lost" if step == saved else f"the steps after step {saved} are lost"
        again = resume_command(run.out, run.group.flag)
        return f"Stopped after step {step} of {run.steps}; {lost}. Resume with:\n  {again}"
    if options.resume is not None:
        return f"Stopped: nothing in {visible(options.resume)} has changed. Run the same command again to continue."
    if run and run.progress.step:
        return f"Stopped after step {run.progress.step}: nothing was saved yet. Run the same command again."
    return "Stopped before the first step: nothing was trained yet. Run the same command again."


def resume_command(folder: str | os.PathLike, flag: str = "") -> str:
    """The command that goes on with what is in a folder, as `cli.as_started` takes it.   flag: of as many processes"""
    return f"python -m minast.train --resume {visible(shlex.quote(os.fspath(folder)))}{flag}"
