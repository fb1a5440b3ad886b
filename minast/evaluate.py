"""How good is a model on labelled clips?

  python -m minast.evaluate runs/fsdd-nano/best.npz fsdd:path/to/fsdd
  python -m minast.evaluate model.npz my_sounds/ --split all --out report
  python -m minast.evaluate seed0.npz seed1.npz seed2.npz my_sounds/

Prints accuracy (for data with one label per clip), mAP, AUC, d', F1 and the calibration error, with 95 % intervals from
drawing clips, or groups of clips, with replacement; then a line per class. Means are over the classes that have clips;
the others are named. Of the test and validation splits, clips that the model was trained on are left out, also under
other names: files are compared byte by byte. Several checkpoints are an ensemble: the mean of their probabilities.

--out also writes the scores of every clip, draws the confusion matrix, or the average precision of each class for data
with several labels a clip, and a reliability diagram.
"""

import os
from functools import partial

import numpy as np

from . import cli, metrics, parallel, plots, scoring
from .datasets import duplicates, summary, understood
from .datasets.common import named, quoted
from .decisions import reliability
from .decisions.diagram import save_reliability
from .ensemble import Ensemble, caveats
from .held_out import Tested, add_labelled_data, open_as_trained, scored
from .storage.files import writable_folder
from .storage.tables import write_table
from .text import counted, visible

NAMES = {"balanced_accuracy": "balanced accuracy", "d_prime": "d'", "F1": "F1, macro", "F1_micro": "F1, micro"}
COLUMNS = ("accuracy", "precision", "recall", "F1", "AP", "ECE", "threshold")  # of a class, if it has them


def main(argv=None):
    """The command.   -> exit status"""
    with parallel.joined() as group:
        return evaluate(parser().parse_args(argv), group.rank == 0)


def evaluate(args, speaks: bool = True) -> int:
    """The command after its flags.   speaks: whether this process writes and prints; -> exit status"""
    ensemble = Ensemble.load(args.checkpoint, args.backend, args.raw)
    data = open_as_trained(args, ensemble)
    for sentence in duplicates.leaks(data):
        cli.note(f"{sentence}.")
    if args.out:
        writable_folder(args.out)
    for sentence in caveats(ensemble):
        cli.note(sentence)
    tested = scored(ensemble, data, args.split, args)
    if not speaks:
        return 0
    loss = data.scored_as
    limits = 0.5 if ensemble.decisions is None else ensemble.decisions.limits
    result = overall(tested, loss, ensemble.loss, limits)
    rows = by_class(ensemble, tested, loss, limits)
    left_out = [ensemble.labels[k] for k in np.flatnonzero(~metrics.has_clips(tested.targets))]
    if args.out:  # first: they are written also if nobody reads what is printed
        files = write_files(args.out, data, ensemble, tested, loss)
    if args.json:
        about = {"checkpoint": args.checkpoint[0] if len(args.checkpoint) == 1 else args.checkpoint, "data": data.name}
        about |= {"split": args.split, "clips": len(tested.clips), "trained_on": tested.familiar}
        about |= {"unreadable": tested.unreadable, "calibrated": ensemble.is_calibrated, "fold": data.fold}
        bins = reliability.reliability(tested.scores, tested.targets, ensemble.loss)._asdict()
        tail = {"classes": rows, "left_out": left_out, "at_chance": scoring.at_chance(result)}
        tail |= {"reliability": {name: each.tolist() for name, each in bins.items()}}
        cli.print_json({**about, **result, **tail, "understood": summary.as_json(data)})
    else:
        counts = f"{counted(len(tested.clips), 'clip')}, {counted(len(rows), 'class', 'classes')}"
        print("\n".join(understood(data)))
        print(f"{visible(data.name)}, {args.split} split: {counts} ({data.split_from})")
        show_overall(result, len(tested.clips))
        for sentence in sentences(ensemble, data, tested, result, left_out):
            print(cli.as_started(visible(sentence, 1000)))
        show_classes(rows)
        if args.out:
            print(visible(f"{args.out}: {', '.join(files)}"))
    return 0


def parser():
    """The command line."""
    p = cli.Parser("evaluate", __doc__)
    p.add_argument("checkpoint", nargs="+", metavar="CHECKPOINT", help=f"{cli.CHECKPOINT}; of several, an ensemble")
    add_labelled_data(p)
    p.add_argument(
        "--split", choices=("test", "valid", "train", "all"), default="test", help="the clips to score (default: test)"
    )
    cli.add_raw(p)
    p.add_argument("--out", metavar="DIR", help="write scores.csv and pictures of the results into this folder")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    cli.add_backend(p)
    return p


# -- what is measured ----------------------------------------------------------------------------------------------


def overall(tested: Tested, loss: str, head: str, limits: np.ndarray | float) -> dict:
    """All measures, their intervals, what these are over, and the calibration error.

    loss: how results are measured (`Dataset.scored_as`). head: what the model was trained with, which says what its
    probabilities mean.
    """
    scores, targets, groups = tested.scores, tested.targets, tested.groups
    found = metrics.measures(scores, targets, loss, limits)
    found["ECE"] = reliability.calibration_error(scores, targets, head)
    if tested.scores is not tested.raw and not np.array_equal(tested.scores, tested.raw):
        found["ECE_raw"] = reliability.calibration_error(tested.raw, targets, head)
    found["groups"] = None if groups is None else len(set(groups))
    found["intervals"] = metrics.intervals(scores, targets, loss, groups, thresholds=limits)
    return found


def by_class(ensemble: Ensemble, tested: Tested, loss: str, limits: np.ndarray | float) -> list[dict]:
    """A dictionary for each class that has clips: label, clips, `class_measures`, ECE; for "ce" recall is accuracy."""
    scores, targets = tested.scores, tested.targets
    values = metrics.class_measures(scores, targets, metrics.decided(scores, loss, limits))
    values["ECE"] = reliability.class_errors(scores, targets)
    count = values.pop("clips")
    if loss == "ce":
        values = {"accuracy": values.pop("recall"), **values}
    rows = [
        {"label": ensemble.labels[k], "clips": int(count[k]), **{name: float(each[k]) for name, each in values.items()}}
        for k in np.flatnonzero(count)
    ]
    if ensemble.decisions is not None:
        for row, k in zip(rows, np.flatnonzero(count), strict=True):
            row["threshold"] = ensemble.decisions.thresholds[k]
    return rows


# -- what is said --------------------------------------------------------------------------------------------------


def show_overall(result: dict, clips: int) -> None:
    """A line per measure, with its interval."""
    number, noun = (clips, "clip") if result["groups"] is None else (result["groups"], "group")
    of = counted(number, noun)
    print(f"{'':17}  {'':8}  {f'95 % interval over {of}' if number > 1 else f'no 95 % interval: {of} gives none'}")
    for name, (low, high) in result["intervals"].items():
        interval = "" if np.isnan(low + high) else f"{low:.4f} to {high:.4f}"
        print(f"{NAMES.get(name, name):17}  {result[name]:<8.4f}  {interval}".rstrip())
    before = f"; without calibration {result['ECE_raw']:.4f}" if "ECE_raw" in result else ""
    print(f"{'calibration error':17}  {result['ECE']:.4f}{before}")


def sentences(ensemble: Ensemble, data, tested: Tested, result: dict, left_out: list[str]) -> list[str]:
    """What is to be known about the figures, a sentence each."""
    said = []
    if left_out:
        total = len(ensemble.labels)
        count = f"{total - len(left_out)} of {total} classes"
        said.append(f"Means are over {count}; without a clip here: {named(left_out, 20)}.")
    if full := [name for name, each in zip(ensemble.labels, (tested.targets > 0.5).all(axis=0), strict=True) if each]:
        said.append(f"AUC is not defined for {', '.join(map(quoted, full))}: every clip has this label.")
    if data.multilabel:
        used = ensemble.decisions
        said.append(
            "F1 is that of a threshold of 0.5 for each class; python -m minast.calibrate finds better ones."
            if used is None
            else f"F1 is that of the checkpoint's thresholds, chosen on {used.data or 'other clips'}."
        )
    elif ensemble.decisions is not None:
        said.append(
            "Accuracy and F1 are those of the likeliest label of each clip; thresholds are for predict and scan."
        )
    if ensemble.is_calibrated and ensemble.loss == "ce":
        said.append(
            "mAP, AUC and d' are of calibrated probabilities, which order clips a little differently: see --raw."
        )
    if chance := scoring.chance(result, result["intervals"], counted(len(tested.clips), "clip")):
        said.append(chance)
    return said


def show_classes(rows: list[dict]) -> None:
    """A table with a line per class."""
    names = [visible(row["label"], 80) for row in rows]
    width = max(map(len, names), default=0)
    for name, row in zip(names, rows, strict=True):
        cells = [f"{column} {_cell(column, row[column])}" for column in COLUMNS if column in row]
        print(f"  {name:{width}}  {counted(row['clips'], 'clip'):>11}  {'  '.join(cells)}")


def _cell(column, value):
    if value is None:
        return "never"
    return f"{value:6.1%}" if column == "accuracy" else f"{value:.3f}"


# -- what is written -----------------------------------------------------------------------------------------------


def write_files(out: str, data, ensemble: Ensemble, tested: Tested, loss: str) -> list[str]:
    """scores.csv and the pictures.   -> the names of what was written"""
    scores, targets = tested.scores, tested.targets
    write_scores(os.path.join(out, "scores.csv"), data, ensemble.labels, tested.clips, scores)
    first = os.path.join(out, plots.PER_CLASS[loss])
    drawn = [cli.try_to_draw(first, partial(plots.per_class, scores, targets, ensemble.labels, loss, first))]
    second = os.path.join(out, "reliability.png")
    calibrated = not np.array_equal(scores, tested.raw)
    shown = {"as the model says": tested.raw, "calibrated": scores} if calibrated else {"probabilities": scores}
    drawn.append(cli.try_to_draw(second, partial(save_reliability, second, shown, targets, ensemble.loss)))
    pictures = [os.path.basename(path) for path, done in zip((first, second), drawn, strict=True) if done]
    return ["scores.csv", *pictures]


def write_scores(path, data, labels, clips, scores):
    """A CSV file with a line per clip: its file, its labels, its score for each label of the model."""
    rows = (
        [clip.name, ";".join(data.labels[k] for k in clip.labels), *(f"{v:.6f}" for v in row)]
        for clip, row in zip(clips, scores, strict=True)
    )
    write_table(path, ["file", "labels", *labels], rows)


if __name__ == "__main__":
    cli.run(main)
