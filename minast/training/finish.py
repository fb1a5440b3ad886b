"""After the last step: the final model is scored, and the user is told how good it is and how to use it."""

import os
import shlex
from dataclasses import replace
from functools import partial

import numpy as np

from .. import cli, pages, plots, scoring
from ..audio.write import wav
from ..checkpoint import Info, keep_decisions, load
from ..datasets import Dataset
from ..decisions import decide
from ..errors import Error
from ..model import AST
from ..storage.files import atomic
from ..text import counted, visible
from . import run_folder
from .reporting import write_report
from .result import Result, quoted, remarks
from .run import Run


def finish(run: Run, alone: bool = True) -> str:
    """Score the final model once, decide thresholds, keep, draw and report it.   -> path of the checkpoint, best.npz

    alone: also print what is in the folder and how to predict; a run of many leaves that out.
    """
    best = os.path.join(run.out, run_folder.BEST)
    run.group.barrier()  # it is written
    run.data.settle()
    model, info = load(best, run.learner.model.backend.name, run.config.dtype)
    model.cuda_graphs = True
    dataset, shown = run.data.dataset, run.data.valid.clips[0]
    chosen_on = scoring.clip_scores(model, info, run.data.valid, group=run.group) if run.chooses else None
    result = final_result(run, model, info, chosen_on)
    if run.group.rank:
        return best
    said = [*headline(run, result, scored_before(run)), *remarks(result)]
    if chosen_on is not None:
        before, (info, sentence) = info.decisions, decided(run, info, chosen_on)
        said.append(sentence)
        if info.decisions != before:
            keep_decisions(best, info.decisions)
    result.save(run.out)
    picture, page = os.path.join(run.out, plots.PER_CLASS[result.loss]), os.path.join(run.out, pages.HTML)
    draw = partial(plots.per_class, result.scores, result.targets, info.labels, result.loss, picture)
    cli.try_to_draw(picture, draw)
    chosen = run.chooses and not run.averaged
    parts = run.out, run.settings, run.data, model, info, result, chosen, run.info.history, cli.as_typed()
    cli.try_to_draw(page, partial(write_report, *parts))
    example = write_examples(run.out, dataset) if dataset.kind == "builtin" else shlex.quote(shown.path)
    files = [name for name in run_folder.FILES if os.path.exists(os.path.join(run.out, name))]
    for line in [*said, *([f"{run.out}: {', '.join(files)}"] if alone else [])]:
        print(visible(line))  # last: what is written is written, also if nobody reads this
    if alone:
        command = f"python -m minast.predict {visible(shlex.quote(best))} {visible(example)}"
        print(cli.as_started(f"Predict with:\n  {command}"))
    return best


def final_result(run: Run, model: AST, info: Info, chosen_on: np.ndarray | None) -> Result:
    """The scores of the test clips; of the validation clips, `chosen_on`, if there are no others."""
    mels, split, scores = run.data.valid, run.data.split, chosen_on
    if run.data.test:
        mels, split, scores = run.data.test, "test", None
    return Result.of(
        scoring.clip_scores(model, info, mels, group=run.group) if scores is None else scores,
        run.data.dataset,
        mels.clips,
        split=split,
        loss=run.scored_as,
        epoch=run.averaged.last if run.averaged else run.best,
        step=run.progress.step,
        seconds=run.info.history[-1]["seconds"],
    )


def scored_before(run: Run) -> bool:
    """Whether the test clips were scored after fewer steps already: the run was finished, and then made longer."""
    try:
        return Result.load(run.out).step < run.progress.step
    except Error:
        return False


def headline(run: Run, result: Result, before: bool = False) -> list[str]:
    """What is quoted: the figure, on which clips, and what these were used for.   before: `scored_before`"""
    epoch, done = f"epoch {run.best} of {run.config.epochs}", quoted(result)
    if run.averaged:
        return [f"{result.split}: {done}; weights averaged over epochs {run.averaged.first} to {run.averaged.last}"]
    if not run.chooses:
        return [f"test: {done}, after the last epoch, {run.best}: nothing was chosen on these clips"]
    chosen = f"{epoch} was chosen on {counted(len(run.data.valid), 'validation clip')}"
    if run.data.test is None:
        return [f"validation: {done}; {chosen}: without a test split, expect less on other clips"]
    value = run.info.history[run.best - 1][run.measure]
    once = "scored again, since the run is longer now" if before else "scored once"
    return [f"test: {done}, {once}; {chosen} ({run.measure} {value:.2%} there)"]


def decided(run: Run, info: Info, scores: np.ndarray) -> tuple[Info, str]:
    """Calibration and thresholds from the validation clips.   scores (n, K) of these -> Info with them, a sentence

    With one label a clip there is calibration alone, which is kept where it helps on clips that it was not fitted to.
    """
    targets, clips = np.asarray(run.data.valid_targets[:]), counted(len(scores), "validation clip")
    found = decide(scores, targets, info.loss, data=f"{clips} of {run.data.dataset.name}")
    before, after = found.ece
    sigmoid = info.loss == "bce"
    if found.calibrates and (sigmoid or after < before):
        said = f"probabilities were calibrated on the {clips}: calibration error {before:.3f} before, {after:.3f} after"
    else:
        said = f"probabilities stay as they are: a calibration on the {clips} does not help on others"
        found = found if sigmoid else None
    return replace(info, decisions=found), said + ("; thresholds are those of the best F1 there" if sigmoid else "")


def write_examples(out: str, dataset: Dataset) -> str:
    """One test sound of each class as a wav file, to listen to and to predict.   -> a glob that matches them"""
    folder, seen = os.path.join(out, "examples"), set()
    os.makedirs(folder, exist_ok=True)
    for clip in dataset.of("test"):
        if clip.labels not in seen:
            seen.add(clip.labels)
            with atomic(os.path.join(folder, dataset.labels[clip.labels[0]] + ".wav")) as f:
                f.write(wav(clip.wave(16000), 16000))
    return os.path.join(shlex.quote(folder), "*.wav")
