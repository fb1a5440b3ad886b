"""What is in a data set, and what is wrong with it?

  python -m minast.data check my_sounds/
  python -m minast.data check clips.csv --json

check reads every file. It prints how the folder or table was understood: the clips of each class and split, and what is
skipped and why. Then come rates, channels and lengths, files that cannot be read, labels that look alike, classes with
few clips, and clips that hold the same sound: copies, also at another gain, in another format or cut elsewhere. What
endangers a result, such as the same sound or the same speaker on both sides of the split, is said last. What was found
in a file is kept in the cache: a second check takes seconds. The exit status is 0 if train would take the data as they
are, else 2.
"""

from . import cli
from .console.arguments import FOLDS, SEEDS, whole
from .datasets import check, open_dataset

VERBS = {"check": "read every file, and say what was understood and what looks wrong"}


def main(argv: list[str] | None = None) -> int:
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    data = open_dataset(args.data, args.seed, args.fold, training=False, skip_bad=True, alike=not args.no_sound)
    report = check.check(data, sound=not args.no_sound)
    if args.json:
        cli.print_json(report.as_json())
    else:
        print("\n".join(report.lines()))
    return 2 if report.refused else 0


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser("data", __doc__)
    p.add_argument(
        "verb", metavar="check", choices=tuple(VERBS), help="; ".join(f"{verb}: {text}" for verb, text in VERBS.items())
    )
    cli.add_data(p)
    p.add_argument(
        "--seed",
        type=whole(0, SEEDS),
        metavar="N",
        default=0,
        help="seed of the split, if the data have none (default: 0)",
    )
    p.add_argument("--fold", type=whole(1, FOLDS), metavar="N", help=f"{cli.FOLD} (default: the first)")
    p.add_argument(
        "--no-sound", action="store_true", help="do not look for the same sound in different files, the slowest part"
    )
    p.add_argument("--json", action="store_true", help="print one JSON object")
    cli.add_threads(p)
    return p


if __name__ == "__main__":
    cli.run(main)
