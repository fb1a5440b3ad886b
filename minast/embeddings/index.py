"""An index: a folder of embeddings of an archive, a row a segment, memory-mapped on reading.

    index.json            what it is: format, checkpoint, block, width, hop, segment, rate, rows of each shard
    files.jsonl           {"file", "seconds", "rows"} of each recording, in order
    00000.npy, ...        embeddings (n, D) float16, at most SHARD bytes each
    00000.segments.npy    (n,) of SEGMENT: number of the recording, start and end in seconds
    skipped.csv           recordings that could not be read, and why, if there are any

It is written as a whole or not at all, and never changed.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..config import COUNT, FEATURES, MODEL, FeatureConfig
from ..errors import Error
from ..features import hop_seconds
from ..scoring import segment_times
from ..storage.files import atomic
from ..storage.schema import ListOf, Number, OneOf, Plain, Record, Text, Whole, as_json, checked
from ..storage.stored import decoding
from ..storage.tables import write_table
from ..streaming.journal import Journal
from ..streaming.remote import is_remote
from ..text import counted, visible
from ..version import __version__
from .taken import POOLS, digest_of_encoder

FORMAT = 1
ABOUT, FILES, SKIPPED = "index.json", "files.jsonl", "skipped.csv"
SHARD = 2**26  # bytes of embeddings, at most, in a file
BLOCK = 2**12  # rows that are read together
SEGMENT = np.dtype([("file", "<i4"), ("start", "<f8"), ("end", "<f8")])
BUILDING = ".building"  # behind the folder's name, until it is complete
DESCRIPTION = Record(
    {
        "format": Whole(FORMAT, FORMAT),
        "version": Text(100),
        "checkpoint": Text(2**15, plain=False),  # path
        "encoder": Text(64),  # its `digest_of_encoder`
        "block": MODEL["depth"],
        "pool": OneOf(POOLS),
        "width": MODEL["dim"],
        "features": Record(FEATURES),
        "hop": Whole(1, 2**20),  # frames
        "segment": Number(above=0),  # s
        "rate": Whole(1, 10**6),  # Hz
        "files": COUNT,
        "seconds": Number(0),  # of all recordings
        "shards": ListOf(Whole(1, 2**31), 10**6),  # rows of each
        "folder": Text(2**15, plain=False),  # what the names of the recordings are relative to
    },
    others=Plain(),
)


class Place(NamedTuple):
    """Where a row's segment is."""

    file: str  # as it was named
    start: float  # s
    end: float  # s


class Index:
    """An index that is there. Raises minast.Error, in one sentence, for what is none, is damaged or incomplete.

    about: its description, a dictionary. width: D. rows: number of segments.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        shown = visible(self.path)
        if not os.path.exists(os.path.join(self.path, ABOUT)):
            why = "it has no index.json" if os.path.isdir(self.path) else "there is no such folder"
            raise Error(f"{shown}: this is no index, {why}: python -m minast.embed CHECKPOINT PATH --out {shown}/")
        with decoding(f"{shown}: {ABOUT} cannot be read"), open(self._file(ABOUT), encoding="utf-8") as f:
            about = json.load(f)
        if isinstance(about, dict) and about.get("format") not in (FORMAT, None):
            raise Error(
                f"{shown}: this index has format {as_json(about['format'])}, this version of minast reads {FORMAT}: "
                "update minast, or make the index again."
            )
        try:
            self.about = checked(DESCRIPTION, about, "", as_json)
        except Error as error:
            raise Error(f"{shown}: {ABOUT} is damaged: {error}") from None
        self.features, self.width = FeatureConfig(**self.about["features"]), self.about["width"]
        self.starts = np.cumsum([0, *self.about["shards"]])
        self.rows = int(self.starts[-1])
        if not self.rows:
            raise Error(f"{shown}: {ABOUT} is damaged: it names no shards.")
        for i in range(len(self.about["shards"])):
            self.embeddings(i), self.segments(i)  # that all are there and whole

    def _file(self, name):
        return os.path.join(self.path, name)

    def embeddings(self, shard: int) -> np.ndarray:
        """Those of a shard, memory-mapped.   -> (n, D) float16"""
        return self._mapped(f"{shard:05}.npy", (self.about["shards"][shard], self.width), np.dtype("<f2"))

    def segments(self, shard: int) -> np.ndarray:
        """Where they are, memory-mapped.   -> (n,) of SEGMENT"""
        return self._mapped(f"{shard:05}.segments.npy", (self.about["shards"][shard],), SEGMENT)

    def _mapped(self, name, shape, dtype):
        path = self._file(name)
        with decoding(f"{visible(path)}: this part of the index cannot be read", "make the index again"):
            found = np.load(path, mmap_mode="r", allow_pickle=False)
            whole = found.offset + found.nbytes == os.path.getsize(path)
        if (found.shape, found.dtype) != (shape, dtype) or not whole:
            raise Error(
                f"{visible(path)}: this part of the index is {found.dtype} {found.shape}, {ABOUT} says {dtype} "
                f"{shape}: the index is damaged, make it again."
            )
        return found

    def blocks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """All rows, some at a time.   -> number of the first row, embeddings (n, D) float64, segments (n,)

        Raises minast.Error for embeddings that are not finite.
        """
        for shard, first in enumerate(self.starts[:-1]):
            rows, segments = self.embeddings(shard), self.segments(shard)
            for i in range(0, len(rows), BLOCK):
                yield int(first) + i, self._finite(rows[i : i + BLOCK], shard), segments[i : i + BLOCK]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The embeddings of some rows, by number.   rows (n,) -> (n, D) float64"""
        found = np.empty((len(rows), self.width))
        shards = np.searchsorted(self.starts, rows, "right") - 1
        for shard in np.unique(shards):
            own = shards == shard
            found[own] = self._finite(self.embeddings(shard)[rows[own] - self.starts[shard]], shard)
        return found

    def _finite(self, rows, shard):
        rows = rows.astype(np.float64)
        if not np.isfinite(rows).all():
            path = visible(self._file(f"{shard:05}.npy"))
            raise Error(f"{path}: it holds numbers that are not finite: the index is damaged, make it again.")
        return rows

    def segment_table(self) -> np.ndarray:
        """Where all rows are.   -> (rows,) of SEGMENT, in memory: 20 bytes each"""
        return np.concatenate([np.asarray(self.segments(i)) for i in range(len(self.about["shards"]))])

    def place(self, row: int) -> Place:
        """Where a row is, by its number."""
        shard = int(np.searchsorted(self.starts, row, "right")) - 1
        number, start, end = self.segments(shard)[row - self.starts[shard]]
        return Place(self.files[number], float(start), float(end))

    @cached_property
    def files(self) -> list[str]:
        """The recordings, as they were named. Raises minast.Error if the list is damaged."""
        where = f"{visible(self._file(FILES))}: the list of recordings cannot be read"
        with decoding(where, "make the index again"), open(self._file(FILES), encoding="ascii") as f:
            found = [str(json.loads(line)["file"]) for line in f]
        highest = max(int(self.segments(i)["file"].max()) for i in range(len(self.about["shards"])))
        if len(found) != self.about["files"] or highest >= len(found):
            wanted = max(self.about["files"], highest + 1)
            raise Error(
                f"{visible(self._file(FILES))}: it has {counted(len(found), 'recording')}, the index {wanted}: make it "
                "again."
            )
        return found

    def path_of(self, file: str) -> str:
        """Where a recording was when the index was made."""
        return file if is_remote(file) else os.path.join(self.about["folder"], file)

    def checkpoint(self, given: str | None = None) -> str:
        """The path of the checkpoint that the index was made with: `given`, or where it was then.

        Raises minast.Error if it is gone, or has another encoder.
        """
        path = self.about["checkpoint"] if given is None else given
        shown = visible(self.path)
        if given is None and not os.path.exists(path):
            raise Error(
                f"{shown} was made with {visible(path)}, which is not there any more: say by --checkpoint where it is."
            )
        if digest_of_encoder(path) != self.about["encoder"]:
            then = visible(self.about["checkpoint"])
            how = (
                f"it was made with {then} as it was then, which has been changed since"
                if given is None
                else (f"that was made with {then}, whose encoder was another")
            )
            raise Error(
                f"{visible(path)} does not fit the index {shown}: {how}. Embeddings of different models cannot be "
                "compared: make the index again with this one."
            )
        return path


# -- writing -------------------------------------------------------------------------------------------------------


def refuse_folder(out: str, begun: bool) -> None:
    """minast.Error if an index cannot become the folder `out`. begun: whether one that was stopped is to become it."""
    if os.path.isdir(out) and os.listdir(out) and not begun:
        kind = "has an index already" if os.path.exists(os.path.join(out, ABOUT)) else "has other files"
        raise Error(f"--out is {visible(out)}, which {kind}: give another name, or remove it.")
    if os.path.exists(out) and not os.path.isdir(out):
        raise Error(f"--out is {visible(out)}, which is a file: an index is a folder.")


def write(out: str, journal: Journal, about: dict, skipped: list[tuple[str, str]]) -> dict:
    """Make the index of all that a journal has.   -> its description, complete

    about: "checkpoint", "encoder", "block", "pool", "width", "features", "hop", "folder". skipped: recordings, and why.
    """
    out = out.rstrip("/" + os.sep)
    building, features = out + BUILDING, about["features"]
    try:
        shutil.rmtree(building, ignore_errors=True)
        os.mkdir(building)
        rows, files, seconds = 0, 0, 0.0
        with atomic(os.path.join(building, FILES), "w", encoding="ascii", newline="\n") as f:
            for name, result in journal:
                if "error" not in result:
                    row = {"file": name, "seconds": round(result["seconds"], 3), "rows": result["rows"]}
                    f.write(json.dumps(row) + "\n")
                    rows, files, seconds = rows + result["rows"], files + 1, seconds + result["seconds"]
        most = max(1, SHARD // (2 * about["width"]))
        shards = [min(most, rows - i) for i in range(0, rows, most)]
        _write_all(building, "{:05}.npy", shards, np.dtype("<f2"), (about["width"],), _embeddings(journal))
        _write_all(building, "{:05}.segments.npy", shards, SEGMENT, (), _places(journal, features, about["hop"]))
        step = hop_seconds(features.rate)
        known = {
            **about,
            "format": FORMAT,
            "version": __version__,
            "features": asdict(features),
            "segment": features.frames * step,
            "rate": features.rate,
            "files": files,
            "seconds": round(seconds, 3),
            "shards": shards,
        }
        if skipped:
            write_table(os.path.join(building, SKIPPED), ("file", "reason"), skipped)
        with atomic(os.path.join(building, ABOUT), "w", encoding="utf-8") as f:
            json.dump(checked(DESCRIPTION, known, "index"), f, indent=1)
        if os.path.isdir(out):  # empty, or of a session that was killed before its journal went
            shutil.rmtree(out)
        os.replace(building, out)
    except OSError as error:
        raise Error(f"{visible(out)} cannot be written: {error.strerror or error}.") from None
    return known


def _embeddings(journal):
    for _, result in journal:
        if "error" not in result:
            yield from journal.bytes_of(result)


def _places(journal, features, hop):
    number = 0
    for _, result in journal:
        if "error" not in result:
            starts, ends = segment_times(result["seconds"], features, hop)
            found = np.empty(result["rows"], SEGMENT)
            found["file"], found["start"], found["end"] = number, starts, ends
            number += 1
            yield found.tobytes()


def _write_all(folder, name, shards, dtype, width, pieces):
    """Bytes, in pieces of any length, into .npy files of so many rows."""
    waiting = memoryview(b"")
    for i, rows in enumerate(shards):
        with atomic(os.path.join(folder, name.format(i))) as f:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, *width)}
            np.lib.format.write_array_header_1_0(f, header)
            left = rows * dtype.itemsize * (width[0] if width else 1)
            while left:
                if not len(waiting):
                    waiting = memoryview(next(pieces))
                f.write(waiting[:left])
                taken = min(left, len(waiting))
                waiting, left = waiting[taken:], left - taken
