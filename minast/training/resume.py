"""How a stopped run is prepared to go on: from its folder."""

import contextlib
import os
from argparse import Namespace
from dataclasses import replace

from .. import cli, optim, threads
from ..checkpoint import Info, load
from ..config import COUNT
from ..datasets import NAMED, Dataset, open_dataset, understood
from ..datasets.content import trained_before
from ..errors import Error
from ..parallel import world
from ..storage.schema import ListOf, Number, Real, Record, as_json, checked
from ..text import counted, visible
from . import run_folder, tensorboard
from .flags import flag
from .learner import new_learner
from .progress import Progress
from .run import Run, Settings, TrainingData, no_patience
from .waveforms import background_recordings, fingerprint, waveforms

# Flags that may stand beside --resume: where its data are, how it is computed, how much longer it trains.
ALLOWED = ("resume", "data", "skip_bad", "background_dir", "backend", "threads", "workers", "epochs", "patience")
ALLOWED += ("tensorboard",)


def resumed_run(options: Namespace) -> Run:
    """The run in the folder `options.resume`, where it stopped, with its own settings.

    The place of its data, --skip-bad, the backend and the number of threads may be given anew, and the run may be made
    longer. Raises minast.Error for other flags, a damaged folder, and data that have changed.
    """
    refuse_others(options)
    tensorboard.check(options.tensorboard)
    out = options.resume
    state = run_folder.load_state_of(out)
    with damage_as_error(out):
        settings, progress = Settings.from_saved(state["settings"]), Progress.from_saved(state.get("counters"))
    backend = same_machine(options, settings)
    model, info = load(os.path.join(out, run_folder.LAST), backend, settings.train.dtype)
    with damage_as_error(out):
        check_history(info.history)
    dataset = same_data(settings, info, options.data, options.skip_bad)
    print("\n".join(understood(dataset)))
    if run_folder.fingerprint(dataset, settings.fingerprint) != settings.fingerprint:
        raise Error(f"{dataset.name}: these are not the clips that {out} was trained on: start a new run.")
    folder = options.background_dir or (settings.background_dir and located(settings.background_dir, settings.folder))
    recordings = background_recordings(folder, settings.train)
    if recordings and fingerprint(folder, recordings) != settings.background_fingerprint:
        raise Error(f"{visible(folder)}: these are not the background recordings of {out}: start a new run.")
    if options.data or options.background_dir:  # they have moved: the next --resume finds them
        moved = options.data or located(settings.data, settings.folder), folder
        settings = replace(settings, data=moved[0], background_dir=moved[1], folder=os.getcwd())
    settings = replace(settings, skip_bad=settings.skip_bad or options.skip_bad)
    where = model.backend.spectrograms(info.features.rate)
    data = TrainingData.read(dataset, info.features, settings.cache, skip_bad=settings.skip_bad, spectrograms=where)
    clips = min(settings.train.batch, len(data.train))
    learner = new_learner(model, settings.train, data.train_targets, world(), clips)
    with damage_as_error(out):
        learner.optimizer.load_state(state)
        learner.scale.load_state(state["counters"].get("scale", learner.scale.state()))
        if learner.average:
            learner.average.load_state(state)
    data.waves = waveforms(settings.train, info.features, data.train, settings.cache, recordings)
    settings = same_processes(settings)
    run = Run(out, settings, info, data, learner, progress, world())
    with damage_as_error(out):
        check_consistency(run)
    done = f"{len(info.history)} of {settings.train.epochs} epochs done"
    print(f"{visible(out)}: resuming after step {progress.step} ({done})")
    lengthen(run, options)
    return run


def same_data(settings: Settings, info: Info, data: str | None = None, skip_bad: bool = False) -> Dataset:
    """The data of a run with the splits that it had.   data: where they are now, if they have moved"""
    return open_dataset(
        data or located(settings.data, settings.folder),
        trained_on=trained_before(info.notes),
        skip_bad=settings.skip_bad or skip_bad,
        alike=info.notes.get("alike", ""),
        **settings.drawing,
    )


def lengthen(run: Run, options: Namespace) -> None:
    """Give the run the epochs and the patience that --epochs and --patience ask for, and say what that means.

    The schedule is that of the new number of epochs, seen from the run's first step: milestones go on as they were, and
    a cosine that had fallen to 0 rises to where the longer one is, then falls to 0 again. Raises minast.Error for fewer
    epochs than the run has, and for patience without a validation split.
    """
    config = run.config
    wanted = {name: getattr(options, name) for name in ("epochs", "patience") if getattr(options, name) is not None}
    if wanted.get("epochs", config.epochs) < config.epochs:
        raise Error(
            f"--epochs is {wanted['epochs']}: {run.out} is a run of {config.epochs} epochs, which can only become more."
        )
    run.settings = replace(
        run.settings,
        train=replace(config, **wanted),
        tensorboard=run.settings.tensorboard or bool(options.tensorboard),
    )
    if run.config.patience and not run.chooses:
        raise Error(no_patience(run.data.dataset.name))
    if run.config.epochs > config.epochs:
        before, now = (optim.schedule(c, run.progress.step, run.steps_per_epoch) for c in (config, run.config))
        print(
            f"{run.config.epochs} epochs instead of {config.epochs}: the learning rate goes on at {now:.3g} instead of "
            f"{before:.3g}, as if the run had been this long from the start"
        )
    if run.out_of_patience:
        cli.note(
            f"the run had stopped out of patience after epoch {len(run.info.history)}: a larger --patience, or "
            "--patience 0, lets it go on."
        )


def refuse_others(options: Namespace) -> None:
    """Raises minast.Error for flags that may not stand beside --resume."""
    given = [name for name, value in vars(options).items() if value is not None and value is not False]
    if others := [flag(name) for name in given if name not in ALLOWED]:
        raise Error(f"--resume continues with the run's own settings: leave out {', '.join(others)}.")


@contextlib.contextmanager
def damage_as_error(out: str):
    """What is wrong with a state, as a sentence that names the file and says what to do."""
    try:
        yield
    except Error as error:
        raise Error(
            f"--resume {out}: the state in {run_folder.LAST} is damaged ({str(error).rstrip('.')}): start a new run."
        ) from None


# A row of the history, as loop.validate makes it; a measure can be NaN where no clip of a class is held out.
ROW = Record(
    {
        "epoch": COUNT,
        "lr": Number(least=0),
        "train_loss": Number(),
        "train_top1": Number(0, 1),
        "valid_loss": Number(),
        "seconds": Number(least=0),
    },
    others=Real(),
)


def check_history(history: list[dict]) -> None:
    """Raises minast.Error unless there is a row for each epoch from the first, all with the same fields."""
    checked(ListOf(ROW, COUNT.most), history, "history", as_json)
    for i, row in enumerate(history):
        if row["epoch"] != i + 1:
            raise Error(f"history[{i}].epoch is {row['epoch']}: it must be {i + 1}.")
        if row.keys() != history[0].keys():
            raise Error(f"history[{i}] has other fields than history[0].")


def check_consistency(run: Run) -> None:
    """Raises minast.Error if the parts of a state do not belong together: steps, epochs, labels, loss."""
    done, step, each = len(run.info.history), run.progress.step, run.steps_per_epoch
    if not done * each <= step <= (done + 1) * each or step > run.steps:
        raise Error(f"step {step} is not in epoch {done + 1} of {run.config.epochs} of {each} steps")
    if run.progress.hits > each * run.batch_size:
        raise Error(f"counters.sums[1] is {run.progress.hits}: an epoch has {each * run.batch_size} clips")
    skipped = step - run.learner.optimizer.t  # steps whose gradient overflowed, in float16 alone
    if skipped < 0 or (skipped and run.config.dtype != "float16"):
        raise Error(f"the optimizer has done {run.learner.optimizer.t} steps, the run {step}")
    average = run.learner.average
    if average and average.count != max(0, done + run.unscored + 1 - average.first):  # it counts what is not scored yet
        raise Error(f"{average.count} epochs are averaged, of {done} from epoch {average.first} on")
    if run.info.loss != run.config.loss:
        raise Error(f"loss is {run.info.loss!r}, but {run.config.loss!r} in the settings")
    if run.info.labels != list(run.data.dataset.labels):
        raise Error("the labels are not those of the data")
    if run.info.history and run.measure not in run.info.history[0]:
        raise Error(f"the history has no {run.measure}")


def same_machine(options: Namespace, settings: Settings) -> str:
    """Set threads and choose the backend as they were, unless flags say otherwise.   -> the backend

    Another number of processes divides the cores anew, unless bits are to stay the same (`reduction`).
    Prints a note if either differs, since rounding then differs.
    """
    as_before = world().size == settings.processes or settings.train.reduction == "fixed"
    if options.threads is None and as_before:
        threads.set_count(settings.threads)
    backend = options.backend or settings.backend
    if (backend, threads.count()) != (settings.backend, settings.threads):
        cli.note(
            f"the run began on backend {settings.backend} with {settings.threads} threads and continues on "
            f"{backend} with {threads.count()}: from here on results differ by rounding."
        )
    return backend


def same_processes(settings: Settings) -> Settings:
    """The settings with today's number of processes; prints a note if another one rounds differently."""
    now = world().size
    if now != settings.processes and settings.train.reduction == "fast":
        cli.note(
            f"the run had {counted(settings.processes, 'process', 'processes')} and continues with {now}: from "
            "here on results differ by rounding."
        )
    return replace(settings, processes=now)


def located(data: str, folder: str) -> str:
    """The DATA argument as seen from today's folder: paths were relative to `folder`, where the run began."""
    if data == "builtin":
        return data
    kind, colon, path = data.partition(":")
    if colon and kind in NAMED:
        return kind + colon + os.path.join(folder, path)
    return os.path.join(folder, data)
