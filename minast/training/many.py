"""Many runs from one command: a run for each fold (`--folds`) and each seed (`--seeds`).

The folder has plan.json, an ordinary run's folder for each, such as fold1-seed0, and summary.json.

What is fitted to the clips of the first run (`fitted`), or to the time that it would take, holds for all of them: else
the folds of one cross-validation would differ in input length, epochs or even size, and be no repetitions.
"""

import json
import os
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from .. import cli, threads
from ..checkpoint import description, open_checkpoint
from ..config import COUNT
from ..datasets import Dataset, open_dataset
from ..datasets.common import quoted
from ..errors import Error
from ..storage.files import atomic
from ..storage.schema import Flag, ListOf, Maybe, Plain, Record, Text, Whole, as_json, checked
from ..text import counted, duration, visible
from . import run_folder
from .choice import FITTED
from .flags import parser
from .loop import Diverged
from .reporting import COMPARISON, write_comparison
from .result import Result
from .resume import ALLOWED, located, refuse_others
from .run import Run
from .run_folder import LAST, PLAN
from .single import resume_command, run_one
from .start import stem
from .summary import SUMMARY, show, summarise, write

KEPT = ("epochs", "patience", "backend", "threads", "tensorboard", "skip_bad")  # flags beside --resume, for all runs
NOT_KEPT = ("data", "out", "resume", "fold", "folds", "seed", "seeds")  # flags that a plan has in other words
FORM = Record(
    {
        "format": Whole(1, 1),
        "data": Text(2**15, plain=False),
        "folder": Text(2**15, plain=False),
        "options": Record({}, others=Plain()),
        "folds": ListOf(Maybe(COUNT), 1000),
        "drawn": Maybe(COUNT),
        "seeds": ListOf(Whole(0, 2**63 - 1), 1000),
        "fitted": Record({}, others=Plain()),
        "moved": Flag(),
    },
    optional=["fitted", "moved"],
)


@dataclass(frozen=True)
class Plan:
    """Which runs are wanted, and with which settings."""

    data: str  # the DATA argument; a path in it, and that of pretrained weights, is relative to `folder`
    folder: str
    options: dict  # the other flags that were given
    folds: list[int | None]  # [None]: the data are not divided into folds
    drawn: int | None  # folds that are drawn, for data without any
    seeds: list[int]
    fitted: dict = field(default_factory=dict)  # flags that say what was fitted to the first run; empty before it
    moved: bool = False  # whether the data are elsewhere than when the runs began

    @property
    def runs(self) -> list[tuple[int | None, int]]:
        """Fold and seed of each run; all folds with the first seed come first."""
        return [(fold, seed) for seed in self.seeds for fold in self.folds]

    def flags(self, out: str, fold: int | None, seed: int) -> Namespace:
        """The flags of one run."""
        given = {**self.fitted, **self.options, "data": located(self.data, self.folder), "out": out}
        for name in ("pretrained", "background_dir"):
            if given.get(name):
                given[name] = os.path.join(self.folder, given[name])
        return nothing_given(**{**given, "fold": fold, "folds": self.drawn, "seed": seed})

    def fitted_to(self, run: Run) -> "Plan":
        """The plan in which all runs have what was fitted to the first, `run`; the same plan if that is known."""
        if self.fitted:
            return self
        shape, features = run.learner.model.config, run.info.features
        found = {name: getattr(run.config, name) for name in FITTED if hasattr(run.config, name)}
        found |= {"rate": features.rate, "frames": features.frames, "fstride": shape.fstride, "tstride": shape.tstride}
        if not self.options.get("pretrained"):
            found["preset"] = run.settings.preset
        return replace(self, fitted=found)

    def save(self, out: str) -> None:
        """Write plan.json."""
        with atomic(os.path.join(out, PLAN), "w", encoding="utf-8") as f:
            json.dump({"format": 1, **asdict(self)}, f, indent=1)

    @classmethod
    def load(cls, out: str) -> "Plan":
        """Read plan.json. Raises minast.Error for anything that `save` does not write."""
        path = os.path.join(out, PLAN)
        try:
            with open(path, encoding="utf-8") as f:
                found = checked(FORM, json.load(f), "plan", as_json)
        except (OSError, ValueError, Error) as error:
            raise Error(f"{visible(path)}: this plan of runs cannot be read ({str(error).rstrip('.')}).") from None
        return cls(**{name: value for name, value in found.items() if name != "format"})


def nothing_given(**but: object) -> Namespace:
    """The flags as parsed from an empty command line, but for these."""
    return Namespace(**{**vars(parser().parse_args([])), **but})


def wanted(options: Namespace) -> bool:
    """Whether flags ask for many runs: folds without a single --fold, seeds, or a folder of many to resume."""
    if options.resume is not None:
        return os.path.exists(os.path.join(options.resume, PLAN))
    return options.seeds is not None or (options.folds is not None and options.fold is None)


def run_all(options: Namespace) -> str:
    """Do all runs that are not finished yet, and summarise them.   options: parsed flags -> path of summary.json

    A run whose numbers are no longer finite does not stop the others; minast.Error names it at the end. After Ctrl-C it
    says how to continue, and raises KeyboardInterrupt.
    """
    with ExitStack() as leaving:
        if options.resume is None:
            plan = new_plan(options)
            default = f"{stem(plan.data.rpartition(':')[2])}-{'folds' if plan.folds != [None] else 'seeds'}"
            out = run_folder.new_folder(options.out, default, leaving)
        else:
            refuse_others(options)
            out = options.resume
            run_folder.take(out, leaving)
            plan = changed(Plan.load(out), options)
            plan.save(out)
        state = {"at": 0, "done": 0}
        try:
            failed = each_run(plan, out, options, state)
        except KeyboardInterrupt:
            with suppress(OSError):
                print(cli.as_started(stopped(plan, out, **state)), flush=True)
            raise
        summary = summarise(plan.data, results(plan, out), len(plan.runs))
        write(out, summary)
        page = os.path.join(out, COMPARISON)
        cli.try_to_draw(page, lambda: write_comparison(out, [row["folder"] for row in summary.get("runs", ())]))
        print("\n".join(show(summary)))
        print(visible(f"{out}: {SUMMARY}, {COMPARISON}, and a folder for each run"))
        if failed:
            raise Error(f"{len(failed)} of {len(plan.runs)} runs did not end well: {', '.join(failed)}.")
        return os.path.join(out, SUMMARY)


def new_plan(options: Namespace) -> Plan:
    """Which folds and seeds the flags mean. Raises minast.Error for folds that the data do not have."""
    source = "builtin" if options.data is None else options.data
    first = options.seed or 0
    folds, drawn = [None], None
    if options.folds is not None:
        own = open_dataset(source, first, training=False, skip_bad=True).folds
        if own and options.folds not in ("all", len(own)):
            raise Error(f"--folds is {options.folds}: {source} comes in {len(own)} folds: give --folds all.")
        if not own and options.folds == "all":
            raise Error(f"{source} has no folds of its own: give the number to draw, such as --folds 5.")
        folds, drawn = (own, None) if own else (list(range(1, options.folds + 1)), options.folds)
        if options.fold is not None:
            folds = [options.fold]
        check_folds(open_dataset(source, first, training=False, skip_bad=True, folds=drawn, alike=True), folds)
    elif options.fold is not None:
        folds = [options.fold]
    given = {name: value for name, value in vars(options).items() if value is not None and name not in NOT_KEPT}
    return Plan(source, os.getcwd(), given, folds, drawn, [first + i for i in range(options.seeds or 1)])


def check_folds(dataset: Dataset, tested: Sequence[int]) -> None:
    """Raises minast.Error for a class that one of the tested folds has alone: its run would have none to train on."""
    labels, folds = dataset.clips.labels, dataset.clips.folds
    pairs = np.unique(np.stack([labels.values, folds[labels.rows]]), axis=1)
    classes, first, counts = np.unique(pairs[0], return_index=True, return_counts=True)
    alone = [(k, int(pairs[1][i])) for k, i in zip(classes[counts == 1], first[counts == 1], strict=True)]
    if dataset.multilabel or not (alone := [(k, fold) for k, fold in alone if fold in tested]):
        return
    (k, fold), *others = alone
    more = f" (and so with {len(others)} more)" if others else ""
    needed = "two recordings or groups" if dataset.drawn else "clips in two folds"
    raise Error(
        f"{visible(dataset.name)}: all clips of class {quoted(dataset.labels[k])} are in fold {fold}, and the run that "
        f"tests on it has none to train on{more}: a class needs {needed}."
    )


def changed(plan: Plan, options: Namespace) -> Plan:
    """The plan with what was given beside --resume: where the data are now, more epochs."""
    given = {name: getattr(options, name) for name in KEPT}
    new = {name: value for name, value in given.items() if value is not None and value is not False}
    before = plan.options.get("epochs") or plan.fitted.get("epochs") or 0
    if new.get("epochs", before) < before:
        raise Error(
            f"--epochs is {new['epochs']}: {options.resume} is of runs of {before} epochs, which can only become more."
        )
    places = {name: path for name in ("pretrained", "background_dir") if (path := plan.options.get(name))}
    if options.data or options.background_dir:  # they have moved
        places = {name: os.path.join(plan.folder, path) for name, path in places.items()}
        data = options.data or located(plan.data, plan.folder)
        plan = replace(plan, data=data, folder=os.getcwd(), moved=True)
    if options.background_dir:
        places["background_dir"] = options.background_dir
    return replace(plan, options={**plan.options, **new, **places})


def name_of(fold: int | None, seed: int) -> str:
    """The folder of a run."""
    return f"seed{seed}" if fold is None else f"fold{fold}-seed{seed}"


def words_of(fold: int | None, seed: int) -> str:
    """The same for people."""
    return f"seed {seed}" if fold is None else f"fold {fold}, seed {seed}"


def each_run(plan: Plan, out: str, options: Namespace, state: dict) -> list[str]:
    """Do what is not done yet, one run after another.   -> names of those whose numbers were no longer finite

    state: gets the number of the run in progress, "at", and how many are "done", for `stopped`.
    """
    failed = []
    for at, (fold, seed) in enumerate(plan.runs, 1):
        folder, state["at"] = os.path.join(out, name_of(fold, seed)), at
        if finished(folder, plan.options.get("epochs") or 0, plan.options.get("patience")):
            state["done"] += 1
            continue
        if plan.options.get("threads"):
            threads.set_count(plan.options["threads"])
        print(f"\nrun {at} of {len(plan.runs)}: {words_of(fold, seed)}{left(plan, out, at)}", flush=True)
        flags = plan.flags(folder, fold, seed)
        if os.path.exists(os.path.join(folder, LAST)):
            flags = nothing_given(**{**beside(plan, options), "resume": folder})

        def begun(run):
            nonlocal plan
            plan = plan.fitted_to(run)
            plan.save(out)

        try:
            run_one(flags, plan.seeds[0], alone=False, begun=begun)
            state["done"] += 1
            write(out, summarise(plan.data, results(plan, out), len(plan.runs)))
        except Diverged as error:
            cli.complain(f"{words_of(fold, seed)}: {error}")
            failed.append(name_of(fold, seed))
    return failed


def beside(plan: Plan, options: Namespace) -> dict:
    """The flags with which a run of the plan goes on.

    What an earlier --resume has changed is in the plan, and runs that it did not come to do not know it yet.
    """
    flags = {name: getattr(options, name) for name in ALLOWED}
    flags |= {
        name: plan.options[name] for name in KEPT if name in plan.options and name != "threads"
    }  # a run knows its own
    if plan.moved:
        flags["data"] = located(plan.data, plan.folder)
        if folder := plan.options.get("background_dir"):
            flags["background_dir"] = os.path.join(plan.folder, folder)
    return flags


def finished(folder: str, epochs: int = 0, patience: int | None = None) -> bool:
    """Whether the run in a folder has done all its steps, at least so many epochs, and kept its result.

    patience: one that ended out of a smaller one is not finished; 0: without end.
    """
    try:
        with open_checkpoint(os.path.join(folder, LAST)) as archive:
            about = description(archive)
        step, settings = about["state"]["counters"]["step"], about["state"]["settings"]["train"]
        early = len(about["history"]) < settings["epochs"]
        more = patience == 0 or (patience or 0) > settings["patience"]
        if settings["epochs"] < epochs or (early and more):
            return False
        return Result.load(folder).step == step
    except (Error, KeyError, TypeError):
        return False  # resuming it will say what is wrong


def results(plan: Plan, out: str) -> list[tuple[int | None, int, str, Result]]:
    """Fold, seed, folder and result of the finished runs."""
    found = [(fold, seed, name_of(fold, seed)) for fold, seed in plan.runs]
    return [
        (fold, seed, name, Result.load(os.path.join(out, name)))
        for fold, seed, name in found
        if finished(os.path.join(out, name))
    ]


def left(plan: Plan, out: str, at: int) -> str:
    """How long the remaining runs will take, by the mean of those that are finished; "" before there is any."""
    times = [result.seconds for *_, result in results(plan, out)]
    return f"; about {duration(sum(times) / len(times) * (len(plan.runs) - at + 1))} left for all" if times else ""


def stopped(plan: Plan, out: str, at: int, done: int) -> str:
    """What to say after Ctrl-C."""
    if not os.path.exists(os.path.join(out, PLAN)):
        return "Stopped before the first step: nothing was trained yet. Run the same command again."
    count = counted(done, "is finished", "are finished")
    return f"Stopped in run {at} of {len(plan.runs)}; {count}. Resume with:\n  {resume_command(out)}"
