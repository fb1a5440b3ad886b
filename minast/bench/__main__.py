"""The command line of the benchmark: rows to measure, or a table by its name."""

import sys
from argparse import Namespace

from .. import cli
from ..backend import GPU
from ..console.arguments import whole
from ..errors import Error
from ..storage.files import writable_file
from ..text import listed
from . import catalogue, outputs, runner, stored, table
from .gpu import device

HELP = """Measure minast's speed and memory, against PyTorch, ONNX Runtime and OpenVINO where they are installed.

  python -m minast.bench                       all rows that can run here, except {on_request}
  python -m minast.bench forward nano          some rows
  python -m minast.bench --json FILE           writes the numbers to FILE, for programs
  python -m minast.bench --readme README.md    writes the table into README.md
  python -m minast.bench --backend cuda --json FILE --readme kernels/README.md --ladder kernels/ladder.png
                                               on a GPU: every kernel, version and backend, and the whole model
  python -m minast.bench --from FILE --readme kernels/README.md
                                               the same table from stored numbers; measures nothing
  python -m minast.bench kernels --backend emulator
                                               a check without a GPU, at toy size; its times mean nothing
  python -m minast.bench registers --readme    a table that is counted, not timed, into kernels/README.md

rows on the processor:
{cpu}

rows on a GPU, or with --backend emulator:
{device}

tables of kernels/README.md, each a command of its own (registers --help and so on):
{tables}

other measurements, each a command of its own:
{commands}

All sides of a row do the same job with the same weights. They are checked to give the same result, then alternate in
one process; a ratio is the median over the rounds. The machine must be idle: PyTorch's threads spin while they wait,
and lose far more than ours when they share their cores; on a busy machine use --threads 1 for a fair comparison. A
row needs more memory than training alone, since the model exists once for each library.

Other sides are optional: pip install torch transformers torchaudio onnx onnxruntime openvino. What is missing, does not
load or fails is left out, with the reason. A variable such as OPENBLAS_CORETYPE makes NumPy slow and leaves others as
they are; where one is set, the run says so, and the table of README.md is not written."""


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    own = catalogue.TABLES | catalogue.COMMANDS
    if argv and argv[0] in own:
        return own[argv[0]].run(argv[1:])
    args = parse(argv)
    for path in filter(None, (args.json, args.readme, args.ladder)):
        writable_file(path)
    if args.source:
        rows, about = stored.read(args.source)
        outputs.refuse_rows(args.readme, args.ladder, rows, about)
        for row in rows:
            runner.show(row)
        if args.json:
            table.write_json(args.json, rows, about)
    else:
        refuse(args)
        rows, about, failed = runner.measure(args.rows, args.rounds, args.backend, args.json)
        if failed:  # the JSON file has what was measured; a table would lack what failed
            raise Error("; ".join(failed))
    outputs.write(args.readme, args.ladder, rows, about)
    return 0


def parser() -> cli.Parser:
    """The flags of a run."""
    p = cli.Parser("bench", help_text())
    rows = p.add_argument("rows", nargs="*", metavar="ROW", help="what to measure (default: see above)")
    rows.suggestions = (*catalogue.ROWS, *catalogue.TABLES, *catalogue.COMMANDS)  # for shell completion
    p.add_argument("--rounds", type=whole(1, 10000), metavar="N", default=7, help="timed rounds per row (default: 7)")
    p.add_argument("--json", metavar="FILE", help="write the numbers to FILE")
    p.add_argument("--from", dest="source", metavar="FILE", nargs="+", help="measure nothing: read rows from FILEs")
    p.add_argument("--readme", metavar="FILE", help="write the table between the marker lines of FILE")
    p.add_argument("--ladder", metavar="FILE", help="draw the versions of the attention kernel into FILE, a PNG")
    cli.add_backend(p)
    return p


def parse(argv: list[str]) -> Namespace:
    """The arguments of a run. Raises Error for values that are out of range or do not go together."""
    args = parser().parse_args(argv)
    for name in args.rows:
        if name in catalogue.TABLES or name in catalogue.COMMANDS:
            what = "a table" if name in catalogue.TABLES else "a command"
            raise Error(f"{name} is {what}, not a row: run python -m minast.bench {name} on its own.")
        if name not in catalogue.ROWS:
            raise Error(f"there is no row {name!r}: choose from {', '.join(catalogue.ROWS)}.")
    if args.source and (args.rows or args.backend):
        raise Error("--from takes the rows that are in the file: leave out the names of rows and --backend.")
    return args


def help_text() -> str:
    """The text above the list of flags in --help."""
    groups = {
        name: catalogue.lines(getattr(catalogue, name.upper())) for name in ("cpu", "device", "tables", "commands")
    }
    return HELP.format(on_request=listed(catalogue.ON_REQUEST, "and"), **groups)


def refuse(args: Namespace) -> None:
    """Raise Error, before anything runs, for what this run cannot do."""
    outputs.refuse_run(args.readme, args.ladder, args.rows, args.backend)
    for name in args.rows:
        if why := why_not(name, args.backend):
            raise Error(f"{name}: {why}.")
    if args.backend in GPU and (why := device.why_not("cuda")):
        raise Error(f"{why}.")


def why_not(name: str, backend: str | None) -> str:
    """ "" or why a row cannot run at all with this --backend."""
    if name == "backends":  # it runs each on its own device
        return device.why_not("cuda") if backend in GPU else ""
    if name not in catalogue.DEVICE or (name == "memory" and not backend):
        return ""
    return device.why_not(backend)


if __name__ == "__main__":
    cli.run(main)
