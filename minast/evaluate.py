"""How good is a model on labelled clips?

  python -m minast.evaluate runs/fsdd-nano/best.npz fsdd:path/to/fsdd
  python -m minast.evaluate model.npz my_sounds/ --split all --out report

Prints accuracy (or mAP), AUC, d' and a line per class; --out also draws the confusion matrix.
"""

import json
import os

import numpy as np

from . import cli, metrics, plots, scoring
from .checkpoint import load
from .datasets import open_dataset
from .errors import Error
from .files import writable_folder
from .training.feature_cache import FeatureCache


def main(argv=None):
    p = cli.Parser("evaluate", __doc__)
    p.add_argument("checkpoint", metavar="CHECKPOINT", help=".npz of train or convert")
    p.add_argument("data", metavar="DATA", help=cli.DATA)
    p.add_argument("--split", choices=("test", "valid", "train", "all"), default="test", help="default test")
    p.add_argument("--seed", type=int, help="of the split, where the data have none (default: the model's)")
    p.add_argument("--fold", type=int, help="test fold of esc10 and esc50 (default: the model's)")
    p.add_argument("--out", metavar="DIR", help="folder for scores.csv and confusion.png")
    p.add_argument("--json", action="store_true", help="one JSON object on standard output")
    p.add_argument("--no-cache", action="store_true", help="do not keep features on disk for next time")
    cli.add_backend(p)
    args = p.parse_args(argv)
    model, info = load(args.checkpoint, args.backend)
    model.cuda_graphs = True
    data = open_as_trained(args, info)
    clips = data.clips if args.split == "all" else data.of(args.split)
    if not clips:
        raise Error(f"{data.name} has no clips in the {args.split} split.")
    targets = in_model_order(data, clips, info.labels, args.checkpoint)
    if data.multilabel and info.loss == "ce":
        raise Error(
            f"{data.name} has several labels a clip, {args.checkpoint} was trained to give exactly one (softmax)."
        )
    if args.out:
        writable_folder(args.out)
    scores = progress_scores(model, info, FeatureCache(clips, info.features, not args.no_cache))
    result = scoring.measures(scores, targets, "bce" if data.multilabel else "ce")
    report(args, data, info, clips, scores, targets, result)
    return 0


def open_as_trained(args, info):
    """The data with the seed and fold of the model's training, so that no clip that it learnt from counts as a test."""
    seed = info.notes.get("seed", 0) if args.seed is None else args.seed
    fold = args.fold
    if fold is None and args.data.startswith(("esc10:", "esc50:")):
        fold = info.notes.get("fold")
    return open_dataset(args.data, seed, fold, training=False)


def in_model_order(data, clips, labels, checkpoint):
    """Targets (n, K) with the model's classes as columns; minast.Error for a class of the data that the model lacks."""
    lacking = [name for name in data.labels if name not in labels]
    if lacking:
        raise Error(
            f"{data.name} has {len(lacking)} labels that {checkpoint} lacks, the first is {lacking[0]!r}; "
            f"the model knows {', '.join(labels[:10])}{', ...' if len(labels) > 10 else ''}."
        )
    targets = np.zeros((len(clips), len(labels)), np.float32)
    targets[:, [labels.index(name) for name in data.labels]] = data.targets(clips)
    return targets


def progress_scores(model, info, store):
    from tqdm import tqdm

    with tqdm(total=len(store), desc="scores", unit="clip", disable=None, leave=False) as bar:
        return scoring.clip_scores(model, info, store, bar=bar)


def report(args, data, info, clips, scores, targets, result):
    ap, count = metrics.average_precision(scores, targets), targets.sum(axis=0).astype(int)
    present = np.flatnonzero(count)
    rows = [{"label": info.labels[k], "clips": int(count[k]), "AP": float(ap[k])} for k in present]
    if not data.multilabel:
        truth, guess = targets.argmax(axis=1), scores.argmax(axis=1)
        for row, k in zip(rows, present, strict=True):
            row["accuracy"] = float((guess[truth == k] == k).mean())
    if args.json:
        about = {"checkpoint": args.checkpoint, "data": data.name, "split": args.split, "clips": len(clips)}
        print(json.dumps(cli.printable({**about, **result, "classes": rows}), ensure_ascii=False, indent=1))
    else:
        print(f"{data.name}, {args.split} split: {len(clips)} clips, {len(present)} classes ({data.split_from})")
        print("  ".join(f"{name} {value:.4f}" for name, value in result.items()))
        width = max(len(row["label"]) for row in rows)
        for row in rows:
            print(
                f"  {row['label']:{width}}  {row['clips']:5d} clips  "
                + (f"accuracy {row['accuracy']:6.1%}  " if "accuracy" in row else "")
                + f"AP {row['AP']:.3f}"
            )
    if args.out:
        import csv

        from .files import atomic

        with atomic(os.path.join(args.out, "scores.csv"), "w", newline="", encoding="utf-8") as f:
            table = csv.writer(f, lineterminator="\n")
            table.writerow(["file", "labels", *info.labels])
            for clip, s in zip(clips, scores, strict=True):
                table.writerow([clip.name, ";".join(data.labels[k] for k in clip.labels), *(f"{v:.6f}" for v in s)])
        plots.per_class(
            scores, targets, info.labels, "bce" if data.multilabel else "ce", os.path.join(args.out, "confusion.png")
        )


if __name__ == "__main__":
    cli.run(main)
