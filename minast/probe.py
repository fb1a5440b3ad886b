"""A classifier of your own in seconds: fitted to the embeddings of an index, saved as an ordinary checkpoint.

  python -m minast.probe index/ labels.csv --out owls.npz
  python -m minast.probe index/ labels.csv --out owls.npz --suggest 20
  python -m minast.scan owls.npz recordings/ --out events.csv

LABELS has the columns file,labels for whole files (a;b are two labels; also split, fold and group, as in a manifest),
or file,start,end,label for events, as scan and its page write them; rows with the verdict wrong are left out. Logistic
regression with softmax, or with sigmoid where a segment may have several labels; its penalty is chosen by
cross-validation. Files are held out and scored, with a 95 % interval: the table's own split, its fold --fold, or about
a fifth. The checkpoint is the encoder of the index with the new head.

--suggest N names the segments to label next, which the new classifier is not sure of and which differ from each other.
It writes them into a table beside OUT.npz, such as owls.suggested.csv, with an empty label to fill in: its rows can be
added to LABELS as they are.
"""

import os

import numpy as np

from . import cli
from .console.arguments import FOLDS, MANY, SEEDS, whole
from .datasets import content
from .datasets.splits import LEARNT, NOW
from .datasets.table import EVENTS
from .embeddings import labels, logistic, probe, suggest
from .embeddings.index import Index
from .errors import Error
from .pretrained.known_clips import trained_before
from .scoring import chance
from .storage.files import writable_file
from .storage.tables import write_table
from .text import counted, visible

MEASURES = {"accuracy": ("%", 100, 1), "mAP": ("", 1, 3), "AUC": ("", 1, 3)}  # unit, factor, digits


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    refuse(args)
    index = Index(args.index)
    source = index.checkpoint(args.checkpoint)
    if os.path.exists(args.out) and os.path.samefile(args.out, source):
        raise Error(f"--out is {visible(args.out)}, the checkpoint that the index was made with: name another file.")
    labelled = labels.onto(index, args.labels)
    loss = probe.loss_of(labelled, args.loss, visible(args.labels))
    say_labels(args, index, labelled, loss)
    digests, parts = divided(args, index, labelled)
    tested = tested_files(labelled, parts)
    say_known(source, digests, tested)
    eps = probe.head_eps(source)
    x = probe.head_input(index.take(labelled.rows), eps)
    found, strength = fitted(args, labelled, parts, x, loss)
    learnt = probe.learnt_from(labelled, digests, args.all | ~tested)
    notes = {
        "data": visible(args.labels),
        "from": f"logistic regression on {visible(index.path)}, lambda {strength:g}",
        "seed": args.seed,
        "fold": parts.number,
        "drawn_by": NOW if None in digests else LEARNT,  # files that are gone may come back, and are not known then
        "validation": 0.0,  # what was not held out for testing was learnt from
        "trained_on": content.pack(learnt),
    }
    size = probe.write(args.out, source, index, found, labelled.labels, notes)
    print(f"{visible(args.out)}: {size / 1e6:.2f} M weights, {len(labelled.labels)} classes, {loss_words(loss)}")
    if args.suggest:
        suggestions(args, index, labelled, found, eps)
    return 0


def parser():
    """The command line."""
    p = cli.Parser("probe", __doc__)
    p.add_argument("index", metavar="INDEX", help="a folder written by embed")
    p.add_argument("labels", metavar="LABELS", help="a table (CSV) of labels, of whole files or of events")
    p.add_argument("--out", required=True, metavar="OUT.npz", help="the checkpoint to write")
    text = "softmax (ce), one label each, or sigmoid (bce) (default: bce where a segment has several labels)"
    p.add_argument("--loss", choices=("ce", "bce"), help=text)
    text = "the fold of the table that is for testing (default: its first)"
    p.add_argument("--fold", type=whole(0, FOLDS), metavar="N", help=text)
    text = "draws who is held out (default: 0)"
    p.add_argument("--seed", type=whole(0, SEEDS), default=0, metavar="N", help=text)
    p.add_argument("--all", action="store_true", help="save a classifier that was fitted to the test files as well")
    text = "name the N segments that are worth labelling next"
    p.add_argument("--suggest", type=whole(1, MANY), metavar="N", help=text)
    p.add_argument("--checkpoint", metavar="CHECKPOINT", help="the index's checkpoint (default: where it was then)")
    cli.add_threads(p)
    return p


def refuse(args):
    """minast.Error for what cannot be done, before anything is computed."""
    if not args.out.endswith(".npz"):
        raise Error(f"--out is {visible(args.out)}: a checkpoint is written, so its name must end in .npz.")
    writable_file(args.out)
    if args.suggest:
        writable_file(suggested_table(args.out))


def suggested_table(out):
    """Where suggestions are written."""
    return f"{out.removesuffix('.npz')}.suggested.csv"


def say_labels(args, index, labelled, loss):
    """How the table was understood, and what of it is not used."""
    for note in labelled.notes:
        cli.note(f"{visible(args.labels)}: {note}.")
    if labelled.unknown:
        some = ", ".join(visible(name, 120) for name in labelled.unknown[:3])
        some += ", ..." if len(labelled.unknown) > 3 else ""
        files = counted(len(labelled.unknown), "file is", "files are")
        cli.note(f"{files} not in the index, and left out: {some}")
    if labelled.outside:
        cli.note(f"{counted(labelled.outside, 'event lies', 'events lie')} beyond the file's end, and are left out.")
    if labelled.empty:
        cli.note(f"{counted(labelled.empty, 'row has', 'rows have')} no label yet, and are left out.")
    files = counted(len(probe.known_files(labelled)), "file")
    print(
        f"{visible(args.labels)}: {counted(len(labelled.rows), 'labelled segment')} in {files}, of {index.rows} in the "
        f"index; {loss_words(loss)}"
    )
    numbers = zip(labelled.labels, labelled.y.sum(axis=0), strict=True)
    print("  segments of each label: " + ", ".join(f"{visible(name, 60)} {n}" for name, n in numbers))


def loss_words(loss):
    """In words."""
    return "softmax, one label each" if loss == "ce" else "sigmoid, any number of labels"


def divided(args, index, labelled):
    """-> digests of the labelled files, who is held out"""
    paths = [index.path_of(index.files[number]) for number in probe.known_files(labelled)]
    digests = content.digests(paths, "reading the labelled files")
    if absent := sum(digest is None for digest in digests):
        cli.note(
            f"{counted(absent, 'labelled file is', 'labelled files are')} not there any more: evaluate will not know "
            "that the model was trained on them."
        )
    return digests, probe.divided(labelled, digests, args.fold, args.seed)


def say_known(source, digests, tested):
    """Which held-out files the encoder was trained on.   digests, tested (files,): of the labelled files"""
    held = [digest for digest, own in zip(digests, tested, strict=True) if own]
    before = trained_before(source)
    if before is not None and (count := content.known_files(held, before).sum()):
        cli.note(
            f"{visible(source)} was trained on {count} of {counted(len(held), 'held-out file')}: the figures below are "
            "too good."
        )


def tested_files(labelled, parts):
    """Which of the labelled files are held out.   -> (files,) bool"""
    return parts.test[np.searchsorted(labelled.files, probe.known_files(labelled))]


def fitted(args, labelled, parts, x, loss):
    """Choose the penalty, fit, measure.   x (n, D) of the labelled segments -> Logistic, strength"""
    y, rest = labelled.y, ~parts.test
    strength, losses = logistic.chosen_strength(x[rest], y[rest], loss, parts.fold[rest])
    found = logistic.fit(x[rest], y[rest], loss, strength)
    folds = len(np.unique(parts.fold[rest]))
    how = f"chosen by cross-validation over files, {folds} folds" if losses else "there is nothing to choose it by"
    print(f"penalty: lambda {strength:g}, {how}")
    say_measured(parts, probe.measure(labelled, parts.test, found.probabilities(x[parts.test]), loss))
    if args.all and parts.test.any():
        found = logistic.fit(x, y, loss, strength)
        print(f"fitted again to all {counted(len(y), 'labelled segment')}: the figures are of the one before")
    return found, strength


def say_measured(parts, measured):
    """How good it is, on whom."""
    if measured is None:
        cli.note("no file could be held out for testing: how good the classifier is, is not known.")
        return
    said = []
    for name, (unit, times, digits) in MEASURES.items():
        if name in measured.values:
            value, low, high = (f"{times * x:.{digits}f}" for x in (measured.values[name], *measured.intervals[name]))
            said.append(f"{name} {value}{unit}" + (f" ({low} to {high})" if "nan" not in (low, high) else ""))
    what = counted(measured.count, f"held-out {measured.what}")
    drawn = any(np.isfinite(ends).all() for ends in measured.intervals.values())
    ending = "95 % intervals" if drawn else "without intervals, since all are of one file or group"
    print(f"{what} ({parts.words}): {', '.join(said)}, {ending}")
    if sentence := chance(measured.values, measured.intervals, what):
        print(sentence)


def suggestions(args, index, labelled, found, eps):
    """Write and print the segments to label next."""
    from tqdm import tqdm

    with tqdm(total=index.rows, desc="suggestions", unit="row", disable=None, leave=False, delay=1) as bar:
        chosen = suggest.suggested(index, found, eps, labelled.rows, args.suggest, bar.update)
    rows = []
    for each in chosen:
        file, start, end = index.place(each.row)
        guess = labelled.labels[each.label]
        rows.append((file, round(start, 3), round(end, 3), "", "", guess, round(each.probability, 4)))
    table = suggested_table(args.out)
    write_table(table, EVENTS, rows)
    for file, start, end, _, _, guess, probability in rows:
        print(f"  {start:9.2f} to {end:9.2f} s  {visible(file)}  ({visible(guess, 60)}? {100 * probability:.0f}%)")
    what, where = counted(len(rows), "segment"), visible(args.labels)
    print(f"{visible(table)}: {what} to label next: fill in the column label, and add the rows to {where}")


if __name__ == "__main__":
    cli.run(main)
