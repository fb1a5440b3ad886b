"""A CSV file with the columns file, labels and, optionally, split. Several labels are separated by semicolons."""

import csv
import os

from ..errors import Error
from .common import Clip, Dataset, stratified
from .folder import ALIASES


def read(path: str, seed: int) -> Dataset:
    """The clips of a manifest; multi-label if a row has several labels. Files are relative to the manifest's folder."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            reader = csv.DictReader(f)
            columns = reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
            missing = [name for name in ("file", "labels") if name not in columns]
            if missing:
                raise Error(
                    f"{path}: the manifest has no column {missing[0]!r}; its first line names "
                    f"{', '.join(map(repr, columns)) or 'nothing'}, it must name file and labels, and may name split."
                )
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Error(f"{path}: this cannot be read as a CSV manifest ({error}).") from None
    base, names, parsed, lines = os.path.dirname(os.path.abspath(path)), set(), [], {}
    for line, row in rows:
        file, labels = (row["file"] or "").strip(), [s.strip() for s in (row["labels"] or "").split(";") if s.strip()]
        where = f"{path}, line {line}"
        if None in row:
            raise Error(
                f"{where}: there are more cells than columns ({row[None][0]!r}); separate labels by semicolons."
            )
        if not file:
            raise Error(f"{where}: the column 'file' is empty.")
        if not labels:
            raise Error(f"{where}: the column 'labels' is empty, {file} needs at least one label.")
        full = os.path.join(base, file)
        if not os.path.isfile(full):
            raise Error(f"{where}: there is no file {full}; files are relative to the manifest's folder.")
        if full in lines:
            raise Error(f"{where}: {file} is already in line {lines[full]}: give it one line with all its labels.")
        lines[full] = line
        parsed.append((line, full, labels, (row.get("split") or "").strip().lower()))
        names.update(labels)
    if not parsed:
        raise Error(f"{path}: the manifest names no files.")
    labels = sorted(names)
    number = {name: k for k, name in enumerate(labels)}
    clips = []
    for line, full, own, split in parsed:
        if split and split not in ALIASES:
            raise Error(f"{path}, line {line}: the split is {split!r}: it must be train, valid or test.")
        clips.append(Clip(full, tuple(sorted({number[name] for name in own})), ALIASES.get(split, ""), path=full))
    given = [clip for clip in clips if clip.split]
    if given and len(given) < len(clips):
        raise Error(
            f"{path}: {len(clips) - len(given)} of {len(clips)} rows have no split: give all of them one, or none."
        )
    if not given and len(labels) > 1:
        clips = stratified(clips, seed)
    origin = "given by the manifest" if given else f"a fifth of each class held out, seed {seed}"
    several = any(len(clip.labels) > 1 for clip in clips)
    return Dataset(str(path), labels, clips, multilabel=several, split_from=origin)
