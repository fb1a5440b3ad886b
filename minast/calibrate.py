"""Make a model's probabilities mean what they say, and choose from which one on a label counts as given.

  python -m minast.calibrate runs/coffee-nano/best.npz coffee/labels.csv
  python -m minast.calibrate model.npz my_sounds/ --precision 0.9 --picture reliability.png

Scores the validation clips of DATA, or the test clips if the model learnt from all of the former, and finds on them a
temperature, for a softmax head, or Platt's scaling, for a sigmoid head; and a threshold for each class: that of the
best F1, or the lowest one with a wanted precision, or the highest one with a wanted recall. A class that cannot reach
the precision is never given; one without clips gets 0.5. Both are written into CHECKPOINT, whose weights stay as they
are; predict, evaluate and scan use them.
"""

import os
from functools import partial

import numpy as np

from . import cli, metrics
from .checkpoint import keep_decisions
from .console.arguments import number
from .datasets.common import named
from .decisions import FEW, Decisions, cross_calibrated, decide
from .decisions.diagram import save_reliability
from .decisions.thresholds import UNKNOWN
from .ensemble import Ensemble
from .errors import Error
from .held_out import Tested, add_labelled_data, fresh_split, open_as_trained, scored
from .storage.files import writable_file
from .text import counted, visible


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    if args.picture is not None and not args.picture.lower().endswith(".png"):
        raise Error(f"--picture is {args.picture!r}: it is the picture to write, so its name must end in .png.")
    for path in filter(None, (args.checkpoint, args.picture)):
        writable_file(path)
    before = os.stat(args.checkpoint) if os.path.isfile(args.checkpoint) else None
    ensemble = Ensemble.load([args.checkpoint], args.backend, raw=True)
    data = open_as_trained(args, ensemble)
    split = args.split or fresh_split(data, ensemble)
    tested = scored(ensemble, data, split, args)
    if split != "valid":
        cli.note(f"thresholds are chosen on the {split} clips: figures on the same clips are then too good.")
    goal = "precision" if args.precision is not None else "recall" if args.recall is not None else "F1"
    wanted = {"precision": args.precision, "recall": args.recall, "F1": None}[goal]
    where = f"{counted(len(tested.clips), 'clip')} of the {split} split of {data.name}"
    loss = ensemble.members[0].info.loss
    found = decide(tested.raw, tested.targets, loss, goal, wanted, where)
    keep_decisions(args.checkpoint, found, before)
    drawn = False
    if args.picture:
        shown = {"before": tested.raw, "after": cross_calibrated(tested.raw, tested.targets, loss)}
        drawn = cli.try_to_draw(args.picture, partial(save_reliability, args.picture, shown, tested.targets, loss))
    rows = by_class(ensemble.labels, found, tested)
    if args.json:
        cli.print_json({"checkpoint": args.checkpoint, **found.to_save(), "classes": rows})
    else:
        show(args.checkpoint, ensemble.labels, found, rows)
        if drawn:
            print(f"{visible(args.picture)}: reliability before and after")
    return 0


def parser():
    """The command line."""
    p = cli.Parser("calibrate", __doc__)
    p.add_argument("checkpoint", metavar="CHECKPOINT", help=f"{cli.CHECKPOINT}; the results are written into it")
    add_labelled_data(p)
    goals = p.add_mutually_exclusive_group()
    share = number(0, 1, above=True)
    goals.add_argument(
        "--precision", type=share, metavar="P", help="the lowest thresholds with at least this precision"
    )
    goals.add_argument("--recall", type=share, metavar="R", help="the highest thresholds with at least this recall")
    p.add_argument(
        "--split",
        choices=("valid", "test", "all"),
        help="the clips to use (default: valid if it has any that are new to the model, else test)",
    )
    p.add_argument("--picture", metavar="PNG", help="draw reliability diagrams, before and after")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    cli.add_backend(p)
    return p


def by_class(labels: list[str], found: Decisions, tested: Tested) -> list[dict]:
    """A dictionary for each class: its threshold, and what it gives on the clips that it was chosen on."""
    given = found.given(found.calibrated(tested.raw))
    rates = np.nan_to_num(metrics.precision_recall_f1(given, tested.targets))
    return [
        {
            "label": name,
            "clips": found.clips[k],
            "threshold": found.thresholds[k],
            "given": int(given[:, k].sum()),
            **dict(zip(("precision", "recall", "F1"), map(float, rates[:, k]), strict=True)),
        }
        for k, name in enumerate(labels)
    ]


def show(checkpoint: str, labels: list[str], found: Decisions, rows: list[dict]) -> None:
    """What was found, in sentences and a table."""
    if not found.calibrates:
        how = "probabilities stay as they are, since a calibration does not help on clips that it was not fitted to"
    elif found.loss == "ce":
        how = f"temperature {1 / found.slope:.3f}"
    else:
        how = f"Platt's scaling, slope {found.slope:.3f} and bias {found.bias:.3f}"
    print(f"{visible(checkpoint)}: {how}, from {visible(found.data)}")
    before, after = found.ece
    fitted = f" before, {after:.4f} after, on clips that the calibration was not fitted to" if found.calibrates else ""
    print(f"calibration error {before:.4f}{fitted}")
    wanted = "the best F1" if found.goal == "F1" else f"a {found.goal} of at least {found.wanted:g}"
    print(f"thresholds for {wanted}, with precision, recall and F1 on the same clips:")
    names = [visible(row["label"], 80) for row in rows]
    width = max(map(len, names))
    for name, row in zip(names, rows, strict=True):
        threshold = "never" if row["threshold"] is None else f"{row['threshold']:.3f}"
        rates = "" if row["threshold"] is None or not row["clips"] else "".join(
            f"  {rate} {row[rate]:.3f}" for rate in ("precision", "recall", "F1")
        )  # fmt: skip
        print(f"  {name:{width}}  {counted(row['clips'], 'clip'):>11}  {threshold:>5}{rates}")
    for sentence in [*cautions(labels, found), *cautions_of_precision(found, rows)]:
        print(visible(sentence, 1000))


def cautions(labels: list[str], found: Decisions) -> list[str]:
    """What is to be known about some thresholds, a sentence each."""

    def of(chosen):
        return named([labels[k] for k in chosen], 20)

    clips, said = np.array(found.clips), []
    if len(never := [k for k, each in enumerate(found.thresholds) if each is None]):
        said.append(f"No threshold reaches a precision of {found.wanted:g} for {of(never)}: these are never given.")
    if len(without := np.flatnonzero(clips == 0)):
        said.append(f"There is no clip of {of(without)}: the threshold is {UNKNOWN:g}.")
    if len(few := np.flatnonzero((clips > 0) & (clips < FEW))):
        said.append(f"There are fewer than {FEW} clips of {of(few)}: these thresholds may be far off.")
    return said


def cautions_of_precision(found: Decisions, rows: list[dict]) -> list[str]:
    """Precisions that rest on few clips: a label that is right on the one clip that gets it has a precision of 1."""
    few = [row["label"] for row in rows if row["clips"] >= FEW and 0 < row["given"] < FEW]
    if found.goal != "precision" or not few:
        return []
    return [f"Fewer than {FEW} clips are given {named(few, 20)}: on other clips the precision may be far lower."]


if __name__ == "__main__":
    cli.run(main)
