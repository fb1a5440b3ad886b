"""What is in these sounds?

  python -m minast.predict runs/builtin-nano/best.npz street.wav
  python -m minast.predict model.npz *.wav --top 3 --json
  python -m minast.predict model.npz street.wav --explain why.png

A file longer than the model's input is cut into segments, the last one flush with its end, and the probabilities are
the mean over them. Files may be of any length: they are read in blocks. What is wrong with a file is said, and the
others go on.
"""

import os
import sys

from . import cli
from .classifier import Classifier
from .console.arguments import MANY, whole
from .errors import Error
from .explain_plot import save_explanation
from .storage.files import writable_file
from .text import visible


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    if args.explain and len(args.files) > 1:
        raise Error(f"--explain draws one file, there are {len(args.files)}: give one FILE.")
    if args.explain:
        refuse_picture(args)
    labels = names(args.labels)
    classifier = Classifier.load(args.checkpoint, args.backend)
    classifier.numbers(labels)  # refuse unknown ones before any file is read
    if classifier.info.notes.get("random_head"):
        cli.note("the head of this model is random, not trained yet: these probabilities mean nothing.")
    results = []
    for result in predicted(classifier, args.files, args.top, labels):
        results.append(result)
        if not args.json:
            show(result)
        if args.explain:
            explain(classifier, result, args.explain)
            if not args.json:
                print(f"{visible(args.explain)}: where {visible(result['labels'][0]['label'], 120)} was heard")
    if args.json:
        cli.print_json(results)
    return 2 if len(results) < len(args.files) else 0


def parser():
    """The command line."""
    p = cli.Parser("predict", __doc__)
    p.add_argument("checkpoint", metavar="CHECKPOINT", help=cli.CHECKPOINT)
    p.add_argument("files", nargs="+", metavar="FILE", help="wav, flac, ogg, mp3")
    p.add_argument("--top", type=whole(1, MANY), default=5, metavar="K", help="number of labels per file (default: 5)")
    p.add_argument("--labels", metavar="A;B", help="choose among these labels only, separated by semicolons")
    p.add_argument("--json", action="store_true", help="print one JSON list")
    p.add_argument("--explain", metavar="PNG", help="save a picture of where the top label was heard (one FILE only)")
    cli.add_backend(p)
    return p


def refuse_picture(args):
    """minast.Error if --explain names no picture, or what must not be replaced; before anything is computed."""
    if not args.explain.lower().endswith(".png"):
        raise Error(f"--explain is {args.explain!r}: it is the picture to write, so its name must end in .png.")
    writable_file(args.explain)


def names(text):
    """The labels in "A;B"; [] without the flag."""
    if text is None:
        return []
    wanted = [name.strip() for name in text.split(";") if name.strip()]
    if not wanted:
        raise Error(f"--labels is {text!r}: it must name at least one label.")
    return wanted


def predicted(classifier, files, top, labels):
    """The results of the files that can be read, one after another; what is wrong with a file is printed."""
    from tqdm import tqdm

    quiet = True if len(files) == 1 else None  # None: only where there is a terminal
    with tqdm(files, desc="files", unit="file", disable=quiet, leave=False) as bar:
        for path in bar:
            try:
                result = classifier.predict(path, top, labels=labels)
            except Error as error:
                with tqdm.external_write_mode(sys.stderr):
                    cli.complain(error)
                continue
            with tqdm.external_write_mode():
                for note in result["notes"]:
                    cli.note(f"{path}: {note}")
                yield result


def show(result):
    """Print one file's labels, best first."""
    several = f", mean of {result['segments']} segments" if result["segments"] > 1 else ""
    print(f"{visible(result['file'])}  ({result['seconds']:.2f} s{several})")
    for row in result["labels"]:
        print(f"  {row['probability']:6.1%}  {visible(row['label'], 120)}")


def explain(classifier, result, target):
    """A picture of the likeliest label of a result."""
    best, mel = result["labels"][0], classifier.open(result["file"]).mel()
    title = f"{os.path.basename(result['file'])}: {best['label']} ({best['probability']:.1%})"
    label = classifier.labels.index(best["label"])
    save_explanation(target, classifier.model, classifier.info, mel, label, title)


if __name__ == "__main__":
    cli.run(main)
