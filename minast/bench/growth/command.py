"""How cost grows: time and peak memory against clip length, batch, width, threads and clips, with expected slopes.

  python -m minast.bench growth --json growth.json     all curves: minutes, on an idle machine
  python -m minast.bench growth length width           some of them: length, batch, width, threads, clips
  python -m minast.bench growth --json growth.json --resume
                                                       what is missing after Ctrl-C
  python -m minast.bench growth --from growth.json --picture .images/growth.png --readme minast/bench/README.md
                                                       the picture and the table from stored numbers; measures nothing
  python -m minast.bench growth --rehearse             all of it at toy size; its figures mean nothing

Every point has a process of its own, so its peak memory is its own; the points of a curve take turns, round by round.
A slope is that of a line in log-log through the upper half of a curve's points, and what is expected is counted: FLOP
for time, bytes for memory, or clips.
"""

import tempfile

from ... import cli, threads
from ...console.arguments import whole
from ...console.say import note
from ...errors import Error
from ...storage.files import writable_file
from .. import machine, outputs, readme, table
from . import page, picture, plan, rounds, stored


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    refuse(args)
    found = stored.read(args.source) if args.source else measured(args)
    for fit in page.fits(found):
        if fit.verdict and not found.rehearsal:
            note(page.flagged(fit))
    if args.picture and not page.fits(found):
        raise Error(f"{args.picture}: there is nothing to draw: no curve has two points.")
    if args.source and args.json:
        stored.write(args.json, found)
    if args.picture:
        picture.draw(args.picture, found)
    if args.readme:
        page.write(args.readme, found, args.picture)
    else:
        print(page.markdown(found, args.picture))
    return 0


def parser():
    """The command line."""
    p = cli.Parser("bench growth", __doc__)
    names = ", ".join(plan.AXES)
    axes = p.add_argument("axes", nargs="*", metavar="WHAT", help=f"what grows: {names} (default: all)")
    axes.suggestions = tuple(plan.AXES)  # for shell completion
    p.add_argument("--rounds", type=whole(1, 10000), metavar="N", default=5, help="timed rounds (default: 5)")
    p.add_argument("--json", metavar="FILE", help="write the numbers to FILE, after every round")
    p.add_argument("--resume", action="store_true", help="go on with the numbers that --json's FILE has")
    p.add_argument("--from", dest="source", metavar="FILE", help="measure nothing: read the numbers from FILE")
    p.add_argument("--picture", metavar="FILE", help="draw the curves into FILE, a PNG")
    p.add_argument("--readme", metavar="FILE", help="write the table between the marker lines of FILE")
    p.add_argument("--rehearse", action="store_true", help="measure toys, to see that all of it runs")
    cli.add_threads(p)
    return p


def refuse(args) -> None:
    """Raise Error, before anything runs, for what cannot be done or does not go together."""
    for path in filter(None, (args.json, args.picture, args.readme)):
        writable_file(path)
    if args.readme:
        readme.find(args.readme, page.TABLE)
    for name in args.axes:
        if name not in plan.AXES:
            raise Error(f"nothing called {name!r} grows here: choose from {', '.join(plan.AXES)}.")
    if args.source and (args.axes or args.resume or args.rehearse):
        raise Error("--from takes what is in the file: leave out --resume, --rehearse and the names of what grows.")
    if args.resume and not args.json:
        raise Error("--resume goes on with the numbers of a file: name it with --json.")
    if args.readme:
        refuse_page(args.readme, stored.read(args.source) if args.source else None, args.rehearse)


def refuse_page(path: str, found: stored.Found | None, rehearsed: bool) -> None:
    """Raise Error for figures that do not belong on the page. found: stored ones; None: those of this run."""
    if found.rehearsal if found else rehearsed:
        raise Error(f"{path}: the figures of a rehearsal mean nothing, and are not written to the page.")
    if found:
        outputs.refuse_held(
            path, "since its rows were measured while", found.about.get("held"), "measure them again without"
        )
    else:
        outputs.refuse_held(path, "while", " and ".join(machine.held()), "unset what is named here first")


def measured(args) -> stored.Found:
    """Measure what was asked for, and keep it in the file of --json as it comes."""
    about = table.conditions(threads.count())
    if held := about.get("held"):
        note(f"{held}: these figures are not the machine's, and are not written to the page.")
    if about["load"] > machine.BUSY:
        note(f"the load is {about['load']}: on a busy machine times grow with what else runs.")
    sizes = plan.REHEARSAL if args.rehearse else plan.FULL
    found = stored.Found(about, sizes.said, rehearsal=args.rehearse)
    if args.resume:
        found = stored.read(args.json)
        stored.refuse_other(args.json, found, about, args.rehearse)
    with tempfile.TemporaryDirectory() as folder:
        save = (lambda: stored.write(args.json, found)) if args.json else (lambda: None)
        rounds.measure(plan.points(sizes, args.axes), args.rounds, found, folder, save)
    if not found.points:
        raise Error("nothing could be measured.")
    return found


if __name__ == "__main__":
    cli.run(main)
