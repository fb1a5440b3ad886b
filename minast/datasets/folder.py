"""A folder of sounds: class folders, with or without splits or folds (`layout`), or flat files with a table."""

import os
from dataclasses import replace

from ..errors import Error
from ..text import visible
from . import labels as names
from . import manifest, table
from .common import Clip, Dataset, Skipped, named
from .layout import Layout, NoClasses, understand, within
from .splits import in_order, split_of
from .tree import TABLES, Folder, scan

BESIDE = ("labels", "metadata", "meta", "annotations", "manifest")  # names of tables that may lie beside a folder


def read(folder: str, seed: int = 0) -> Dataset:
    """The clips in a folder, with the splits or folds that its sub-folders or its table give.

    Raises minast.Error for a folder that names no classes, or whose meaning is open.
    """
    top = scan(folder)
    try:
        layout = understand(top)
    except NoClasses as error:
        found, damaged = from_table(top)
        if found:
            return found
        raise next(iter(damaged.values()), Error(str(error))) from None
    if len({part.label for part in layout.parts}) < 2:
        found, damaged = from_table(top)
        if found:
            return found
        for path, error in damaged.items():
            if _inside(path, top) and not isinstance(error, table.NoRows):
                raise error
    return from_layout(top, layout)


def from_layout(top: Folder, layout: Layout) -> Dataset:
    """The clips of class folders."""
    spellings = [part.label for part in layout.parts]
    for part in layout.parts:
        part.label = names.cleaned(part.label, part.folder.path)
    labels = sorted({part.label for part in layout.parts})
    number = {label: k for k, label in enumerate(labels)}
    parts = sorted(layout.parts, key=lambda part: (in_order(part.split), part.label, part.folder.path))
    clips = (
        Clip(path, (number[part.label],), part.split, path=path, fold=part.fold)
        for part in parts
        for path in part.sounds()
    )
    notes = [*layout.notes, *names.merged(spellings)]
    unused = [path for path in top.beside if path.lower().endswith(TABLES)]
    skipped = [*layout.skipped]
    if unused:
        how = "The sub-folders are the classes; to use a table, give its path as DATA."
        skipped.append(Skipped("tables", within(top.path, unused), how))
    return Dataset(
        str(top.path), labels, clips, split_from=layout.split_from, notes=tuple(notes), skipped=tuple(skipped)
    )


def from_table(top: Folder) -> tuple[Dataset | None, dict[str, Error]]:
    """The clips of the one table that names files of this folder, or of one table per split; None if there is none.

    A table may lie in the folder, one or two levels below, or beside it. -> the clips, {path: what is wrong with a
    table}. Raises minast.Error if several name its files, and for a split that is damaged.
    """
    found, damaged = [], {}
    for path in _tables(top):
        try:
            if each := _usable(path, top):
                found.append(each)
        except Error as error:
            damaged[path] = error
    if not found:
        return None, damaged
    damaged = {path: error for path, error in damaged.items() if not isinstance(error, table.NoRows)}
    if missing := [error for path, error in damaged.items() if split_of(_stem(path))]:
        raise missing[0]
    splits = [split_of(_stem(each.path)) for each, _ in found]
    if len(found) == 1:
        splits = [""]
    elif "train" not in splits or len(set(splits)) < len(splits) or None in splits:
        raise Error(
            f"{visible(top.path)}: {len(found)} tables name its files ({named([each.path for each, _ in found])}): "
            "give the right one as DATA."
        )
    tables = [(each, split, finder) for (each, finder), split in zip(found, splits, strict=True)]
    data = manifest.from_tables(str(top.path), tables)
    used = {os.path.realpath(path) for path in data.clips.paths()}
    rest = [path for path in top.all("sounds") if os.path.realpath(path) not in used]
    skipped = (Skipped("audio files that the table does not name", within(top.path, rest)),) if rest else ()
    read_from = f"the labels are read from {named([each.path for each, _ in found])}"
    unread = [f"a table is not used: {str(error).rstrip('.')}" for error in damaged.values()]
    return replace(data, notes=(read_from, *unread, *data.notes), skipped=skipped), damaged


def _inside(path, top):
    return os.path.abspath(path).startswith(os.path.join(os.path.abspath(top.path), ""))


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]


def _tables(top):
    """Paths of CSV and TSV files in the folder, at most two levels below, or beside it under a usual name."""
    inside = [top, *top.folders, *(sub for folder in top.folders for sub in folder.folders)]
    found = [path for folder in inside for path in folder.beside if path.lower().endswith(TABLES)]
    if found:
        return found
    parent, own = os.path.split(os.path.abspath(top.path))
    beside = [os.path.join(parent, name + suffix) for name in (own, *BESIDE) for suffix in TABLES]
    return [path for path in beside if os.path.isfile(path)]


def _usable(path, top):
    """(table, finder) if the table names files of this folder, else None. Raises minast.Error for a damaged one."""
    if not table.names_clips(path):
        return None
    found = table.read(path)
    some, finder = [], table.Finder(os.path.dirname(os.path.abspath(path)), top)
    for row in found.rows[:50]:
        try:
            some.append(finder(row.file))
        except Error:  # several files have its name
            some.append(None)
    finder.elsewhere.clear()
    inside = os.path.join(os.path.abspath(top.path), "")
    here = sum(path is not None and os.path.abspath(path).startswith(inside) for path in some)
    return (found, finder) if here > len(some) / 2 else None
