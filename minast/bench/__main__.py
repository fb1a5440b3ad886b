"""How fast it is here, against what else there is.

  python -m minast.bench                       all rows; those against PyTorch need torch and transformers
  python -m minast.bench forward nano          some rows
  python -m minast.bench --json FILE           the same numbers for programs
  python -m minast.bench --readme README.md    write the table between the README's markers
  python -m minast.bench --backend cuda --json FILE --readme kernels/README.md --ladder kernels/ladder.png
                                               on a GPU: each kernel, version and backend, and the whole model,
                                               checked, then timed; the picture is of the attention kernels
  python -m minast.bench --from FILE --readme kernels/README.md
                                               the same table, and picture, from kept numbers; measures nothing
  python -m minast.bench kernels --backend emulator
                                               the same at a toy size without a GPU: a check, its times mean nothing

Both sides of a row do the same job with the same weights, are checked to give the same result, and take turns in one
process; a ratio is the median over the rounds. The machine must be idle: PyTorch's threads wait for each other by
spinning and lose far more than ours when they share their cores; --threads 1 is the fair setting there.
More memory than usual is needed: a base model stands there twice.
"""

import sys

from .. import cli, threads
from ..backend import GPU
from . import stored, table
from .cpu import features, kept, models, process
from .gpu import device, device_rows, ladder, whole
from .kernels import launches, precision, registers, sass, timing


def memory(rounds, backend=None):
    """Of a process that trains on the CPU; of the GPU, where there is one, or with --backend."""
    if backend:
        return whole.memory(rounds, backend)
    rows = process.memory(rounds)
    try:
        return rows + whole.memory(rounds)
    except table.Skip as reason:
        print(f"memory of a GPU: left out: {reason}", file=sys.stderr)
        return rows


DEVICE = {**timing.ROWS, **whole.ROWS, "memory": memory}  # those that --backend is for
ROWS = {**models.ROWS, **features.ROWS, **process.ROWS, **kept.ROWS, **DEVICE}


TABLES = {"registers": registers, "sass": sass, "launches": launches, "precision": precision}  # commands of their own


def main(argv=None):
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv and argv[0] in TABLES:
        return TABLES[argv[0]].main(argv[1:])
    args = parse(argv)
    if args.source:
        done, about = stored.read(args.source)
        failed = []
        refuse(args, done)
        for row in done:
            show(row)
        if args.json:
            table.write_json(args.json, done, about)
    else:
        refuse(args)
        done, about, failed = measure(args)
    if failed:  # what was measured is in the JSON file; a table would lack what did not agree
        raise cli.Error("; ".join(failed))
    if args.ladder:
        ladder.write(args.ladder, done)
    if args.readme and device_rows.wants_kernels(args.readme):
        device_rows.write_readme(args.readme, done, about, args.ladder)
    elif args.readme:
        table.write_readme(args.readme, table.markdown(of_the_cpu(args.readme, done), about))
    return 0


def parser():
    p = cli.Parser("bench", __doc__)
    which = f"of {', '.join(ROWS)} (default: all but profile and kept; with --backend: {', '.join(DEVICE)})"
    p.add_argument("rows", nargs="*", metavar="ROW", help=which)
    p.add_argument("--rounds", type=int, default=7, help="timed rounds a row (default 7)")
    p.add_argument("--json", metavar="FILE", help="write the numbers to FILE")
    kept = "measure nothing: take the rows of earlier --json FILEs"
    p.add_argument("--from", dest="source", metavar="FILE", nargs="+", help=kept)
    p.add_argument("--readme", metavar="FILE", help="write the table between the markers that are in FILE")
    p.add_argument("--ladder", metavar="FILE", help="draw the attention kernels into FILE, a PNG")
    cli.add_backend(p)
    return p


def parse(argv):
    args = parser().parse_args(argv)
    unknown = [name for name in args.rows if name not in ROWS]
    if unknown:
        raise cli.Error(f"there is no row {unknown[0]!r}: choose from {', '.join(ROWS)}.")
    if args.rounds < 1:
        raise cli.Error(f"--rounds is {args.rounds}: it must be at least 1.")
    if args.source and (args.rows or args.backend):
        raise cli.Error("--from takes the rows that are in the file: name no rows and no --backend beside it.")
    return args


def refuse(args, done=None):
    """An Error, before anything runs or is written, for what this command cannot do. done: rows of --from"""
    if args.ladder:
        ladder.refuse(args.ladder, done)
    if done is not None:
        if args.readme and device_rows.wants_kernels(args.readme):
            device_rows.refuse_rows(args.readme, done)
        elif args.readme:
            of_the_cpu(args.readme, done)
        return
    if args.ladder:
        device_rows.refuse(args.ladder, args.backend, table=False)
        if args.rows and "attention" not in args.rows:
            raise cli.Error(f"{args.ladder}: the ladder is of the row attention, which is not among {args.rows}.")
    if args.readme:
        device_rows.refuse(args.readme, args.backend)
    for name in args.rows:
        if why := why_not(name, args.backend):
            raise cli.Error(f"{name}: {why}.")
    if args.backend in GPU and (why := device.why_not("cuda")):
        raise cli.Error(f"{why}.")


def why_not(name, backend):
    """ "" or why a row cannot run at all with this --backend."""
    if name == "backends":  # each has its own place
        return device.why_not("cuda") if backend in GPU else ""
    if name not in DEVICE or (name == "memory" and not backend):
        return ""
    return device.why_not(backend)


def of_the_cpu(path, rows):
    """The rows of the README's table; an Error without any."""
    plain = [row for row in rows if not isinstance(row, device_rows.DeviceRow)]
    if not plain:
        raise cli.Error(f"{path}: none of these rows belong in its table, which stays as it is.")
    return plain


def measure(args):
    """-> (rows, what they depend on, why rows that were asked for are missing). The JSON file grows with each row."""
    conditions, done, failed = table.conditions(threads.count()), [], []
    if conditions["load"] > 0.5:  # PyTorch's threads wait for each other by spinning: a busy machine slows it much more
        print(f"note: the load is {conditions['load']}: on a busy machine ratios flatter minast.", file=sys.stderr)
    everything = DEVICE if args.backend else [name for name in ROWS if name not in ("profile", "kept")]
    for name in args.rows or everything:
        chosen = {"backend": args.backend} if name in DEVICE else {}
        try:
            rows = ROWS[name](args.rounds, **chosen)
        except table.Skip as reason:
            if args.rows:
                failed.append(f"{name}: {reason}.")
            else:
                print(f"{name}: left out: {reason}", file=sys.stderr)
            continue
        except (cli.Error, MemoryError, RuntimeError) as error:  # RuntimeError: CuPy's and PyTorch's of a GPU
            failed.append(f"{name}: {error}" if isinstance(error, cli.Error) else f"{name}: {_sentence(error)}")
            continue
        done += rows
        for row in rows:
            show(row)
        if args.json:
            table.write_json(args.json, done, conditions | device_rows.facts(done))
    return done, conditions | device_rows.facts(done), failed


def _sentence(error):
    said = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {said[0]}"


def show(row):
    text = f"{row.name:50s} {table.number(row.ours, row.unit):>10s}"
    if row.ratio is not None:
        text += f"   {row.against} {table.number(row.theirs, row.unit)}   {row.ratio:.2f}x"
    print(text + (f"   goal {row.goal}" if row.goal else "") + (f"   ({row.note})" if row.note else ""), flush=True)


if __name__ == "__main__":
    cli.run(main)
