"""What is in these sounds?

  python -m minast.predict runs/builtin-nano/best.npz street.wav
  python -m minast.predict model.npz recordings/ --top 3 --csv labels.csv
  python -m minast.predict seed0.npz seed1.npz seed2.npz *.wav --json
  python -m minast.predict model.npz street.wav --explain why.png

PATH is an audio file, a folder, a pattern such as 'a/**/*.wav', or "-" for a list on standard input. A file longer than
the model's input is cut into segments, the last one flush with its end, and the probabilities are the mean over them;
--json also has those of each segment, with its times. Files may be of any length: they are read in blocks. What is
wrong with a file is said, and the others go on.

Several checkpoints are an ensemble: the mean of their probabilities. Where `calibrate` has put a calibration and
thresholds into the checkpoint, probabilities are calibrated and labels at or above their thresholds are marked +.

Results come as soon as they are there, and an interrupted batch keeps them: --csv is written file by file, with a row
for each label, and holds what is done up to its last complete line even if the process is killed.
"""

import os
import sys
from collections import Counter
from contextlib import nullcontext

from . import cli
from .classifier import Classifier
from .console.arguments import MANY, whole
from .console.say import JsonList
from .ensemble import caveats, load_predictor
from .errors import Error
from .explain_plot import save_explanation
from .storage.files import writable_file
from .storage.tables import growing_table
from .streaming.inputs import recordings
from .streaming.remote import local
from .text import counted, visible

COLUMNS = ("file", "seconds", "label", "probability", "threshold")
EXPLAINED = 4  # labels in a picture, unless more are asked for by name


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    checkpoints, files = split_arguments(args.checkpoint, args.files)
    refuse(args, checkpoints)
    labels = names(args.labels)
    failed = []

    def complain(error):
        cli.complain(error)
        failed.append(error)

    files = [path for path, _ in recordings(files, complain)]
    if args.explain and len(files) > 1:
        raise Error(f"--explain draws one file, there are {len(files)}: name one.")
    predictor = load_predictor(checkpoints, args.backend, args.raw)
    predictor.numbers(labels)  # refuse unknown ones before any file is read
    for sentence in caveats(predictor):
        cli.note(sentence)
    options = {"top": args.top, "labels": labels, "per_segment": args.json or bool(args.explain)}
    done = 0
    with (
        growing_table(args.csv, COLUMNS) if args.csv else nullcontext() as table,
        JsonList() if args.json else nullcontext() as output,
    ):
        for result in predicted(predictor, files, options):
            done += 1
            if args.explain:
                try:
                    result["explained"] = explain(predictor, result, labels, args.explain)
                except Error as error:  # what was heard is said all the same
                    complain(error)
            if table:
                table.add(rows(result))
            if output:
                output.add(result)
            else:
                show(result)
    if args.csv and not args.json:
        print(f"{visible(args.csv)}: {counted(done, 'file')}")
    return 2 if failed or done < len(files) else 0


def parser():
    """The command line."""
    p = cli.Parser("predict", __doc__)
    p.add_argument("checkpoint", metavar="CHECKPOINT", help=f"{cli.CHECKPOINT}; of several, an ensemble")
    p.add_argument("files", nargs="+", metavar="PATH", help="audio files (wav, flac, ogg, mp3), folders, patterns, -")
    p.add_argument("--top", type=whole(1, MANY), default=5, metavar="K", help="number of labels per file (default: 5)")
    p.add_argument("--labels", metavar="A;B", help="choose among these labels only, separated by semicolons")
    p.add_argument("--csv", metavar="OUT.csv", help="write a table, too: a row for each label of each file")
    p.add_argument("--json", action="store_true", help="print one JSON list, with the labels of each segment")
    p.add_argument("--explain", metavar="PNG", help="save a picture of where the labels were heard (one file only)")
    cli.add_raw(p)
    cli.add_backend(p)
    return p


def split_arguments(checkpoint, rest):
    """-> checkpoints, files: the arguments up to the last .npz in a row are checkpoints"""
    count = next((i for i, name in enumerate(rest) if not name.lower().endswith(".npz")), len(rest))
    if count == len(rest):
        raise Error(f"PATH is missing: {visible(rest[-1])} is a checkpoint; name the sounds after the checkpoints.")
    return [checkpoint, *rest[:count]], rest[count:]


def refuse(args, checkpoints):
    """minast.Error for outputs that cannot be, or must not be replaced; before anything is computed."""
    for flag, path, what, ending in (
        ("--explain", args.explain, "picture", ".png"),
        ("--csv", args.csv, "table", ".csv"),
    ):
        if path is not None:
            if not path.lower().endswith(ending):
                raise Error(f"{flag} is {path!r}: it is the {what} to write, so its name must end in {ending}.")
            writable_file(path)
    if args.explain and len(checkpoints) > 1:
        raise Error(f"--explain looks into one model, there are {len(checkpoints)}: give one CHECKPOINT.")


def names(text):
    """The labels in "A;B"; [] without the flag."""
    if text is None:
        return []
    wanted = [name.strip() for name in text.split(";") if name.strip()]
    if not wanted:
        raise Error(f"--labels is {text!r}: it must name at least one label.")
    return wanted


def predicted(predictor, files, options):
    """The results of the files that can be read, one after another; what is wrong with a file is printed."""
    from tqdm import tqdm

    quiet = True if len(files) == 1 else None  # None: only where there is a terminal
    with tqdm(files, desc="files", unit="file", disable=quiet, leave=False) as bar:
        for path in bar:
            try:
                with local(path) as here:
                    result = {**predictor.predict(here, **options), "file": path}
            except Error as error:
                with tqdm.external_write_mode(sys.stderr):
                    cli.complain(error)
                continue
            with tqdm.external_write_mode():
                for note in result["notes"]:
                    cli.note(f"{path}: {note}")
                yield result


def rows(result):
    """A result as rows of COLUMNS."""
    for row in result["labels"]:
        threshold = row.get("threshold")
        yield (
            result["file"],
            result["seconds"],
            row["label"],
            row["probability"],
            "" if threshold is None else threshold,
        )


def show(result):
    """Print one file's labels, best first."""
    several = f", mean of {result['segments']} segments" if result["segments"] > 1 else ""
    lines = [f"{visible(result['file'])}  ({result['seconds']:.2f} s{several})"]
    for row in result["labels"]:
        mark = "+" if row.get("given") else " "
        lines.append(f"{mark} {row['probability']:6.1%}  {visible(row['label'], 120)}")
    if found := result.get("explained"):
        heard = ", ".join(visible(label, 120) for label in found["labels"])
        lines.append(
            f"{visible(found['picture'])}: where {heard} {'was' if len(found['labels']) == 1 else 'were'} heard"
        )
    print("\n".join(lines), flush=True)


def explain(classifier: Classifier, result: dict, asked: list[str], target: str) -> dict:
    """Draw where labels of a result were heard.   -> what was drawn, for the result

    asked: the labels to draw; without any, the likeliest of the whole file, and of a long one those that are the
    likeliest in most segments, up to EXPLAINED.
    """
    segments, whole_file = result["per_segment"], result["labels"]
    often = Counter(each["labels"][0]["label"] for each in segments)
    shown = list(dict.fromkeys([whole_file[0]["label"], *(name for name, _ in often.most_common())]))[:EXPLAINED]
    shown = [row["label"] for row in whole_file if row["label"] in asked] or shown
    numbers, file = classifier.numbers(shown), os.path.basename(result["file"])
    with local(result["file"]) as here:
        heard, mel = classifier.hear(here), classifier.open(here).mel()
    if len(segments) == 1:
        titles = [f"{file}: {name} ({heard.scores[k]:.1%})" for name, k in zip(shown, numbers, strict=True)]
    else:
        best = heard.segments.max(axis=0)
        titles = [
            f"{file}: {name} ({heard.scores[k]:.1%}, in a segment up to {best[k]:.1%})"
            for name, k in zip(shown, numbers, strict=True)
        ]
    over_time = None if len(segments) == 1 else (heard.starts, heard.segments)
    save_explanation(target, classifier.model, classifier.info, mel, numbers, titles, over_time)
    return {"picture": target, "labels": shown}


if __name__ == "__main__":
    cli.run(main)
