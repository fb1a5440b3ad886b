"""A CSV file with the columns file, labels and, optionally, split or fold, and group. Several labels are written a;b.

If some clip has several labels, clips without any are allowed: their row has empty labels and is 0 for every class.
`background` is a class like any other, since nobody can tell from outside whether it is meant to be recognised.
"""

import os
from collections.abc import Sequence

from ..errors import Error
from ..text import counted, visible
from . import labels as names
from . import table
from .common import Bad, Clip, Dataset, named, quoted
from .splits import fold_of, split_of

NOTHING = ("background", "none", "nothing")  # labels that may mean that there is none


def read(path: str, seed: int = 0) -> Dataset:
    """The clips of a manifest; multi-label if a row has several labels. Files are relative to the manifest's folder."""
    finder = table.Finder(os.path.dirname(os.path.abspath(path)))
    return from_tables(str(path), [(table.read(path), "")], finder)


def from_tables(name: str, tables: Sequence[tuple[table.Table, str]], finder: table.Finder) -> Dataset:
    """The clips of tables, each of them a split if one is named beside it. name: of the data set."""
    clips, bad, lines, spellings, folders = [], [], {}, [], {}
    rows = [(each.path, split, row) for each, split in tables for row in each.rows]
    several = any(len(row.labels) > 1 for _, _, row in rows)
    for path, _, row in rows:
        if not row.labels and not several:
            raise Error(
                f"{table.place(path, row.line)}: the labels are empty, {visible(row.file, 80)} needs one: only where "
                "some clips have several labels, a;b, may others have none."
            )
        spellings += row.labels
        row.labels = [names.cleaned(label, f"{path}, line {row.line}") for label in row.labels]
    labels = sorted({label for _, _, row in rows for label in row.labels})
    number = {label: k for k, label in enumerate(labels)}
    for path, split, row in rows:
        full = finder(row.file)
        split, fold = _split(path, row, split), _fold(path, row)
        if full is None:
            where = table.place(path, row.line)
            wanted = visible(os.path.join(finder.base, row.file))
            sentence = f"{where}: there is no file {wanted}; files are relative to the manifest's folder."
            bad.append(Bad(row.file, tuple(row.labels), sentence))
            continue
        real = real_path(full, folders)
        if real in lines:
            where, shown = table.place(path, row.line), visible(row.file, 120)
            raise Error(f"{where}: {shown} is already in line {lines[real]}: give it one line with all its labels.")
        lines[real] = row.line
        own = tuple(sorted({number[label] for label in row.labels}))
        clips.append(Clip(full, own, split, full, fold=fold, group=row.group))
    notes = [note for each, _ in tables for note in each.notes] + names.merged(spellings)
    notes += _moved(finder)
    for kind, given in (("split", [bool(clip.split) for clip in clips]), ("fold", [c.fold is not None for c in clips])):
        if any(given) and not all(given):
            raise Error(
                f"{visible(name)}: {given.count(False)} of {len(clips)} rows have no {kind}: give all of them one, or "
                "none."
            )
    if several:
        notes += _no_class(clips, labels)
    origin = "folds given by the manifest" if any(clip.fold is not None for clip in clips) else "given by the manifest"
    return Dataset(name, labels, clips, several, origin, notes=tuple(dict.fromkeys(notes)), bad=tuple(bad))


def _no_class(clips, labels):
    """Notes on clips of none of the classes, in multi-label data"""
    notes = []
    if empty := sum(not clip.labels for clip in clips):
        notes.append(f"{counted(empty, 'clip has', 'clips have')} no label: none of the classes is to be heard there")
    for name in labels:
        if name.casefold() in NOTHING:
            notes.append(f"{quoted(name)} is learned as a class; leave the labels empty where no class is to be heard")
    return notes


def real_path(path: str, folders: dict[str, str]) -> str:
    """os.path.realpath of a file, fast for many files in few folders.   folders: those that were looked up before"""
    if os.path.islink(path):
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return os.path.join(folders[folder], name)


def _split(path, row, split):
    """The split of a row: its own, or its table's."""
    if not row.split:
        return split
    own = split_of(row.split)
    if own is None:
        where = table.place(path, row.line)
        raise Error(f"{where}: the split is {quoted(row.split, 40)}: it must be train, valid or test.")
    return own


def _fold(path, row):
    """The fold of a row: 3, "fold3"; None without one."""
    if not row.fold:
        return None
    number = row.fold if row.fold.isascii() and row.fold.isdigit() and len(row.fold) < 5 else fold_of(row.fold)
    if number is None:
        raise Error(
            f"{table.place(path, row.line)}: the fold is {quoted(row.fold, 40)}: it must be a whole number such as 1."
        )
    return int(number)


def _moved(finder):
    """A note on files that are not where the table says."""
    if not finder.elsewhere:
        return []
    written, found = finder.elsewhere[0]
    return [
        f"{len(finder.elsewhere)} files are not where the manifest says and were found by the end of their paths, such "
        f"as {named([written])} at {visible(found)}"
    ]
