"""Measuring rows one after the other, and showing each as it comes."""

import sys

from .. import threads
from ..errors import Error
from ..text import visible
from . import catalogue, table
from .gpu.rows import facts
from .row import Row, Skip

BUSY = 0.5  # load above which PyTorch's spinning threads slow it down much more than ours


def measure(
    names: list[str], rounds: int, backend: str | None = None, json: str | None = None
) -> tuple[list[Row], dict, list[str]]:
    """Measure rows, or with no names the default ones.   -> (rows, conditions, why rows that were named are missing)

    json: a file that is written anew after every row.
    """
    conditions, done, failed = table.conditions(threads.count()), [], []
    if conditions["load"] > BUSY:
        print(f"note: the load is {conditions['load']}: on a busy machine ratios flatter minast.", file=sys.stderr)
    for name in names or catalogue.default(backend):
        chosen = {"backend": backend} if name in catalogue.DEVICE else {}
        try:
            rows = catalogue.ROWS[name].run(rounds, **chosen)
        except Skip as reason:
            if names:
                failed.append(f"{name}: {reason}.")
            else:
                print(f"{name}: left out: {reason}", file=sys.stderr)
            continue
        except Error as error:
            failed.append(f"{name}: {error}")
            continue
        except (MemoryError, RuntimeError, OSError, ImportError) as error:  # of a GPU; of a library that does not load
            said = str(error).strip().splitlines() or [""]
            failed.append(f"{name}: {type(error).__name__}: {said[0]}")
            continue
        done += rows
        for row in rows:
            show(row)
        if json:
            table.write_json(json, done, conditions | facts(done))
    return done, conditions | facts(done), failed


def show(row: Row) -> None:
    """Print a row on one line."""
    text = f"{row.name:50s} {table.number(row.ours, row.unit):>10s}"
    if row.ratio is not None:
        text += f"   {row.against} {table.number(row.theirs, row.unit)}   {row.ratio:.2f}x"
    text += (f"   goal {row.goal}" if row.goal else "") + (f"   ({row.note})" if row.note else "")
    print(visible(text, 1000), flush=True)  # of stored rows, it comes from a file
