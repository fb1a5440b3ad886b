"""What suggestions are worth: a probe that learns from suggested labels beside one that learns from random ones.

  python -m minast.bench.suggested index/ labels.csv --picture suggested.png
  python -m minast.bench.suggested index/ labels.csv --seeds 10 --begin 20 --step 10 --rounds 8 --json suggested.json

LABELS knows all answers, as python -m minast.probe takes them. For each seed about a fifth of the files is held out,
and both probes begin with the same few labelled segments, drawn at random; at each round they learn --step more labels,
one those that it suggests, the other random ones. Prints mAP on the held-out segments (the mean over classes, so that
rare ones count) at each number of labels, the mean over seeds.
"""

import json
import os

import numpy as np

from .. import cli, metrics, plots
from ..console.arguments import whole
from ..embeddings import labels, logistic, probe
from ..embeddings.index import Index
from ..embeddings.suggest import suggested
from ..storage.files import atomic, writable_file

WAYS = ("suggested", "random")


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    for path in filter(None, (args.json, args.picture)):
        writable_file(path)
    index = Index(args.index)
    labelled = labels.onto(index, args.labels)
    loss = probe.loss_of(labelled, None, args.labels)
    eps = probe.head_eps(index.checkpoint(args.checkpoint))
    runs = [curves(index, labelled, loss, eps, seed, args.begin, args.step, args.rounds) for seed in range(args.seeds)]
    found = {way: np.array([run[way] for run in runs]) for way in WAYS}
    counts = args.begin + args.step * np.arange(args.rounds + 1)
    better = found["suggested"] - found["random"]
    for i, count in enumerate(counts):
        means = ", ".join(f"{way} {found[way][:, i].mean():.3f}" for way in WAYS)
        print(f"{count:5} labels: mAP {means}; better in {(better[:, i] > 0).sum()} of {args.seeds} seeds")
    if args.json:
        rows = {way: values.round(6).tolist() for way, values in found.items()}
        with atomic(args.json, "w", encoding="utf-8") as f:
            json.dump({"index": os.fspath(args.index), "labels": counts.tolist(), "mAP": rows}, f, indent=1)
    if args.picture:
        draw(args.picture, counts, found)
    return 0


def parser():
    """The command line."""
    p = cli.Parser("bench.suggested", __doc__)
    p.add_argument("index", metavar="INDEX", help="a folder written by python -m minast.embed")
    p.add_argument("labels", metavar="LABELS", help="a table (CSV) of all labels")
    p.add_argument("--seeds", type=whole(1, 1000), default=5, metavar="N", help="repetitions (default: 5)")
    p.add_argument("--begin", type=whole(2, 10**6), default=20, metavar="N", help="labels at first (default: 20)")
    p.add_argument("--step", type=whole(1, 10**6), default=20, metavar="N", help="more labels a round (default: 20)")
    p.add_argument("--rounds", type=whole(1, 1000), default=6, metavar="N", help="rounds (default: 6)")
    p.add_argument("--json", metavar="FILE", help="write the numbers to FILE")
    p.add_argument("--picture", metavar="FILE", help="draw the curves into FILE, a PNG")
    p.add_argument("--checkpoint", metavar="CHECKPOINT", help="the index's checkpoint (default: where it was then)")
    cli.add_threads(p)
    return p


def curves(index, labelled, loss, eps, seed, begin, step, rounds):
    """mAP after each round.   -> {"suggested": [...], "random": [...]}"""
    rng = np.random.default_rng(seed)
    parts = probe.divided(labelled, [None] * len(probe.known_files(labelled)), None, seed)
    x = probe.head_input(index.take(labelled.rows), eps)
    y = labelled.y
    train = np.flatnonzero(~parts.test)
    first = rng.permutation(train)[:begin]
    found = {}
    for way in WAYS:
        known, own = first, np.random.default_rng(seed)
        values = []
        for i in range(rounds + 1):
            fitted = logistic.fit(x[known], y[known], loss, logistic.USUAL, exact=1e-4)
            values.append(metrics.mean_average_precision(fitted.probabilities(x[parts.test]), y[parts.test]))
            if i < rounds:
                left = np.setdiff1d(train, known)
                if way == "random":
                    more = own.permutation(left)[:step]
                else:
                    free = np.zeros(index.rows, bool)
                    free[labelled.rows[left]] = True
                    known_rows = labelled.rows[known]
                    chosen = suggested(index, fitted, eps, known_rows, step, free=free, seed=seed)
                    rows = [each.row for each in chosen]
                    more = np.searchsorted(labelled.rows, rows)
                known = np.concatenate([known, more])
        found[way] = values
    return found


def draw(path, counts, found):
    """The curves: the mean over seeds, and its standard error."""
    fig = plots.figure(5.2, 3.8)
    axes = fig.subplots()
    for way, values in found.items():
        mean, error = values.mean(axis=0), values.std(axis=0) / np.sqrt(max(1, len(values) - 1))
        axes.plot(counts, mean, ".-", label=way)
        axes.fill_between(counts, mean - error, mean + error, alpha=0.2)
    axes.set(xlabel="labelled segments", ylabel="mAP on held-out segments")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    plots.save_figure(fig, path)


if __name__ == "__main__":
    cli.run(main)
