"""After the last step: the final model is scored, and the user is told how good it is and how to use it."""

import os
import shlex
from functools import partial

from .. import cli, pages, plots, scoring
from ..audio.write import wav
from ..checkpoint import Info, load
from ..datasets import Dataset
from ..model import AST
from ..storage.files import atomic
from ..text import counted, visible
from . import run_folder
from .reporting import write_report
from .result import Result, group_of, quoted, remarks
from .run import Run


def finish(run: Run) -> str:
    """Score the final model once, keep and draw the result, print it.   -> path of the checkpoint, best.npz"""
    best = os.path.join(run.out, run_folder.BEST)
    model, info = load(best, run.learner.model.backend.name, run.config.dtype)
    model.cuda_graphs = True
    result = final_result(run, model, info)
    result.save(run.out)
    picture, dataset, shown = (
        os.path.join(run.out, plots.PER_CLASS[result.loss]),
        run.data.dataset,
        run.data.valid.clips[0],
    )
    draw = partial(plots.per_class, result.scores, result.targets, info.labels, result.loss, picture)
    cli.try_to_draw(picture, draw)
    parts = run.out, run.settings, run.data, model, info, result, run.chooses, run.info.history, cli.as_typed()
    cli.try_to_draw(os.path.join(run.out, pages.HTML), partial(write_report, *parts))
    example = write_examples(run.out, dataset) if dataset.kind == "builtin" else shlex.quote(shown.path)
    files = [name for name in run_folder.FILES if os.path.exists(os.path.join(run.out, name))]
    for line in [*headline(run, result), *remarks(result), f"{run.out}: {', '.join(files)}"]:
        print(visible(line))  # last: what is written is written, also if nobody reads this
    print(cli.as_started(f"Predict with:\n  python -m minast.predict {visible(shlex.quote(best))} {visible(example)}"))
    return best


def final_result(run: Run, model: AST, info: Info) -> Result:
    """The scores of the test clips; of the validation clips if there are no others."""
    mels = run.data.test or run.data.valid
    split = "test" if run.data.test or not run.chooses else "validation"
    scores = scoring.clip_scores(model, info, mels)
    names, groups = [clip.name for clip in mels.clips], [group_of(clip) for clip in mels.clips]
    targets, seconds = run.data.dataset.targets(mels.clips), run.info.history[-1]["seconds"]
    return Result(
        scores, targets, names, groups, info.labels, split, run.scored_as, run.best, run.progress.step, seconds
    )


def headline(run: Run, result: Result) -> list[str]:
    """What is quoted: the figure, on which clips, and what these were used for."""
    epoch, done = f"epoch {run.best} of {run.config.epochs}", quoted(result)
    if not run.chooses:
        return [f"test: {done}, after {epoch}, the last: nothing was chosen on them"]
    chosen = f"{epoch} was chosen on {counted(len(run.data.valid), 'validation clip')}"
    if run.data.test is None:
        return [f"validation: {done}; {chosen}: without a test split, expect less on other clips"]
    value = run.info.history[run.best - 1][run.measure]
    return [f"test: {done}, scored once; {chosen} ({run.measure} {value:.2%} there)"]


def write_examples(out: str, dataset: Dataset) -> str:
    """One held-out sound of each class as a wav file, to listen to and to predict.   -> a glob that matches them"""
    folder, seen = os.path.join(out, "examples"), set()
    os.makedirs(folder, exist_ok=True)
    for clip in dataset.of("test"):
        if clip.labels not in seen:
            seen.add(clip.labels)
            with atomic(os.path.join(folder, dataset.labels[clip.labels[0]] + ".wav")) as f:
                f.write(wav(clip.wave(16000), 16000))
    return os.path.join(shlex.quote(folder), "*.wav")
