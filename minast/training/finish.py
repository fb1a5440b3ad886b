"""After the last step: the best checkpoint is scored and drawn, and the user is told how to use it."""

import io
import os
import shlex
import wave
from functools import partial

import numpy as np

from .. import cli, plots, scoring
from ..checkpoint import load
from ..datasets import Dataset
from ..storage.files import atomic
from ..text import visible
from . import run_folder
from .run import Run


def finish(run: Run) -> str:
    """Score the best checkpoint, draw confusion.png, print the results.   -> path of the best checkpoint"""
    best = os.path.join(run.out, run_folder.BEST)
    run.data.settle()
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
    if run.data.test:
        scores, targets = scoring.clip_scores(model, info, run.data.test), dataset.targets(run.data.test.clips)
        value = scoring.measures(scores, targets, info.loss)[run.measure]
        said.append(f"test: {run.measure} {value:.2%} on {len(targets)} clips never used before")
    picture = os.path.join(run.out, "confusion.png")
    cli.try_to_draw(picture, partial(plots.per_class, scores, targets, info.labels, info.loss, picture))
    example = write_examples(run.out, dataset) if dataset.kind == "builtin" else shlex.quote(valid.clips[0].path)
    files = [name for name in run_folder.FILES if os.path.exists(os.path.join(run.out, name))]
    said.append(f"{run.out}: {', '.join(files)}")
    for line in said:  # last: what is written is written, also if nobody reads this
        print(visible(line))
    print(cli.as_started(f"Predict with:\n  python -m minast.predict {visible(shlex.quote(best))} {visible(example)}"))
    return best


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


def wav(samples: np.ndarray, rate: int) -> bytes:
    """The bytes of a wav file, one channel of 16 bits.   samples (n,) in [-1, 1], beyond that clipped; rate: in Hz

    By the standard library: training on the built-in sounds needs no libsndfile.
    """
    stored, file = np.clip(np.floor(np.float64(samples) * 2**15), -(2**15), 2**15 - 1).astype("<i2"), io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, len(stored), "NONE", "not compressed"))
        out.writeframes(stored.tobytes())
    return file.getvalue()
