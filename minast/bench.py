"""How fast it is here, against what else there is.

  python -m minast.bench                       all rows; those against PyTorch need torch and transformers
  python -m minast.bench forward nano          some rows
  python -m minast.bench --json FILE           the same numbers for programs
  python -m minast.bench --readme README.md    write the table between the README's markers
  python -m minast.bench kernels attention backends --readme kernels/README.md
                                               on a GPU: each kernel, rung and backend, checked, then timed
  python -m minast.bench kernels --backend emulator
                                               the same at a toy size without a GPU: a check, its times mean nothing

Both sides of a row do the same job with the same weights, are checked to give the same result, and take turns in one
process; a ratio is the median over the rounds. The machine must be idle: PyTorch's threads wait for each other by
spinning and lose far more than ours when they share their cores; --threads 1 is the fair setting there.
More memory than usual is needed: a base model stands there twice.
"""

import sys

from . import cli, threads
from .benches import device, features, kernels, models, process, table

ROWS = {**models.ROWS, **features.ROWS, **process.ROWS, **kernels.ROWS}


def main(argv=None):
    p = cli.Parser("bench", __doc__)
    which = f"of {', '.join(ROWS)} (default: all but profile; with --backend: {', '.join(kernels.ROWS)})"
    p.add_argument("rows", nargs="*", metavar="ROW", help=which)
    p.add_argument("--rounds", type=int, default=7, help="timed rounds a row (default 7)")
    p.add_argument("--json", metavar="FILE", help="write the numbers to FILE")
    p.add_argument("--readme", metavar="FILE", help="write the table between the markers that are in FILE")
    cli.add_backend(p)
    args = p.parse_args(argv)
    unknown = [name for name in args.rows if name not in ROWS]
    if unknown:
        raise cli.Error(f"there is no row {unknown[0]!r}: choose from {', '.join(ROWS)}.")
    if args.rounds < 1:
        raise cli.Error(f"--rounds is {args.rounds}: it must be at least 1.")
    if args.readme:
        device.refuse(args.readme, args.backend)
    about, done = table.conditions(threads.count()), []
    if about["load"] > 0.5:  # PyTorch's threads wait for each other by spinning: a busy machine slows it much more
        print(f"note: the load is {about['load']}: on a busy machine ratios flatter minast.", file=sys.stderr)
    everything = kernels.ROWS if args.backend else [name for name in ROWS if name != "profile"]
    for name in args.rows or everything:
        chosen = {"backend": args.backend} if name in kernels.ROWS else {}
        try:
            rows = ROWS[name](args.rounds, **chosen)
        except table.Skip as reason:
            print(f"{name}: left out: {reason}", file=sys.stderr)
            continue
        done += rows
        for row in rows:
            show(row)
    about |= device.facts(done)
    if args.json:
        table.write_json(args.json, done, about)
    if args.readme and device.wants_kernels(args.readme):
        device.write_readme(args.readme, done, about)
    elif args.readme:
        plain = [row for row in done if not isinstance(row, device.DeviceRow)]
        table.write_readme(args.readme, table.markdown(plain, about))
    return 0


def show(row):
    text = f"{row.name:50s} {table.number(row.ours, row.unit):>10s}"
    if row.ratio is not None:
        text += f"   {row.against} {table.number(row.theirs, row.unit)}   {row.ratio:.2f}x"
    print(text + (f"   goal {row.goal}" if row.goal else "") + (f"   ({row.note})" if row.note else ""), flush=True)


if __name__ == "__main__":
    cli.run(main)
