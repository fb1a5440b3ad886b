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
import time
from dataclasses import asdict, replace

import numpy as np

from . import batches, cli, optim, plots, run, scoring
from .checkpoint import Info, load
from .config import PRESETS, FeatureConfig, ModelConfig, TrainConfig
from .datasets import open_dataset
from .errors import Error
from .model import AST
from .recipes import recipe
from .store import Store


def main(argv=None):
    args = parser().parse_args(argv)
    job = resumed(args) if args.resume else begun(args)
    return train(**job)


def train(out, settings, config, model, info, optimizer, data, step=0, sums=(0.0, 0), backend=None, cache=True):
    """The loop. Everything random comes from (seed, epoch, step), so it can be entered at any step."""
    from tqdm import tqdm

    features, name = info.features, info.labels
    train_clips, held_out = data.of("train"), data.of(data.validation_split)
    store, targets = Store(train_clips, features, cache), data.targets(train_clips)
    valid, valid_targets = Store(held_out, features, cache, label="held-out features"), data.targets(held_out)
    per_epoch = batches.steps_per_epoch(len(store), config.batch)
    total = per_epoch * config.epochs
    history, measure = list(info.history), "accuracy" if config.loss == "ce" else "mAP"
    loss_sum, hits = sums

    began, clips_done = time.perf_counter(), 0
    with run.Stopper() as stop, tqdm(total=total, initial=step, unit="step", disable=None, dynamic_ncols=True) as bar:
        while step < total:
            epoch, at = divmod(step, per_epoch)
            if at == 0:
                loss_sum, hits = 0.0, 0
            chosen = batches.order(len(store), config, epoch)[at * config.batch : (at + 1) * config.batch]
            x, y = batches.training_batch(store, targets, chosen, features, config, epoch, at)

            model.zero_grad()
            loss, logits = model.loss_and_grad(x, y, config.loss)
            norm = optim.clip(model.dw.flat, config.clip)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise Error(
                    f"step {step + 1} (epoch {epoch + 1}): the loss is {loss} and the gradient's length {norm}. The step was "
                    f"not taken; try a lower --lr than {config.lr:g}. What was saved before is in {out}."
                )
            optimizer.step(model.dw.flat, optim.schedule(config, step, per_epoch))
            step += 1

            top = model.numpy(logits).argmax(axis=1)
            hits += int((y[np.arange(len(y)), top] >= y.max(axis=1)).sum())
            loss_sum += loss
            clips_done += len(chosen)
            seen = (at + 1) * len(chosen)
            speed = clips_done / (time.perf_counter() - began)
            bar.set_postfix_str(
                f"epoch {epoch + 1}/{config.epochs} loss {loss_sum / (at + 1):.3f} "
                f"{'accuracy' if measure == 'accuracy' else 'top-1'} {hits / seen:.1%} {speed:.0f} clips/s",
                refresh=False,
            )
            bar.update()

            if step % per_epoch == 0:
                scores = scoring.clip_scores(model, Held(features, config.loss), valid)
                row = {
                    "epoch": epoch + 1,
                    "lr": optim.schedule(config, step - 1, per_epoch),
                    "train_loss": loss_sum / per_epoch,
                    "train_top1": hits / (per_epoch * len(chosen)),
                    "valid_loss": scoring.mean_loss(scores, valid_targets, config.loss),
                    **scoring.measures(scores, valid_targets, config.loss),
                    "seconds": round(time.perf_counter() - began, 1),
                }
                history.append(row)
                info = replace(info, history=history)
                if better(history, measure):
                    run.save_best(out, model, info)
                save_last(out, model, info, optimizer, settings, step, (loss_sum, hits))
                run.write_history(out, history)
                plots.learning_curves(
                    history, os.path.join(out, "curves.png"), measure, f"{data.name}, {model_name(settings)}"
                )
                bar.write(
                    f"epoch {epoch + 1:3d}  loss {row['train_loss']:.4f}  held out: loss {row['valid_loss']:.4f}  "
                    f"{measure} {row[measure]:.1%}  {speed:.0f} clips/s  {row['seconds']:.0f} s"
                )
            if stop.asked and step < total:
                save_last(out, model, info, optimizer, settings, step, (loss_sum, hits))
                bar.close()
                print(
                    f"Stopped after step {step} of {total}; nothing is lost. Go on with:\n  python -m minast.train --resume {out}"
                )
                return 130
    finish(out, info, data, held_out, valid, valid_targets, measure, backend, name)
    return 0


def finish(out, info, data, held_out, valid, valid_targets, measure, backend, labels):
    """Pictures and words at the end of a run, from the best checkpoint."""
    best = os.path.join(out, run.BEST)
    model, info = load(best, backend)
    scores = scoring.clip_scores(model, info, valid)
    result = scoring.measures(scores, valid_targets, info.loss)
    split = data.validation_split
    print(
        f"best epoch {info.history[-1]['epoch']}: {measure} {result[measure]:.2%} on {len(held_out)} held-out clips "
        f"(mAP {result['mAP']:.3f}, AUC {result['AUC']:.4f})"
    )
    if split == "valid" and (test := data.of("test")):
        scores, targets = (
            scoring.clip_scores(model, info, Store(test, info.features, label="test features")),
            data.targets(test),
        )
        print(
            f"test: {measure} {scoring.measures(scores, targets, info.loss)[measure]:.2%} on {len(test)} clips never looked at before"
        )
    else:
        targets = valid_targets
    plots.per_class(scores, targets, labels, info.loss, os.path.join(out, "confusion.png"))
    example = examples(out, data) if data.kind == "builtin" else data.of(split)[0].path
    print(f"{out}: best.npz, last.npz, history.csv, curves.png, confusion.png")
    print(f"Predict with:\n  python -m minast.predict {best} {example}")


def examples(out, data):
    """One held-out sound of each class as a wav, to listen to and to predict. -> how to name them in a shell"""
    import soundfile

    from .files import atomic

    folder = os.path.join(out, "examples")
    os.makedirs(folder, exist_ok=True)
    seen = set()
    for clip in data.of("test"):
        if clip.labels not in seen:
            seen.add(clip.labels)
            with atomic(os.path.join(folder, data.labels[clip.labels[0]] + ".wav")) as f:
                soundfile.write(f, clip.wave(16000), 16000, format="WAV", subtype="PCM_16")
    return os.path.join(folder, "*.wav")


# -- how a run begins ------------------------------------------------------------------------------------------


def begun(args):
    """A new run from the command line's flags and the data's recipe."""
    given = vars(args)
    data = open_dataset(args.data or "builtin", args.seed or 0, args.fold)
    config, rest = recipe(data.kind, data.multilabel, given)
    out = run.new_folder(
        args.out,
        f"{data.kind if data.kind != 'own' else os.path.basename(os.path.abspath(args.data))}-{rest['preset']}",
    )
    features = FeatureConfig(
        rate=rest["rate"], frames=1024, **{k: given[k] for k in ("mel_bins", "window") if given[k]}
    )
    store = Store(data.of("train"), features, not args.no_cache)
    frames = rest["frames"] or fitting_frames(store.lengths())
    mean, std = store.mean_std()
    mean, std = (mean if args.mean is None else args.mean), (std if args.std is None else args.std)
    features = replace(features, frames=frames, mean=mean, std=std)
    shape = {k: given[k] for k in ("fstride", "tstride", "prefix_tokens", "depth") if given[k]}
    size = ModelConfig.preset(
        rest["preset"], classes=len(data.labels), frames=frames, mel_bins=features.mel_bins, **shape
    )
    model = AST(size, args.backend, seed=config.seed)
    info = Info(list(data.labels), features, config.loss, notes={"data": data.name, "from": "random weights"})
    counts = {split: len(data.of(split)) for split in ("train", "valid", "test") if data.of(split)}
    print(
        f"{data.name}: {', '.join(f'{n} {s}' for s, n in counts.items())} clips, {len(data.labels)} classes; split {data.split_from}"
    )
    print(
        f"{rest['preset']}: {model.parameters / 1e6:.2f} M weights, {size.tokens} tokens from {frames} frames at {features.rate} Hz, "
        f"mean {mean:.3f}, std {std:.3f}; backend {model.backend}; to {out}"
    )
    settings = {
        "data": args.data or "builtin", "fold": args.fold, "folder": os.getcwd(), "fingerprint": run.fingerprint(data),
        "preset": rest["preset"], "train": asdict(config), "cache": not args.no_cache, "backend": args.backend,
    }  # fmt: skip
    return {
        "out": out, "settings": settings, "config": config, "model": model, "info": info, "data": data,
        "optimizer": new_optimizer(model, config), "backend": args.backend, "cache": not args.no_cache,
    }  # fmt: skip


def resumed(args):
    """A run that stopped, where it stopped. Its settings are its own: other flags are refused."""
    others = [
        name for name, value in vars(args).items() if value not in (None, False) and name not in ("resume", "backend")
    ]
    if others:
        raise Error(f"--resume goes on with the run's own settings: leave out {', '.join(others)}.")
    model, info, state = run.load_last(args.resume, args.backend)
    settings, counters = state["settings"], state["counters"]
    config = TrainConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings["train"].items()})
    data = open_dataset(located(settings), config.seed, settings["fold"])
    if run.fingerprint(data) != settings["fingerprint"]:
        raise Error(
            f"{data.name}: clips, labels or splits are not those that {args.resume} was trained on: start a new run."
        )
    optimizer = new_optimizer(model, config)
    optimizer.load_state(state)
    print(f"{args.resume}: going on after step {counters['step']} (epoch {len(info.history) + 1} of {config.epochs})")
    return {
        "out": args.resume, "settings": settings, "config": config, "model": model, "info": info, "data": data,
        "optimizer": optimizer, "step": counters["step"], "sums": counters["sums"], "backend": args.backend,
        "cache": settings["cache"],
    }  # fmt: skip


def located(settings):
    """The DATA argument as seen from the folder of today: paths were relative to where the run began."""
    kind, colon, path = settings["data"].rpartition(":")
    if settings["data"] == "builtin":
        return "builtin"
    return kind + colon + os.path.join(settings["folder"], path)


def new_optimizer(model, config):
    """Adam or AdamW; AdamW decays matrices alone, AST's Adam every weight."""
    decay = None
    if config.optimizer == "adamw":
        decay = model.xp.zeros_like(model.w.flat)
        for name, view in model.layout(decay).items():
            if view.ndim == 2 and name != "pos_embed":
                view[...] = 1
    return optim.Adam(
        model.w.flat, config.betas, weight_decay=config.weight_decay, decoupled=config.optimizer == "adamw", decay=decay
    )


def fitting_frames(lengths):
    """Long enough for 95 % of the clips, 32 to 1024 frames."""
    return int(np.clip(np.percentile(lengths, 95), 32, 1024))


def better(history, measure):
    """Is the last epoch the best? Equal measures are told apart by the held-out loss."""
    key = [(row[measure], -row["valid_loss"]) for row in history]
    return all(key[-1] > other for other in key[:-1])


def save_last(out, model, info, optimizer, settings, step, sums):
    run.save_last(out, model, info, optimizer, settings, {"step": step, "sums": list(sums)})


def model_name(settings):
    return f"{settings['preset']}, seed {settings['train']['seed']}"


class Held:
    """What `scoring.clip_scores` needs to know, while there is no checkpoint yet."""

    def __init__(self, features, loss):
        self.features, self.loss = features, loss


def parser():
    p = cli.Parser("train", __doc__)
    p.add_argument(
        "data", nargs="?", metavar="DATA", help="builtin (default), a folder, a .csv, fsdd:PATH, esc10:PATH, esc50:PATH"
    )
    p.add_argument("--out", metavar="DIR", help="output folder (default: runs/<data>-<preset>)")
    p.add_argument("--resume", metavar="DIR", help="go on with the run in DIR")
    cli.add_backend(p)
    p.add_argument("--seed", type=int, help="of weights, order, augmentation and split (default 0)")
    p.add_argument("--fold", type=int, help="test fold of esc10 and esc50 (default 1)")
    p.add_argument("--no-cache", action="store_true", help="do not keep features on disk for next time")
    g = p.add_argument_group("model")
    g.add_argument("--preset", choices=PRESETS, help="nano 1.4 M, tiny 5.6 M, small 22 M, base 87 M weights")
    g.add_argument("--fstride", type=int, help="patch stride in mel bins (default 10)")
    g.add_argument("--tstride", type=int, help="patch stride in frames (default 10)")
    g.add_argument(
        "--prefix-tokens", type=int, choices=(1, 2), help="1: [CLS]; 2: with a distillation token (default 1)"
    )
    g.add_argument("--depth", type=int, help="encoder blocks (default 12)")
    g = p.add_argument_group("features")
    g.add_argument("--rate", type=int, help="sample rate in Hz that audio is brought to")
    g.add_argument(
        "--frames", type=int, help="length of the model's input, 100 a second (default: fits 95 %% of the clips)"
    )
    g.add_argument("--mel-bins", type=int, help="default 128")
    g.add_argument("--window", choices=("hamming", "hann"), help="default hamming")
    g.add_argument("--mean", type=float, help="of the log-mels (default: measured on the training clips)")
    g.add_argument("--std", type=float, help="likewise")
    g = p.add_argument_group("training (defaults depend on the data: see minast/recipes.py)")
    g.add_argument("--epochs", type=int)
    g.add_argument("--batch", type=int, help="clips a step (default 16)")
    g.add_argument("--lr", type=float, help="highest learning rate")
    g.add_argument("--optimizer", choices=("adamw", "adam"), help="adam: with coupled weight decay, as AST")
    g.add_argument("--weight-decay", type=float)
    g.add_argument("--clip", type=float, help="largest length of the gradient, 0 for any (default 1)")
    g.add_argument("--schedule", choices=("cosine", "milestones"), help="milestones: AST's")
    g.add_argument("--warmup", type=int, help="steps")
    g.add_argument("--loss", choices=("ce", "bce"), help="default: ce; bce where clips have several labels")
    g.add_argument("--mixup", type=float, help="share of clips mixed with another")
    g.add_argument("--freq-mask", type=int, help="widest mask in mel bins")
    g.add_argument("--time-mask", type=int, help="widest mask in frames")
    g.add_argument("--noise", action="store_true", default=None, help="AST's uniform noise")
    g.add_argument("--roll", type=int, help="largest shift in time, in frames")
    g.add_argument("--gain", type=float, help="largest change of level, in nats of power (2.3 is 10 dB)")
    g.add_argument("--augment-from", type=int, metavar="EPOCH", help="first epoch, from 0, that is augmented")
    return p


if __name__ == "__main__":
    cli.run(main)
