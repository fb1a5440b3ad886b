"""Train an Audio Spectrogram Transformer.

  python -m minast.train                              ten built-in sounds, nothing to download
  python -m minast.train my_sounds/                   a folder with one sub-folder per class
  python -m minast.train clips.csv --preset tiny      a manifest: file,labels[,split]; several labels as a;b
  python -m minast.train fsdd:path/to/fsdd            Free Spoken Digit Dataset, official split
  python -m minast.train esc10:path/to/ESC-10 --fold 1
  python -m minast.train --resume runs/builtin-nano   go on, bit for bit, after Ctrl-C

The output folder gets best.npz and last.npz, history.csv, curves.png and confusion.png.
"""

import math
import os
import shlex
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from . import cli, optim, plots, scoring
from .checkpoint import load
from .errors import Error
from .gpu.transfer import pin_memory, to_device
from .training import batches, run_folder
from .training.feature_cache import FeatureCache
from .training.prefetch import Prefetcher
from .training.start import begun, parser, resumed


def main(argv=None):
    args, job = parser(__doc__).parse_args(argv), None
    with ExitStack() as leaving, run_folder.sigterm_is_ctrl_c():
        try:
            job = begun(args, leaving) if args.resume is None else resumed(args)
            return train(job)
        except KeyboardInterrupt:
            print(stopped_at_once(args, job))
            return 130


def stopped_at_once(args, job):
    """What there is after Ctrl-C where no step could be finished first, and how to go on."""
    if job and job.saved is not None:
        lost = f"what came after step {job.saved} is lost" if job.step > job.saved else "nothing is lost"
        return f"Stopped after step {job.step}; {lost}. {go_on(job)}"
    if args.resume is not None:
        return f"Stopped: nothing in {args.resume} has changed. Start the same command again to go on."
    if job and job.step:
        return f"Stopped after step {job.step}: nothing was saved yet. Start the same command again."
    return "Stopped before the first step: nothing was trained yet. Start the same command again."


def go_on(job):
    return f"Go on with:\n  python -m minast.train --resume {shlex.quote(job.out)}"


def train(job):
    """The loop. Everything random comes from (seed, epoch, step), so it can be entered at any step. -> exit status"""
    from tqdm import tqdm

    config, model, data, features = job.config, job.model, job.data, job.info.features
    store = job.store or FeatureCache(data.of("train"), features, job.cache)
    valid = FeatureCache(data.of(data.validation_split), features, job.cache, label="held-out features")
    targets, valid_targets = data.targets(store.clips), data.targets(valid.clips)
    per_epoch = batches.steps_per_epoch(len(store), config.batch)
    total, size = per_epoch * config.epochs, min(config.batch, len(store))
    step, (loss_sum, hits) = job.step, job.sums
    top = "accuracy" if config.loss == "ce" else "top-1"  # share of clips whose first guess is one of their labels
    clock = run_folder.Clock(job.info.history)

    def batch(step):
        epoch, at = divmod(step, per_epoch)
        chosen = batches.order(len(store), config, epoch)[at * size : (at + 1) * size]
        return batches.training_batch(store, targets, chosen, features, config, epoch, at)

    with (
        run_folder.Stopper() as stop,
        np.errstate(all="ignore"),  # every loss and gradient is looked at
        Prefetcher(pin_memory(batch, model.xp), range(step, total)) as ahead,
        tqdm(total=total, initial=step, unit="step", disable=None, dynamic_ncols=True) as bar,
    ):
        for (x, y), (_, labels) in to_device(ahead, model.xp):
            epoch, at = divmod(step, per_epoch)
            if at == 0:
                loss_sum, hits = 0.0, 0
            model.zero_grad()
            loss, norm, logits = take_step(job, x, y, optim.schedule(config, step, per_epoch))
            if not (math.isfinite(loss) and (math.isfinite(norm) or not job.scale.exhausted)):
                what = f"the loss is {loss} and the gradient's length {norm}"
                raise Error(not_finite(job, step + 1, epoch + 1, what))
            step = job.step = step + 1

            hits += batches.hits(model.numpy(logits), labels)
            loss_sum += loss
            clock.clips += size
            bar.set_postfix_str(
                f"epoch {epoch + 1}/{config.epochs} loss {loss_sum / (at + 1):.3f} "
                f"{top} {hits / ((at + 1) * size):.1%} {clock.speed:.0f} clips/s "
                f"waiting {ahead.waited / clock.session:.0%}",
                refresh=False,
            )
            bar.update()

            if step % per_epoch == 0:
                scores = scoring.clip_scores(model, job.info, valid)
                if not np.isfinite(scores).all():
                    raise Error(not_finite(job, step, epoch + 1, "the held-out scores are no longer finite"))
                row = {
                    "epoch": epoch + 1,
                    "lr": optim.schedule(config, step - 1, per_epoch),
                    "train_loss": loss_sum / per_epoch,
                    "train_top1": hits / (per_epoch * size),
                    "valid_loss": scoring.mean_loss(scores, valid_targets, config.loss),
                    **scoring.measures(scores, valid_targets, config.loss),
                    "seconds": round(clock.seconds, 1),
                }
                job.info = replace(job.info, history=[*job.info.history, row])
                keep(job, step, (loss_sum, hits))
                bar.write(
                    f"epoch {epoch + 1:3d}  loss {row['train_loss']:.4f}  held out: loss {row['valid_loss']:.4f}  "
                    f"{job.measure} {row[job.measure]:.1%}  {clock.speed:.0f} clips/s  {row['seconds']:.0f} s"
                )
            if stop.asked and step < total:
                run_folder.save_last(job, step, (loss_sum, hits))
                bar.close()
                print(f"Stopped after step {step} of {total}; nothing is lost. {go_on(job)}")
                return 130
    finish(job, valid, valid_targets)
    return 0


def take_step(job, x, y, lr):
    """Gradient, clipping, update; not taken where the gradient is not finite. -> loss, the gradient's length, logits

    The loss is looked at last: on a GPU all is queued by then, and the host was never waited for.
    """
    config, model, scale = job.config, job.model, job.scale.value
    loss, logits = model.loss_and_grad(x, y, config.loss, config.accumulate, scale, wait=False)
    norm = job.optimizer.clipped_step(model.dw.flat, lr, config.clip, copy=model.copy_to_update(), scale=1 / scale)
    job.scale.update(norm)
    return float(loss), norm, logits


def not_finite(job, step, epoch, what):
    """The sentence for numbers that blew up: which step, what to do, what is left."""
    saved = os.path.exists(os.path.join(job.out, run_folder.LAST))
    left = f"what was saved before is in {job.out}" if saved else "nothing was saved yet"
    return f"step {step} (epoch {epoch}): {what}; {left}. Try a lower --lr than {job.config.lr:g}."


def keep(job, step, sums):
    """At the end of an epoch: last.npz, best.npz if it is the best so far, history.csv, curves.png."""
    history = job.info.history
    if best_epoch(history, job.measure) == len(history):
        run_folder.save_best(job)
    run_folder.save_last(job, step, sums)
    run_folder.write_history(job.out, history)
    title = f"{job.data.name}, {job.settings['preset']}, seed {job.config.seed}"
    plots.learning_curves(history, os.path.join(job.out, "curves.png"), job.measure, title)


def best_epoch(history, measure):
    """The epoch, from 1, with the best measure; equal ones are told apart by the held-out loss, then the first wins."""
    keys = [(row[measure], -row["valid_loss"]) for row in history]
    return 1 + keys.index(max(keys))


def finish(job, valid, targets):
    """Pictures and words at the end of a run, from the best checkpoint."""
    best = os.path.join(job.out, run_folder.BEST)
    model, info = load(best, job.backend, job.config.dtype)
    model.cuda_graphs = True
    scores, measure, data = scoring.clip_scores(model, info, valid), job.measure, job.data
    result, last = scoring.measures(scores, targets, info.loss), job.info.history[-1]
    print(
        f"{len(valid)} held-out clips: {measure} {last[measure]:.2%} after the last epoch, {result[measure]:.2%} "
        f"(mAP {result['mAP']:.3f}, AUC {result['AUC']:.4f}) after epoch {info.history[-1]['epoch']}, the best on them"
    )
    if data.validation_split == "valid" and (test := data.of("test")):
        store = FeatureCache(test, info.features, job.cache, label="test features")
        scores, targets = scoring.clip_scores(model, info, store), data.targets(test)
        value = scoring.measures(scores, targets, info.loss)[measure]
        print(f"test: {measure} {value:.2%} on {len(test)} clips never looked at before")
    plots.per_class(scores, targets, info.labels, info.loss, os.path.join(job.out, "confusion.png"))
    example = examples(job.out, data) if data.kind == "builtin" else shlex.quote(valid.clips[0].path)
    print(f"{job.out}: best.npz, last.npz, history.csv, curves.png, confusion.png")
    print(f"Predict with:\n  python -m minast.predict {shlex.quote(best)} {example}")


def examples(out, data):
    """One held-out sound of each class as a wav, to listen to and to predict. -> how to name them in a shell"""
    import soundfile

    from .files import atomic

    folder, seen = os.path.join(out, "examples"), set()
    os.makedirs(folder, exist_ok=True)
    for clip in data.of("test"):
        if clip.labels not in seen:
            seen.add(clip.labels)
            with atomic(os.path.join(folder, data.labels[clip.labels[0]] + ".wav")) as f:
                soundfile.write(f, clip.wave(16000), 16000, format="WAV", subtype="PCM_16")
    return os.path.join(shlex.quote(folder), "*.wav")


if __name__ == "__main__":
    cli.run(main)
