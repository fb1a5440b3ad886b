"""After the last step: the best checkpoint is scored and drawn, and the user is told how to use it."""

import os
import shlex
from dataclasses import asdict
from functools import partial

from .. import cli, pages, plots, scoring
from ..audio.write import wav
from ..checkpoint import load
from ..datasets import Dataset
from ..storage.files import atomic
from ..text import visible
from . import run_folder
from .recipes import recipe
from .run import Run


def finish(run: Run) -> str:
    """Score the best checkpoint, draw and report its results, print them.   -> path of the best checkpoint"""
    best = os.path.join(run.out, run_folder.BEST)
    model, info = load(best, run.learner.model.backend.name, run.config.dtype)
    model.cuda_graphs = True
    dataset, valid, targets = run.data.dataset, run.data.valid, run.data.valid_targets
    scores = scoring.clip_scores(model, info, valid)
    result, last = scoring.measures(scores, targets, info.loss), run.info.history[-1]
    said = [
        f"{len(valid)} held-out clips: {run.measure} {last[run.measure]:.2%} after the last epoch, "
        f"{result[run.measure]:.2%} (mAP {result['mAP']:.3f}, AUC {result['AUC']:.4f}) "
        f"after epoch {info.history[-1]['epoch']}, chosen on these clips"
    ]
    tested, split = valid, dataset.validation_split
    if run.data.test:
        tested, split = run.data.test, "test"
        scores, targets = scoring.clip_scores(model, info, tested), dataset.targets(tested.clips)
        value = scoring.measures(scores, targets, info.loss)[run.measure]
        said.append(f"test: {run.measure} {value:.2%} on {len(targets)} clips never used before")
    picture = os.path.join(run.out, plots.PER_CLASS[info.loss])
    cli.try_to_draw(picture, partial(plots.per_class, scores, targets, info.labels, info.loss, picture))
    chosen = "valid" if run.data.test else "test"
    page = os.path.join(run.out, pages.HTML)
    cli.try_to_draw(page, partial(write_report, run, model, info, tested, scores, split, chosen))
    example = write_examples(run.out, dataset) if dataset.kind == "builtin" else shlex.quote(valid.clips[0].path)
    files = [name for name in run_folder.FILES if os.path.exists(os.path.join(run.out, name))]
    said.append(f"{run.out}: {', '.join(files)}")
    for line in said:  # last: what is written is written, also if nobody reads this
        print(visible(line))
    print(cli.as_started(f"Predict with:\n  python -m minast.predict {visible(shlex.quote(best))} {visible(example)}"))
    return best


def write_report(run: Run, model, info, tested, scores, split: str, chosen: str) -> None:
    """report.json and report.html of the model that is quoted; arguments as of `pages.run_record`."""
    settings = run.settings.to_save()
    usual, rest = recipe(run.data.dataset.kind, info.loss == "bce", {"pretrained": info.notes.get("pretrained")})
    defaults = asdict(usual) | {"preset": rest["preset"]}
    record = pages.run_record(
        model,
        info,
        run.data.dataset,
        tested,
        tested.clips,
        scores,
        train=run.data.train,
        train_clips=run.data.train.clips,
        name=os.path.basename(os.path.abspath(run.out)),
        split=split,
        chosen=chosen,
        measure=run.measure,
        settings={**settings.pop("train"), **settings},
        defaults=defaults,
        history=run.info.history,
        command=cli.as_typed(),
    )
    pages.write_report(run.out, record, pages.players(model, info, record, tested, tested.clips))


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
