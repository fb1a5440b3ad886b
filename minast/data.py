"""What is in a data set, and what is wrong with it? And: get a published one.

  python -m minast.data check my_sounds/
  python -m minast.data check clips.csv --json
  python -m minast.data get esc50 --out data/esc50

check reads every file. It prints how the folder or table was understood: the clips of each class and split, and what is
skipped and why. Then come rates, channels and lengths, files that cannot be read, labels that look alike, classes with
few clips, and clips that hold the same sound: copies, also at another gain, in another format or cut elsewhere. What
endangers a result, such as the same sound or the same speaker on both sides of the split, is said last. What was found
in a file is kept in the cache: a second check takes seconds. The exit status is 0 if train would take the data as they
are, else 2.

get downloads a data set, checks it and unpacks it. A download that was interrupted goes on where it stopped when the
same command runs again, if the server can do that.
"""

import shlex

from . import cli
from .console.arguments import FOLDS, SEEDS, whole
from .datasets import SOURCES, check, open_dataset
from .datasets.registry import titles
from .errors import Error
from .text import listed, visible

VERBS = {"check": "read every file, and say what was understood and what looks wrong"}
VERBS |= {"get": "download a published data set"}
OFFERED = listed([name for name, source in SOURCES.items() if source.download])


def main(argv: list[str] | None = None) -> int:
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    foreign = {"check": ("out",), "get": ("seed", "fold", "no_sound", "json")}[args.verb]
    for name in foreign:
        if getattr(args, name) not in (None, False):
            raise Error(f"--{name.replace('_', '-')} is not for data {args.verb}: leave it out.")
    return {"check": _check, "get": _get}[args.verb](args)


def _check(args):
    data = open_dataset(args.data, args.seed or 0, args.fold, training=False, skip_bad=True, alike=not args.no_sound)
    report = check.check(data, sound=not args.no_sound)
    if args.json:
        cli.print_json(report.as_json())
    else:
        print(cli.as_started("\n".join(report.lines())))
    return 2 if report.refused else 0


def _get(args):
    from .datasets.fetch.get import get

    folder = get(args.data, args.out)
    print(cli.as_started(f"Train with:\n  python -m minast.train {args.data}:{visible(shlex.quote(folder))}"))
    return 0


def parser() -> cli.Parser:
    """The command line."""
    p = cli.Parser("data", f"{__doc__}\nData sets that are known by name:\n{titles()}\n")
    p.add_argument(
        "verb",
        metavar="|".join(VERBS),
        choices=tuple(VERBS),
        help="; ".join(f"{verb}: {text}" for verb, text in VERBS.items()),
    )
    cli.add_data(p, f"for check: {cli.DATA}; for get: {OFFERED}")
    p.add_argument("--out", metavar="DIR", help="get: the folder for the data (default: the data set's name)")
    p.add_argument(
        "--seed",
        type=whole(0, SEEDS),
        metavar="N",
        help="check: seed of the split, if the data have none (default: 0)",
    )
    p.add_argument("--fold", type=whole(0, FOLDS), metavar="N", help=f"check: {cli.FOLD} (default: the first)")
    p.add_argument(
        "--no-sound",
        action="store_true",
        help="check: do not look for the same sound in different files, the slowest part",
    )
    p.add_argument("--json", action="store_true", help="check: print one JSON object")
    cli.add_threads(p)
    return p


if __name__ == "__main__":
    cli.run(main)
