"""What happens when, in recordings of any length and archives of any size.

  python -m minast.scan best.npz street.wav --out events.csv
  python -m minast.scan best.npz recordings/ --out events.csv --hop 0.5 --min-score 0.8 --segments found/
  find /archive -name '*.flac' | python -m minast.scan best.npz - --out events.csv --workers 8
  python -m minast.scan best.npz recordings/ --out events.csv --resume      # go on after a crash
  python -m minast.scan best.npz recordings/ --out events.csv --page page/  # to look at, listen to and judge

A row of the table is an event: file, start and end in seconds, label, score. Segments of the model's length are scored,
one every --hop seconds; the score of each stands for the --hop seconds around its centre; neighbours at or above the
label's threshold are one event, whose score is the highest of them (minast/streaming/README.md has the formulas).
Recordings are read in blocks, so that memory does not grow with their length. One that cannot be read costs no other:
it is listed, with the reason, in a second table, such as events.skipped.csv. A PATH that names no recording,
such as a pattern without matches, costs no other either; the exit status is then 2. Until the table is complete,
results are kept in OUT.part.
"""

import contextlib
import os

from . import cli
from .checkpoint import description, info_from, open_checkpoint
from .classifier import Classifier
from .console.arguments import MANY, number, whole
from .errors import Error
from .features import hop_seconds
from .predict import names
from .review import Page
from .storage.files import writable_file, writable_folder
from .streaming import cuts, session, tables
from .streaming.events import thresholds
from .streaming.work import Settings, digest_of
from .text import counted, visible


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    info = read_info(args.checkpoint)
    form, settings = tables.format_of(args.out, args.format), settings_of(args, info)
    refuse(args, form)
    if args.resume and os.path.exists(args.out) and not os.path.exists(session.part_of(args.out)):
        cli.note(f"{visible(args.out)} is there, and no stopped scan beside it: there is nothing to go on with.")
        return 0
    complaints = session.Complaints()
    with journal_of(args, form, info, settings, complaints) as journal:
        speed = session.work(args, settings, journal, "scan")
        return finish(args, form, info, journal, speed) or complaints.status


def parser():
    """The command line."""
    p = cli.Parser("scan", __doc__)
    p.add_argument("checkpoint", metavar="CHECKPOINT", help=cli.CHECKPOINT)
    p.add_argument("paths", nargs="+", metavar="PATH", help=session.PATHS)
    p.add_argument("--out", required=True, metavar="OUT", help="the table to write: .csv, .jsonl, .selections.txt")
    p.add_argument("--format", choices=tables.WRITERS, help="of the table (default: by its name)")
    add_events(p)
    g = p.add_argument_group("excerpts")
    g.add_argument("--segments", metavar="DIR", help="cut out what was found, a sub-folder a label, the best first")
    text = "number of excerpts per label (default: 20)"
    g.add_argument("--top", type=whole(1, MANY), default=20, metavar="K", help=text)
    g = p.add_argument_group("page")
    text = "write a page on what was found: spectrograms, sounds, keys to judge it; it gives the labels to train takes"
    g.add_argument("--page", metavar="DIR", help=text)
    text = "events of each label whose relevance the page shows, the best first (default: 50; 0 for none)"
    g.add_argument("--relevance", type=whole(0, MANY), default=50, metavar="K", help=text)
    session.add_archives(p, "a scan")
    cli.add_backend(p)
    return p


def add_events(p):
    """The flags that say what an event is, which `listen` shares."""
    g = p.add_argument_group("events")
    session.add_hop(g)
    seconds = {"type": number(0, session.DAY), "metavar": "SECONDS"}
    text = "the score from which a label counts as heard (default: the checkpoint's thresholds, else 0.5)"
    g.add_argument("--min-score", type=number(0, 1), metavar="P", help=text)
    text = "events of a label with at most this between them are one (default: 0)"
    g.add_argument("--merge", **seconds, default=0.0, help=text)
    g.add_argument("--min-duration", **seconds, default=0.0, help="leave out shorter events (default: 0)")
    g.add_argument("--labels", metavar="A;B", help="look for these labels only, separated by semicolons")


# -- before --------------------------------------------------------------------------------------------------------


def read_info(path):
    """A checkpoint's labels and features, without its weights."""
    with open_checkpoint(path) as opened:
        return info_from(opened.path, description(opened))


def settings_of(args, info):
    """What the workers need. Raises minast.Error for a --hop or --labels that do not fit the model."""
    hop = session.frames_of(args.hop, info.features)
    numbers = None if args.labels is None else Classifier(None, info, args.checkpoint).numbers(names(args.labels))
    levels = thresholds(info, args.min_score, numbers)
    if not (levels <= 1).any():
        raise Error(
            "the checkpoint has no threshold for any of these labels, so none would be heard: give --min-score."
        )
    return Settings(
        checkpoint=os.path.abspath(args.checkpoint),
        digest=digest_of(args.checkpoint),
        hop=hop,
        batch=args.batch,
        thresholds=tuple(map(float, levels)),
        merge=args.merge,
        shortest=args.min_duration,
        backend=args.backend,
    )


def refuse(args, form):
    """minast.Error for what cannot be done, before anything is read."""
    session.refuse(args)
    if form == "audacity" and not os.path.splitext(args.out)[1]:
        writable_folder(args.out)
    elif not os.path.isdir(args.out) or form != "audacity":
        writable_file(args.out)
    if os.path.exists(args.out) and not os.path.isdir(args.out) and not os.path.isfile(args.out):
        raise Error(
            f"--out is {visible(args.out)}: it must be a file, beside which results are kept until all are there."
        )
    if os.path.exists(args.out) and os.path.samefile(args.out, args.checkpoint):
        raise Error(f"--out {visible(args.out)} is the checkpoint itself: give the table another name.")
    if args.segments:
        writable_folder(args.segments)
    if args.page:
        Page(args.page)


def refuse_recordings(out, files):
    """minast.Error if the table would replace a recording."""
    own = identity(out)
    if own and any(identity(name) == own for name, _ in files):
        raise Error(f"--out {visible(out)} is one of the recordings: give the table another name.")


def identity(path):
    """What a file is by, whatever its name; None if it is not there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # the latter for a name that no file can have
        return None
    return found.st_dev, found.st_ino


def journal_of(args, form, info, settings, complaints):
    """The journal, of a new scan or of the one that was stopped; what was understood is printed."""
    step = hop_seconds(info.features.rate)
    common = {
        "CHECKPOINT": settings.digest,
        "PATH": args.paths,
        "--hop": round(settings.hop * step, 6),
        "--min-score": args.min_score,
        "--merge": args.merge,
        "--min-duration": args.min_duration,
        "--labels": args.labels,
        "--batch": args.batch,
    }

    def check(files):
        refuse_recordings(args.out, files)
        if form == "audacity" and len(files) > 1 and not os.path.isdir(args.out):
            raise Error(
                f"--out is {visible(args.out)}: Audacity has a label track for each recording, and there are "
                f"{len(files)}: name a folder, with a / at its end."
            )

    journal = session.journal_of(args, common, "a scan", complaints, check)
    if info.notes.get("random_head"):
        cli.note("the head of this model is random, not trained yet: these scores mean nothing.")
    heard = sorted({level for level in settings.thresholds if level <= 1})
    level = f"{heard[0]:g}" if len(heard) == 1 else f"{heard[0]:g} to {heard[-1]:g}, by label"
    print(
        f"{session.size_of(journal)}; segments of {info.features.frames * step:g} s, one every "
        f"{settings.hop * step:g} s; a label is heard from a score of {level}",
        flush=True,
    )
    return journal


# -- after ---------------------------------------------------------------------------------------------------------


def finish(args, form, info, journal, speed):
    """Write the tables and excerpts, and remove the journal.   -> exit status"""
    skipped = session.skipped(journal)
    table = f"{os.path.splitext(args.out.rstrip('/' + os.sep))[0]}.skipped.csv"
    session.write_skipped(table, skipped)
    session.refuse_nothing(args.out, journal, skipped)
    tables.WRITERS[form](args.out, journal, info.labels, info.features.rate)
    status = cut(args, info, journal) if args.segments else 0
    status = show(args, info, journal) or status if args.page else status
    journal.remove()
    summary(args, journal, speed)
    if skipped:
        cli.note(f"{counted(len(skipped), 'recording')} could not be read: {visible(table)} says why.")
    return status


def summary(args, journal, speed):
    """Print what was found."""
    events, seconds, with_events, labels = 0, 0.0, 0, set()
    for _, result in journal:
        rows = result.get("events", ())
        events, with_events = events + len(rows), with_events + bool(rows)
        seconds += result.get("seconds", 0.0)
        labels.update(row[2] for row in rows)
    print(
        f"{visible(args.out)}: {counted(events, 'event')} of {counted(len(labels), 'label')} in {with_events} of "
        f"{counted(len(journal.files), 'recording')}, {session.at_speed(seconds, speed)}"
    )


def show(args, info, journal):
    """Write the page.   -> exit status"""
    from tqdm import tqdm

    @contextlib.contextmanager
    def progress(items):
        with tqdm(items, desc="page", unit="file", disable=None, leave=False) as bar:
            yield bar

    try:
        bad = Page(args.page).write(
            journal, args.checkpoint, digest_of(args.checkpoint), info, args.relevance, progress
        )
    except KeyboardInterrupt:
        cli.note("the page is not complete: the same command with --resume goes on with it.")
        raise
    for sentence in bad:
        cli.complain(sentence)
    print(f"{visible(os.path.join(args.page, 'index.html'))}: open it in a browser")
    return 2 if bad else 0


def cut(args, info, journal):
    """Write the excerpts.   -> exit status"""
    from tqdm import tqdm

    if os.listdir(args.segments):
        cli.note(f"{visible(args.segments)} is not empty: what is in it stays there, beside the new excerpts.")
    status, found = 0, cuts.best(journal, info.labels, args.segments, args.top)
    for name, wanted in tqdm(found.items(), desc="excerpts", unit="file", disable=None, leave=False):
        try:
            cuts.write(name, wanted)
        except Error as error:
            cli.complain(error)
            status = 2
    print(f"{visible(args.segments)}: {counted(sum(map(len, found.values())), 'excerpt')}")
    return status


if __name__ == "__main__":
    cli.run(main)
