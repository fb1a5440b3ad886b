"""AudioSet (Gemmeke et al. 2017): the published tables of segments, and whichever of their clips are on disk.

| DATA | trained on |
| --- | --- |
| audioset-balanced:PATH | balanced_train_segments.csv (22,160 segments) |
| audioset-unbalanced:PATH | unbalanced_train_segments.csv (2,041,789) |
| audioset-full:PATH | both of them, as in the AST paper |
| audioset:PATH | those of the two that are there |

The test set is eval_segments.csv (20,371). Classes are those of class_labels_indices.csv, in its order, or, without it,
those of ontology.json that the tables use. The tables lie anywhere below PATH, and so do the clips: any format that
minast reads, in any folders, called YTID, YYTID (as PANNs' scripts do), YTID_START or YTID_START_END, with START in
seconds or milliseconds. Most copies of AudioSet lack some clips: these are counted and left out.
"""

import os
from array import array
from functools import partial

import numpy as np

from ..errors import Error
from ..text import counted, visible
from .audioset_files import Files, find
from .audioset_tables import BALANCED, CLASSES, EVAL, ID, TABLES, UNBALANCED, Segments, classes, read_segments
from .clips import CODES, Clips, Columns
from .common import Dataset, Skipped, named
from .ragged import Ragged, Texts, starts_of
from .registry import Source, register

NEAR = 1.0  # seconds: a file's name may give its start without the fraction


def read(kind: str, path: str, seed: int = 0) -> Dataset:
    """AudioSet in a folder.   kind: "audioset", or "audioset-balanced", "-unbalanced", "-full"

    Raises minast.Error for tables that are missing or are not what was published, and where no clip is there at all.
    """
    files = find(path, TABLES)
    wanted = {
        "audioset": [name for name in (BALANCED, UNBALANCED) if name in files.tables],
        "audioset-balanced": [BALANCED],
        "audioset-unbalanced": [UNBALANCED],
        "audioset-full": [BALANCED, UNBALANCED],
    }[kind] or [BALANCED]
    for name in (*wanted, EVAL):
        if name not in files.tables:
            raise Error(f"{visible(path)}: {kind} needs {name}, as it was published, in this folder or below it.")
    mids, labels, notes = classes(path, files.tables)
    number, segments = {mid: k for k, mid in enumerate(mids)}, Segments()
    for name in (*wanted, EVAL):
        read_segments(files.tables[name], "test" if name == EVAL else "train", number, segments)
    if CLASSES not in files.tables:
        labels = only_used(labels, segments)
    file, row, elsewhere = match(segments, files)
    if not len(file):
        raise Error(
            f"{visible(path)}: no audio file here is one of the {len(segments.splits)} segments: they must be called "
            "like --PJHxphWEs.wav, Y--PJHxphWEs.flac or --PJHxphWEs_30.000.wav."
        )
    if segments.unknown:
        left_out = counted(sum(segments.unknown.values()), "label is", "labels are")
        notes.append(f"{left_out} left out, which the list of classes lacks: {named([*segments.unknown])}")
    return Dataset(
        f"{kind}:{path}",
        labels,
        clips(segments, files, file, row),
        multilabel=True,
        kind="audioset",
        split_from=f"official: {' and '.join(wanted)} against {EVAL}",
        notes=tuple(notes),
        skipped=skipped(segments, files, row, elsewhere),
    )


def only_used(labels: list[str], segments: Segments) -> list[str]:
    """Renumber the classes so that those without a segment are gone: the ontology has more than the tables use."""
    old = np.array(segments.labels)
    used = np.unique(old)
    segments.labels = array("i", np.searchsorted(used, old).tolist())
    return [labels[k] for k in used]


def match(segments: Segments, files: Files) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which file is which segment.

    By id; where the file's name has a start, it must be the segment's. Of several files of a segment, the first.
    -> (n,) places of files, (n,) of their segments, in the order of these; (k,) places of files that begin elsewhere in
    the video than its segments do
    """
    table, ids = (np.frombuffer(bytes(each.ids), f"S{ID}") for each in (segments, files))
    order = np.argsort(table, kind="stable")
    table = table[order]
    first = np.searchsorted(table, ids)
    starts, given = np.array(segments.starts)[order], np.array(files.starts)
    row, known = np.full(len(ids), -1), np.zeros(len(ids), bool)
    for step in range(most_alike(table)):  # once, unless a video has several segments
        at = np.minimum(first + step, len(table) - 1)
        same = (first + step < len(table)) & (table[at] == ids)
        milliseconds = (given >= 1000) & (np.abs(given / 1000 - starts[at]) < NEAR)
        fits = np.isnan(given) | (np.abs(given - starts[at]) < NEAR) | milliseconds
        row = np.where((row < 0) & same & fits, order[at], row)
        known |= same
    file = np.flatnonzero(row >= 0)
    _, once = np.unique(row[file], return_index=True)  # sorted by segment, the first file of each
    return file[once], row[file[once]], np.flatnonzero(known & (row < 0))


def most_alike(values: np.ndarray) -> int:
    """How often the most frequent of sorted values comes."""
    edges = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1], [True]])) if len(values) else [0]
    return int(np.diff(edges).max(initial=0))


def clips(segments: Segments, files: Files, file: np.ndarray, row: np.ndarray) -> Clips:
    """The segments that have a file and a class."""
    labels = Ragged(starts_of(np.array(segments.lengths)), np.array(segments.labels, np.int16))
    file, row = file[labels.lengths[row] > 0], row[labels.lengths[row] > 0]
    segment = np.zeros(len(files.names), int)  # of each file; any for those that are not used
    segment[file] = row
    splits = np.array(segments.splits)[segment]
    columns = Columns(labels.take(segment), splits, files.folders, np.array(files.folder), files.names)
    return Clips(columns, file.astype(np.int32))


def skipped(segments: Segments, files: Files, row: np.ndarray, elsewhere: np.ndarray) -> tuple[Skipped, ...]:
    """What is left out, and why."""
    missing = np.ones(len(segments.splits), bool)
    missing[row] = False
    ids, splits = np.frombuffer(bytes(segments.ids), f"S{ID}"), np.array(segments.splits)
    kinds = []
    for split in ("train", "test"):
        lost = ids[missing & (splits == CODES[split])]
        kinds.append(Skipped(f"{split} segments whose clips are not here", Texts(each.decode() for each in lost)))
    begin = Texts(files.names[i] for i in elsewhere)
    kinds.append(Skipped("files that begin elsewhere in the video than its segment", begin))
    kinds.append(Skipped("audio files that are not called like a segment", files.other))
    kinds.append(Skipped("files that need conversion", files.convertible, "`pip install av` lets minast read them."))
    return tuple(each for each in kinds if len(each.paths))


def _recognise(path: str) -> bool:
    return any(os.path.isfile(os.path.join(path, name)) for name in (BALANCED, UNBALANCED))


for _kind, _title in (
    ("audioset", "AudioSet, 527 classes: whichever training tables are there"),
    ("audioset-balanced", "AudioSet, balanced: 22,160 clips"),
    ("audioset-unbalanced", "AudioSet, unbalanced: 2,041,789 clips"),
    ("audioset-full", "AudioSet, both"),
):
    register(Source(_kind, _title, partial(read, _kind), recognise=_recognise if _kind == "audioset" else None))
