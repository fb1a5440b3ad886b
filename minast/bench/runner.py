"""Measuring rows one after the other, and showing each as it comes."""

import sys

from .. import threads
from ..text import counted, visible
from . import catalogue, machine, table
from .gpu.rows import facts
from .row import Row, Skip, reason


def measure(
    names: list[str], rounds: int, backend: str | None = None, json: str | None = None
) -> tuple[list[Row], dict, list[str]]:
    """Measure rows, or with no names the default ones.   -> (rows, conditions, why rows that were named are missing)

    json: a file that is written anew after every row: what was measured stays, also after Ctrl-C.
    """
    conditions, done, failed = table.conditions(threads.count()), [], []
    show_machine(conditions)
    if conditions["load"] > machine.BUSY:
        print(f"note: the load is {conditions['load']}: on a busy machine ratios flatter minast.", file=sys.stderr)
    for name in names or catalogue.default(backend):
        chosen = {"backend": backend} if name in catalogue.DEVICE else {}
        try:
            for row in catalogue.ROWS[name].run(rounds, **chosen):
                done.append(row)
                show(row)
                if json:
                    table.write_json(json, done, conditions | facts(done))
        except Skip as why:
            if names:
                failed.append(f"{name}: {why}.")
            else:
                print(f"{name}: left out: {why}", file=sys.stderr)
        except Exception as error:  # of a GPU, of a library that does not load, ours: the next row may well work
            failed.append(f"{name}: {reason(error)}")
    return done, conditions | facts(done), failed


def show_machine(conditions: dict) -> None:
    """Print on one line what is measured on, and as a note what holds it back."""
    text = f"{conditions['processor']}, {counted(conditions['threads'], 'thread')}"
    if "kernels" in conditions:
        running, best = conditions["kernels"], conditions["best kernels"]
        chosen = "its own choice here" if running == best else f"where its own choice is {best}"
        text += f"; NumPy's products by {conditions['blas']}, kernels {running}, {chosen}"
    elif "blas" in conditions:
        text += f"; NumPy's products by {conditions['blas']}"
    print(text, flush=True)
    if why := conditions.get("held"):
        print(f"note: {why}: these figures are not the machine's, and --readme is refused.", file=sys.stderr)


def show(row: Row) -> None:
    """Print a row on one line."""
    text = f"{row.name:50s} {table.number(row.ours, row.unit):>10s}"
    if row.ratio is not None:
        text += f"   {row.against} {table.number(row.theirs, row.unit)}   {row.ratio:.2f}x"
    text += (f"   goal {row.goal}" if row.goal else "") + (f"   ({row.note})" if row.note else "")
    print(visible(text, 1000), flush=True)  # of stored rows, it comes from a file
