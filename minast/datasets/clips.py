"""Clips, and many of them in arrays: two million take about 100 MB, and are Clip objects only one at a time."""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import audio
from ..errors import Error
from ..text import visible
from .ragged import Ragged, Texts, starts_of

SPLITS = ("train", "valid", "test")
WHOLE = (float("nan"), float("nan"))  # instead of a part
CODES = {split: code for code, split in enumerate(("", *SPLITS))}  # as `Clips.splits` has them


@dataclass(frozen=True)
class Clip:
    """One recording: its name for people, its class numbers, its split, and where its waveform comes from."""

    name: str
    labels: tuple[int, ...]  # class numbers; () if it is of none of the classes
    split: str = ""  # "train", "valid", "test", or "" before the split is drawn
    path: str | None = None  # of the audio file, if there is one
    make: Callable | None = None  # rate -> wave (S,), for sounds that are synthesised
    fold: int | None = None  # for data that come in folds
    group: str = ""  # speaker, recording, site: clips of one group are alike, a drawn split keeps them together
    part: tuple[float, float] | None = None  # start and end in s, if it is a part of its file

    def read(self, rate: int) -> audio.Decoded:
        """The clip at `rate` Hz, with what is to be said about its file. Raises minast.Error as `decode` does."""
        if self.make is not None:
            return audio.Decoded(self.make(rate), rate)
        try:
            return audio.decode(self.path, rate, *([self.part] if self.part else []))
        except UnicodeError:
            raise Error(f"{visible(self.path)}: the file's name cannot be passed to the decoder: rename it.") from None

    def wave(self, rate: int) -> np.ndarray:
        """The waveform, (S,) float32 in [-1, 1] at `rate` Hz. Raises minast.Error as `load_audio` does."""
        return self.read(rate).wave


@dataclass(frozen=True, eq=False)
class Columns:
    """What `Clips` are made of: a row per clip in each array.

    A path is folders[folder] + file, so that a folder, with its last separator, is stored once; folder -1: no file.
    """

    labels: Ragged  # class numbers
    splits: np.ndarray  # (n,) int8: CODES
    folders: Sequence[str]
    folder: np.ndarray  # (n,) int32
    files: Texts
    names: Texts | None = None  # "", and None for all: the clip's name is its path
    folds: np.ndarray | None = None  # (n,) int32, -1 for none
    groups: np.ndarray | None = None  # (n,) int32, -1 for none: places in group_names
    group_names: Sequence[str] = ()
    makes: Sequence[Callable | None] | None = None
    parts: np.ndarray | None = None  # (n, 2) float64: start and end in s, NaN for a whole file


class Clips(Sequence):
    """A sequence of `Clip`: clips[3], clips[10:20], clips[mask], clips[numbers]. All but the first share its arrays.

    `splits`, `folds`, `groups` and `labels` are whole columns, for what is done to all clips at once.
    """

    def __init__(self, columns: Columns, rows: np.ndarray | None = None):
        """columns: of all clips. rows: which of them these are, in order (default: all)."""
        self._columns, self._rows = columns, rows

    @classmethod
    def of(cls, clips: Iterable[Clip]) -> "Clips":
        """The clips of any sequence or generator, which is gone through once."""
        if isinstance(clips, cls):
            return clips
        labels, lengths, splits, folder, folds, groups = (array(kind) for kind in "iibiii")
        folders, group_names, files, names, makes, parts = {}, {}, Texts(), Texts(), [], array("d")
        for clip in clips:
            labels.extend(clip.labels)
            lengths.append(len(clip.labels))
            splits.append(CODES[clip.split])
            above = (clip.path or "").rfind(os.sep) + 1
            folder.append(-1 if clip.path is None else folders.setdefault(clip.path[:above], len(folders)))
            files.append((clip.path or "")[above:])
            names.append(clip.name if clip.name != clip.path else "")
            folds.append(-1 if clip.fold is None else clip.fold)
            groups.append(group_names.setdefault(clip.group, len(group_names)) if clip.group else -1)
            makes.append(clip.make)
            parts.extend(clip.part or WHOLE)
        labels, lengths, splits, folder, folds, groups = map(np.array, (labels, lengths, splits, folder, folds, groups))
        parts = np.array(parts).reshape(-1, 2)
        return cls(
            Columns(
                Ragged(starts_of(lengths), labels),
                splits,
                tuple(folders),
                folder,
                files,
                names=names if names.letters else None,
                folds=folds if (folds >= 0).any() else None,
                groups=groups if group_names else None,
                group_names=Texts(group_names),
                makes=makes if any(makes) else None,
                parts=None if np.isnan(parts).all() else parts,
            )
        )

    # -- clips -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._columns.splits) if self._rows is None else len(self._rows)

    def __getitem__(self, i):
        """The Clip at a place; the Clips of a slice, a mask (n,) or an array of places."""
        if isinstance(i, slice) and self._rows is None:
            return Clips(self._columns, np.arange(*i.indices(len(self)), dtype=np.int32))
        if isinstance(i, (slice, np.ndarray, list)):
            rows = np.arange(len(self), dtype=np.int32) if self._rows is None else self._rows
            return Clips(self._columns, rows[np.asarray(i, int) if isinstance(i, list) else i])
        i = range(len(self))[i]
        return self._clip(i if self._rows is None else int(self._rows[i]))

    def __iter__(self) -> Iterator[Clip]:
        return map(self._clip, range(len(self)) if self._rows is None else map(int, self._rows))

    def __eq__(self, other) -> bool:
        """Whether the same clips are in another sequence, in the same order."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None

    def __repr__(self):
        return f"<{len(self)} clips>"

    def path(self, i: int) -> str | None:
        """The path of the clip at a place, None without a file."""
        return self._path(range(len(self))[i] if self._rows is None else int(self._rows[i]))

    def paths(self) -> Iterator[str | None]:
        """The path of each clip."""
        return map(self.path, range(len(self)))

    def _path(self, row):
        c = self._columns
        return None if c.folder[row] < 0 else c.folders[c.folder[row]] + c.files[row]

    def _clip(self, row):
        c = self._columns
        path = self._path(row)
        return Clip(
            path if c.names is None else c.names[row] or path or "",
            tuple(c.labels[row].tolist()),
            ("", *SPLITS)[c.splits[row]],
            path,
            None if c.makes is None else c.makes[row],
            None if c.folds is None or c.folds[row] < 0 else int(c.folds[row]),
            "" if c.groups is None or c.groups[row] < 0 else c.group_names[c.groups[row]],
            None if c.parts is None or np.isnan(c.parts[row, 0]) else tuple(c.parts[row].tolist()),
        )

    # -- columns ---------------------------------------------------------------------------------------------------

    @property
    def labels(self) -> Ragged:
        """The class numbers of each clip."""
        return self._columns.labels if self._rows is None else self._columns.labels.take(self._rows)

    @property
    def splits(self) -> np.ndarray:
        """The split of each clip as a number: CODES["train"] and so on, 0 before it is drawn.   -> (n,) int8"""
        return self._column(self._columns.splits)

    @property
    def folds(self) -> np.ndarray:
        """The fold of each clip, -1 for none.   -> (n,) int32"""
        return self._column(self._columns.folds)

    @property
    def groups(self) -> np.ndarray:
        """A number for the group of each clip, the same for clips of one group, -1 for none.   -> (n,) int32"""
        return self._column(self._columns.groups)

    def _column(self, column):
        if column is None:
            return np.full(len(self), -1, np.int32)
        return column if self._rows is None else column[self._rows]

    @property
    def parts(self) -> np.ndarray | None:
        """Start and end (s) of each clip in its file, NaN for a whole file; None if all are.   -> (n, 2)"""
        parts = self._columns.parts
        return parts if parts is None or self._rows is None else parts[self._rows]

    def with_splits(self, splits: np.ndarray) -> "Clips":
        """The same clips in other splits.   splits (n,): CODES"""
        return Clips(replace(self._columns, splits=self._put(self._columns.splits, splits, np.int8)), self._rows)

    def with_folds(self, folds: np.ndarray) -> "Clips":
        """The same clips in other folds.   folds (n,): from 1"""
        before = self._columns.folds
        before = np.full(len(self._columns.splits), -1, np.int32) if before is None else before
        return Clips(replace(self._columns, folds=self._put(before, folds, np.int32)), self._rows)

    def _put(self, column, values, dtype):
        """A whole column in which these clips have other values."""
        if self._rows is None:
            return np.asarray(values, dtype)
        everywhere = column.copy()
        everywhere[self._rows] = values
        return everywhere
