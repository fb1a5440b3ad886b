"""How a stopped run is prepared to go on: from its folder."""

import contextlib
import os
from argparse import Namespace
from dataclasses import replace

from .. import threads
from ..checkpoint import load
from ..datasets import NAMED, open_dataset, understood
from ..datasets.content import trained_before
from ..errors import Error
from . import run_folder
from .flags import flag
from .learner import new_learner
from .progress import Progress
from .run import Run, Settings, TrainingData

ALLOWED = ("resume", "data", "backend", "threads")  # flags that may stand beside --resume


def resumed_run(options: Namespace) -> Run:
    """The run in the folder `options.resume`, where it stopped, with its own settings.

    Only the place of its data, the backend and the number of threads may be given anew. Raises minast.Error for other
    flags, a damaged folder, and data that have changed.
    """
    given = [name for name, value in vars(options).items() if value is not None and value is not False]
    if others := [flag(name) for name in given if name not in ALLOWED]:
        raise Error(f"--resume continues with the run's own settings: leave out {', '.join(others)}.")
    out = options.resume
    state = run_folder.load_state_of(out)
    with damage_as_error(out):
        settings, progress = Settings.from_saved(state["settings"]), Progress.from_saved(state["counters"])
    backend = same_machine(options, settings)
    model, info = load(os.path.join(out, run_folder.LAST), backend, settings.train.dtype)
    dataset = open_dataset(
        options.data or located(settings),
        settings.train.seed,
        settings.fold,
        drawn_by=settings.drawn_by,
        trained_on=trained_before(info.notes),
        skip_bad=settings.skip_bad,
    )
    print("\n".join(understood(dataset)))
    if run_folder.fingerprint(dataset) != settings.fingerprint:
        raise Error(f"{dataset.name}: these are not the clips that {out} was trained on: start a new run.")
    learner = new_learner(model, settings.train)
    with damage_as_error(out):
        learner.optimizer.load_state(state)
        learner.scale.load_state(state["counters"].get("scale", learner.scale.state()))
    if options.data:  # they have moved: the next --resume finds them
        settings = replace(settings, data=options.data, folder=os.getcwd())
    print(f"{out}: resuming after step {progress.step} ({len(info.history)} of {settings.train.epochs} epochs done)")
    data = TrainingData.read(dataset, info.features, settings.cache, skip_bad=settings.skip_bad)
    return Run(out, settings, info, data, learner, progress)


@contextlib.contextmanager
def damage_as_error(out: str):
    """Errors from a state with parts that are missing or wrong become minast.Error."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Error(
            f"--resume {out}: the state in {run_folder.LAST} is damaged ({error!r}): start a new run."
        ) from None


def same_machine(options: Namespace, settings: Settings) -> str:
    """Set threads and choose the backend as they were, unless flags say otherwise.   -> the backend

    Prints a note if either differs, since rounding then differs.
    """
    if options.threads is None:
        threads.set_count(settings.threads)
    backend = options.backend or settings.backend
    if (backend, threads.count()) != (settings.backend, settings.threads):
        print(
            f"note: the run began on backend {settings.backend} with {settings.threads} threads and continues on "
            f"{backend} with {threads.count()}: from here on results differ by rounding."
        )
    return backend


def located(settings: Settings) -> str:
    """The DATA argument as seen from today's folder: paths were relative to where the run began."""
    data = settings.data
    if data == "builtin":
        return data
    kind, colon, path = data.partition(":")
    if colon and kind in NAMED:
        return kind + colon + os.path.join(settings.folder, path)
    return os.path.join(settings.folder, data)
