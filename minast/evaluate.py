"""How good is a model on labelled clips?

  python -m minast.evaluate runs/fsdd-nano/best.npz fsdd:path/to/fsdd
  python -m minast.evaluate model.npz my_sounds/ --split all --out report

Prints accuracy (for data with one label per clip), mAP, AUC and d', then a line per class. Of the test and validation
splits, clips that the model was trained on are left out, also under other names: files are compared byte by byte. --out
also writes the scores of every clip and draws the confusion matrix.
"""

import os
from functools import partial

import numpy as np

from . import cli, metrics, plots, scoring
from .checkpoint import load
from .console.arguments import FOLDS, SEEDS, whole
from .datasets import content, duplicates, open_dataset, summary, understood
from .datasets.common import named, quoted
from .datasets.splits import NOW
from .errors import Error
from .storage.files import writable_folder
from .storage.tables import write_table
from .text import counted, visible
from .training.bad_files import say_notes, usable
from .training.feature_cache import FeatureCache


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    model, info = load(args.checkpoint, args.backend)
    model.cuda_graphs = True
    data = open_as_trained(args, info)
    in_model_order(data, [], info.labels, args.checkpoint)  # refuse foreign classes before any file is read
    clips, familiar = never_trained_on(data, args.split, info, args.checkpoint)
    for sentence in duplicates.leaks(data):
        cli.note(f"{sentence}.")
    if data.multilabel and info.loss == "ce":
        raise Error(
            f"{data.name} has several labels a clip, {args.checkpoint} was trained to give exactly one (softmax)."
        )
    if args.out:
        writable_folder(args.out)
    bad = []
    where = model.backend.spectrograms(info.features.rate)
    mels = FeatureCache(clips, info.features, not args.no_cache, bad=bad, spectrograms=where)
    usable(data, bad, args.skip_bad)
    if not len(mels):
        raise Error(f"{data.name}: no file of the {args.split} split can be used.")
    say_notes(mels)
    clips, targets = mels.clips, in_model_order(data, mels.clips, info.labels, args.checkpoint)
    scores = progress_scores(model, info, mels)
    loss = "bce" if data.multilabel else "ce"
    result, rows = scoring.measures(scores, targets, loss), by_class(info.labels, scores, targets, loss)
    if args.out:  # first: they are written also if nobody reads what is printed
        write_scores(os.path.join(args.out, "scores.csv"), data, info.labels, clips, scores)
        picture = os.path.join(args.out, "confusion.png")
        cli.try_to_draw(picture, partial(plots.per_class, scores, targets, info.labels, loss, picture))
    if args.json:
        about = {"checkpoint": args.checkpoint, "data": data.name, "split": args.split, "clips": len(clips)}
        about |= {"trained_on": familiar, "unreadable": len(bad)}
        cli.print_json({**about, **result, "classes": rows, "understood": summary.as_json(data)})
    else:
        counts = f"{cli.counted(len(clips), 'clip')}, {cli.counted(len(rows), 'class', 'classes')}"
        print("\n".join(understood(data)))
        print(f"{visible(data.name)}, {args.split} split: {counts} ({data.split_from})")
        show(result, rows)
    return 0


def parser():
    """The command line."""
    p = cli.Parser("evaluate", __doc__)
    p.add_argument("checkpoint", metavar="CHECKPOINT", help=cli.CHECKPOINT)
    cli.add_data(p)
    p.add_argument(
        "--split", choices=("test", "valid", "train", "all"), default="test", help="the clips to score (default: test)"
    )
    p.add_argument(
        "--seed",
        type=whole(0, SEEDS),
        metavar="N",
        help="seed of the split, if the data have none (default: the model's)",
    )
    p.add_argument("--fold", type=whole(1, FOLDS), metavar="N", help=f"{cli.FOLD} (default: the model's)")
    cli.add_skip_bad(p)
    p.add_argument("--out", metavar="DIR", help="write scores.csv and confusion.png into this folder")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    p.add_argument("--no-cache", action="store_true", help="do not cache features on disk")
    cli.add_backend(p)
    return p


def open_as_trained(args, info):
    """The data, with the seed and fold of the model's training: the same clips are held out."""
    notes = info.notes
    seed = notes.get("seed", 0) if args.seed is None else args.seed
    drawn_by = notes.get("drawn_by", "position" if "seed" in notes else NOW)  # version 0.1 drew by position
    return open_dataset(
        args.data,
        seed,
        args.fold,
        training=False,
        usual_fold=notes.get("fold"),
        drawn_by=drawn_by,
        trained_on=content.trained_before(notes),
        skip_bad=True,
        validation=notes.get("validation"),
        folds=notes.get("folds"),
        alike=notes.get("alike", ""),
    )


def never_trained_on(data, split, info, checkpoint):
    """The clips of a split without those that the model was trained on; of "train" and "all", all.

    -> clips, how many of the split the model was trained on (None if its checkpoint does not say). Clips are compared
    by content, so that renamed, added and deleted files, and copies, are recognised. Prints what was left out. Raises
    minast.Error if nothing is left.
    """
    clips = data.clips if split == "all" else data.of(split)
    if not clips:
        raise Error(f"{data.name} has no clips in the {split} split.")
    known = content.trained_on(info.notes)
    if known is None:
        trained = info.history or (info.notes.get("pretrained") and not info.notes.get("random_head"))
        if trained and any(clip.path for clip in clips):
            cli.note(f"{checkpoint} does not say which clips it was trained on: they may be among the scored ones.")
        return clips, None
    familiar = content.among(content.digests([clip.path for clip in clips]), known)
    count = int(familiar.sum())
    if split == "all" and count:
        cli.note(f"the model was trained on {count} of these {cli.counted(len(clips), 'clip')}.")
    if split in ("train", "all") or not count:
        return clips, count
    if count == len(clips):
        raise Error(f"{data.name}: the model was trained on every clip of the {split} split: there is nothing to test.")
    verb, them = ("is", "it") if count == 1 else ("are", "them")
    of = f"{count} of {cli.counted(len(clips), 'clip')} of the {split} split"
    cli.note(f"{of} {verb} left out: the model was trained on {them}.")
    return [clip for clip, own in zip(clips, familiar, strict=True) if not own], count


def in_model_order(data, clips, labels, checkpoint):
    """Targets (n, K) with a column for each class of the model; minast.Error if it lacks a class of the data."""
    lacking = [name for name in data.labels if name not in labels]
    if lacking:
        raise Error(
            f"{data.name} has {cli.counted(len(lacking), 'label')} that {checkpoint} lacks, the first is "
            f"{quoted(lacking[0], 80)}; the model knows {named(labels, 10)}."
        )
    targets = np.zeros((len(clips), len(labels)), np.float32)
    targets[:, [labels.index(name) for name in data.labels]] = data.targets(clips)
    return targets


def progress_scores(model, info, mels):
    """Scores (n, K) of all clips, with a progress bar."""
    from tqdm import tqdm

    with tqdm(total=len(mels), desc="scores", unit="clip", disable=None, leave=False) as bar:
        return scoring.clip_scores(model, info, mels, bar=bar)


def by_class(labels, scores, targets, loss):
    """A dictionary for each class that has clips: label, clips, AP and, for loss "ce", accuracy."""
    ap, count = metrics.average_precision(scores, targets), targets.sum(axis=0).astype(int)
    rows = [{"label": labels[k], "clips": int(count[k]), "AP": float(ap[k])} for k in np.flatnonzero(count)]
    if loss == "ce":
        truth, guess = targets.argmax(axis=1), scores.argmax(axis=1)
        for row, k in zip(rows, np.flatnonzero(count), strict=True):
            row["accuracy"] = float((guess[truth == k] == k).mean())
    return rows


def show(result, rows):
    """Measures in one line, then a line per class."""
    print("  ".join(f"{name} {value:.4f}" for name, value in result.items()))
    names = [visible(row["label"], 80) for row in rows]
    width = max(map(len, names))
    for name, row in zip(names, rows, strict=True):
        accuracy = f"accuracy {row['accuracy']:6.1%}  " if "accuracy" in row else ""
        print(f"  {name:{width}}  {counted(row['clips'], 'clip'):>11}  {accuracy}AP {row['AP']:.3f}")


def write_scores(path, data, labels, clips, scores):
    """A CSV file with a line per clip: its file, its labels, its score for each label of the model."""
    rows = (
        [clip.name, ";".join(data.labels[k] for k in clip.labels), *(f"{v:.6f}" for v in row)]
        for clip, row in zip(clips, scores, strict=True)
    )
    write_table(path, ["file", "labels", *labels], rows)


if __name__ == "__main__":
    cli.run(main)
