"""A CSV file with the columns file, labels and, optionally, split or fold, and group. Several labels are written a;b.

With columns start and end, in seconds, a row is a part of its file: a clip whose group, unless given, is the file.
A table that a scan's page writes is such a manifest; its column verdict leaves out the rows that were found wrong.

If some clip has several labels, clips without any are allowed: their row has empty labels and is 0 for every class.
`background` is a class like any other, since nobody can tell from outside whether it is meant to be recognised.
"""

import os
from array import array
from collections.abc import Sequence

import numpy as np

from ..errors import Error
from ..text import counted, visible
from . import labels as names
from . import table
from .clips import Clip, Clips
from .common import Bad, Dataset, named, quoted
from .rows import Row
from .splits import fold_of, split_of

NOTHING = ("background", "none", "nothing")  # labels that may mean that there is none


def read(path: str, seed: int = 0) -> Dataset:
    """The clips of a manifest; multi-label if a row has several labels. Files are relative to the manifest's folder."""
    finder = table.Finder(os.path.dirname(os.path.abspath(path)))
    return from_tables(str(path), [(table.read(path), "", finder)])


def from_tables(name: str, tables: Sequence[tuple[table.Table, str, table.Finder]]) -> Dataset:
    """The clips of tables. Beside each: the split that it is, or "", and what finds its files. name: of the data."""
    from tqdm import tqdm

    bad, folders, hashes, files, origins = [], {}, array("q"), array("q"), array("q")
    labels, own, spellings, several = _labels(tables)

    def found():
        parted = any(each.rows.parted for each, *_ in tables)
        for i, (each, split, finder) in enumerate(tables):
            meant = {}  # split and fold as they are written: what they mean
            bar = tqdm(each.rows, desc="looking for clips", unit="file", disable=None, leave=False, delay=1)
            for k, row in enumerate(bar):
                key = row.split, row.fold
                if key not in meant:
                    meant[key] = split_in(each.path, row, split), fold_in(each.path, row)
                where, own_labels = table.place(each.path, row.line), tuple(labels[k] for k in own[row.labels])
                try:
                    full = finder(row.file)
                except Error as error:  # several files have its name
                    bad.append(Bad(row.file, own_labels, f"{where}: {error}"))
                    continue
                if full is None:
                    wanted = visible(os.path.join(finder.base, row.file))
                    sentence = f"{where}: there is no file {wanted}; files are relative to the manifest's folder."
                    bad.append(Bad(row.file, own_labels, sentence))
                    continue
                real = real_path(full, folders)
                files.append(hash(real))
                hashes.append(hash((real, row.part)))
                origins.extend((i, k))
                name = f"{full}, {row.part[0]:g} to {row.part[1]:g} s" if row.part else full
                group = row.group or (real if parted else "")  # a whole file belongs with its parts
                yield Clip(name, own[row.labels], meant[key][0], full, None, meant[key][1], group, row.part)

    clips, origins = Clips.of(found()), np.array(origins, np.int64).reshape(-1, 2)
    kept = _not_guessed_wrongly(tables, clips, np.array(files, np.int64), origins, labels, bad)
    clips, origins, hashes = clips[kept], origins[kept], np.array(hashes, np.int64)[kept]
    _refuse_twice(tables, clips, hashes, origins)
    for kind, given in (("split", clips.splits > 0), ("fold", clips.folds >= 0)):
        if given.any() and not given.all():
            raise Error(
                f"{visible(name)}: {(~given).sum()} of {len(clips)} rows have no {kind}: give all of them one, or none."
            )
    notes = [note for each, *_ in tables for note in each.notes] + names.merged(spellings)
    notes += [note for finder in dict.fromkeys(each for *_, each in tables) for note in _moved(finder)]
    if clips.parts is not None:
        count = int((~np.isnan(clips.parts[:, 0])).sum())
        notes.append(
            f"{counted(count, 'clip is a part of its file', 'clips are parts of their files')}, from start to end; "
            "those of one file are one group, unless the table gives groups"
        )
    if several:
        notes += _no_class(clips, labels)
    origin = "folds given by the manifest" if (clips.folds >= 0).any() else "given by the manifest"
    return Dataset(name, labels, clips, several, origin, notes=tuple(dict.fromkeys(notes)), bad=tuple(bad))


def _labels(tables):
    """-> names of the classes; {labels of a row: class numbers}; all spellings; whether some clip has several labels"""
    kinds = [(each.path, row) for each, *_ in tables for row in each.rows.kinds()]
    known = {
        row.labels: {names.cleaned(label, f"{path}, line {row.line}") for label in row.labels} for path, row in kinds
    }
    several = any(len(cleaned) > 1 for cleaned in known.values())
    for path, row in kinds:
        if not row.labels and not several:
            raise Error(
                f"{table.place(path, row.line)}: the labels are empty, {visible(row.file, 80)} needs one: only where "
                "some clips have several labels, a;b, may others have none."
            )
    labels = sorted(set().union(*known.values()))
    number = {label: k for k, label in enumerate(labels)}
    own = {written: tuple(sorted(number[label] for label in cleaned)) for written, cleaned in known.items()}
    return labels, own, [label for written in known for label in written], several


def _not_guessed_wrongly(tables, clips, files, origins, labels, bad):
    """Which clips stay: not those of a file that is not where they say, and is another row's.   -> (n,) bool

    Recorders that name files by time give the same names in many folders; where one folder is missing, its rows must
    not become clips of another. files (n,): hashes of the clips' real paths. bad: gets what is left out.
    """
    kept, written = np.ones(len(clips), bool), {}
    _, inverse, counts = np.unique(files, return_inverse=True, return_counts=True)
    if not any(finder.elsewhere for *_, finder in tables) or not (counts > 1).any():
        return kept
    shared = {}
    for i in np.flatnonzero(counts[inverse] > 1).tolist():
        t, k = origins[i]
        shared[i] = tables[t], tables[t][0].rows[k]
    for i, (_, row) in shared.items():
        written.setdefault(int(files[i]), set()).add(row.file)
    for i, ((each, _, finder), row) in shared.items():
        others = written[int(files[i])]
        if row.file in finder.elsewhere and not all(table.same_place(row.file, other) for other in others):
            kept[i] = False
            sentence = (
                f"{table.place(each.path, row.line)}: there is no file {visible(row.file, 120)}; the one of that name, "
                f"{visible(clips.path(i), 120)}, is another row's too."
            )
            bad.append(Bad(row.file, tuple(labels[k] for k in clips[i].labels), sentence))
    return kept


def _refuse_twice(tables, clips, hashes, origins):
    """minast.Error for a file that two rows name.   hashes (n,): of paths. origins (n, 2): table and row of a clip"""
    order = np.argsort(hashes, kind="stable")
    for i in np.flatnonzero(hashes[order][1:] == hashes[order][:-1]):
        first, second = order[i], order[i + 1]
        (_, before), (each, row) = ((tables[t][0], tables[t][0].rows[k]) for t, k in origins[[first, second]])
        same = os.path.realpath(clips.path(first)) == os.path.realpath(clips.path(second))
        if same and before.part == row.part:
            what = "this part of " if row.part else ""
            raise Error(
                f"{table.place(each.path, row.line)}: {what}{visible(row.file, 120)} is already in line {before.line}: "
                "give it one line with all its labels."
            )


def _no_class(clips, labels):
    """Notes on clips of none of the classes, in multi-label data"""
    notes = []
    if empty := int((clips.labels.lengths == 0).sum()):
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


def split_in(path: str, row: Row, split: str) -> str:
    """The split of a row: its own, or its table's."""
    if not row.split:
        return split
    own = split_of(row.split)
    if own is None:
        where = table.place(path, row.line)
        raise Error(f"{where}: the split is {quoted(row.split, 40)}: it must be train, valid or test.")
    return own


def fold_in(path: str, row: Row) -> int | None:
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
    written, found = next(iter(finder.elsewhere.items()))
    return [
        f"{len(finder.elsewhere)} files are not where the manifest says and were found by the end of their paths, such "
        f"as {named([written])} at {visible(found)}"
    ]
