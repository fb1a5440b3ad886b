"""AudioSet's tables as they are published: segments and classes."""

import csv
import json
import os
from array import array
from dataclasses import dataclass, field
from functools import partial

from ..errors import Error
from ..text import visible
from . import labels as names
from .clips import CODES
from .table import place

BALANCED, UNBALANCED = "balanced_train_segments.csv", "unbalanced_train_segments.csv"
EVAL, CLASSES, ONTOLOGY = "eval_segments.csv", "class_labels_indices.csv", "ontology.json"
TABLES = (BALANCED, UNBALANCED, EVAL, CLASSES, ONTOLOGY)
ID = 11  # characters of a YouTube video's id: letters, digits, - and _


@dataclass
class Segments:
    """The rows of the tables, in arrays."""

    ids: bytearray = field(default_factory=bytearray)  # 11 bytes each
    starts: array = field(default_factory=partial(array, "d"))  # seconds
    splits: array = field(default_factory=partial(array, "b"))  # CODES
    labels: array = field(default_factory=partial(array, "i"))  # of all rows, one after the other
    lengths: array = field(default_factory=partial(array, "i"))  # labels of each row
    unknown: dict[str, int] = field(default_factory=dict)  # labels that the list of classes lacks: rows


def classes(path: str, tables: dict[str, str]) -> tuple[list[str], list[str], list[str]]:
    """-> ids such as /m/09x0r, names such as "Speech", notes. In the order of the table, else of the ontology."""
    source, notes = tables.get(CLASSES) or tables.get(ONTOLOGY), []
    if source is None:
        raise Error(
            f"{visible(path)}: neither {CLASSES} nor {ONTOLOGY}, which name AudioSet's classes, is here or below."
        )
    try:
        with open(source, encoding="utf-8-sig", newline="") as f:
            if source.endswith(".json"):
                found = [(each["id"], each["name"]) for each in json.load(f)]
                notes = [f"there is no {CLASSES}: the classes are in the order of {ONTOLOGY}"]
            else:
                rows = sorted(csv.DictReader(f), key=lambda row: int(row["index"]))
                found = [(row["mid"], row["display_name"]) for row in rows]
            found = [(str(mid), names.cleaned(str(name).replace(";", ","), source)) for mid, name in found]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        if isinstance(error, Error):
            raise
        raise Error(f"{visible(source)}: this is not AudioSet's list of classes ({error!r}).") from None
    given = [name for _, name in found]
    labels = [f"{name} ({mid})" if given.count(name) > 1 else name for mid, name in found]
    return [mid for mid, _ in found], labels, notes


def read_segments(path: str, split: str, number: dict[str, int], into: Segments) -> None:
    """The rows of a table: --PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"; lines with # are comments.

    number: of each class's id. Raises minast.Error, with the line, for a row that is none.
    """
    from tqdm import tqdm

    code, known = CODES[split], {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as f:
            reader = csv.reader(f, skipinitialspace=True)
            bar = tqdm(reader, desc=os.path.basename(path), unit="row", disable=None, leave=False, delay=1)
            for cells in bar:
                if not cells or cells[0].startswith("#"):
                    continue
                ytid, start, mids = _row(path, reader.line_num, cells)
                if mids not in known:  # the same few labels come again and again
                    known[mids] = _numbers(mids, number)
                own, unknown = known[mids]
                for mid in unknown:
                    into.unknown[mid] = into.unknown.get(mid, 0) + 1
                into.ids += ytid
                into.starts.append(start)
                into.splits.append(code)
                into.labels.extend(own)
                into.lengths.append(len(own))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Error(f"{visible(path)}: this table of segments cannot be read: {reason}.") from None


def _numbers(mids, number):
    """ "/m/09x0r,/t/dd00088" -> class numbers, in order, each once; the ids that are no class"""
    found = [mid.strip() for mid in mids.split(",") if mid.strip()]
    return sorted({number[mid] for mid in found if mid in number}), [mid for mid in found if mid not in number]


def _row(path, line, cells):
    """-> id, start in seconds, ids of labels as they stand"""
    try:
        ytid, start = cells[0].strip().encode("ascii"), float(cells[1])
        if len(ytid) == ID and 0 <= start < 1e9:
            return ytid, start, cells[3] if len(cells) == 4 else ",".join(cells[3:])
    except (ValueError, IndexError):
        pass
    raise Error(
        f"{place(path, line)}: this is no row of AudioSet's segments, which look like "
        '--PJHxphWEs, 30.000, 40.000, "/m/09x0r".'
    )
