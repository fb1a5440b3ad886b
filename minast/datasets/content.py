"""Recordings are told apart by what is in their files, not by names or places in a list."""

import base64
import hashlib
import os
from collections.abc import Iterable, Sequence

import numpy as np

from .. import threads
from ..errors import Error
from .clips import Clip, Clips

SHORT = 8  # bytes of a digest that checkpoints keep: 2 million clips and 100 000 others collide once in 90 million

PART = 64  # files

_known: dict[str, tuple[tuple, bytes]] = {}  # path -> (size, times, place on disk), digest: a file is read once


def digest(path: str, known=_known) -> bytes:
    """SHA-256 of a file's bytes, 32 bytes. Raises OSError if it cannot be read.

    known: a mapping in which the digests of unchanged files are found, such as storage.remembered.Remembered.
    """
    state = os.stat(path)
    signature = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev)
    before, value = known.get(path, (None, b""))
    if before != signature:
        found = hashlib.sha256()
        with open(path, "rb") as f:
            while piece := f.read(2**20):
                found.update(piece)
        value = found.digest()
        known[path] = signature, value
    return value


def digests(paths: Sequence[str | None], label: str = "reading") -> list[bytes | None]:
    """`digest` of many files, on all cores, with a progress bar; None for what has no file or cannot be read."""
    from tqdm import tqdm

    def one(path):
        try:
            return digest(path) if path is not None and os.path.getsize(path) else None  # empty files are no copies
        except OSError:
            return None

    parts = [paths[i : i + PART] for i in range(0, len(paths), PART)]  # a task each: a single file is too little
    with (
        threads.ordered(lambda part: [one(path) for path in part], parts) as results,
        tqdm(total=len(paths), desc=label, unit="file", disable=None, leave=False, delay=1) as bar,
    ):
        found = []
        for part in results:
            found += part
            bar.update(len(part))
        return found


def of_part(found: bytes | None, part: tuple[float, float] | None) -> bytes | None:
    """What tells a part of a file from others.   found: the file's digest; part: start and end in s, None for all"""
    return found if found is None or part is None else hashlib.sha256(found + b"%.6f %.6f" % tuple(part)).digest()


def of_clip(clip: Clip, known=_known) -> bytes:
    """What tells a clip from others: `digest` of its file, or of the part of it. Raises OSError as `digest` does."""
    return of_part(digest(clip.path, known), clip.part)


def of_clips(clips: Sequence[Clip], label: str = "reading") -> list[bytes | None]:
    """`of_clip` of each, as `digests`."""
    clips = Clips.of(clips)
    paths, parts = list(clips.paths()), clips.parts
    if parts is None:
        return digests(paths, label)
    whole = np.isnan(parts[:, 0])
    files = of_files(paths, label)
    return [of_part(found, None if w else part) for found, part, w in zip(files, parts, whole, strict=True)]


def of_files(paths: Sequence[str | None], label: str = "reading") -> list[bytes | None]:
    """`digests` of paths that may be there many times, as those of parts of a file are: each is asked for once."""
    distinct = list(dict.fromkeys(paths))
    found = dict(zip(distinct, digests(distinct, label), strict=True))
    return [found[path] for path in paths]


def of_some_part(found: bytes | None) -> bytes | None:
    """What a list of training clips has of a file of which only parts are clips.   found: the file's digest"""
    return None if found is None else hashlib.sha256(found + b"some part").digest()


def with_files(clips: Sequence[Clip]) -> list[bytes | None]:
    """`of_clips`, and `of_some_part` of the files that parts are from: who knows a part of a file knows the file."""
    clips = Clips.of(clips)
    if clips.parts is None:
        return of_clips(clips)
    cut = dict.fromkeys(path for path, at in zip(clips.paths(), clips.parts[:, 0], strict=True) if at == at)
    return of_clips(clips) + [of_some_part(found) for found in digests(list(cut))]


def shortened(found: Iterable[bytes | None]) -> np.ndarray:
    """The first 8 bytes of each digest as a number, sorted, each once.   -> (n,) uint64"""
    return distinct(np.frombuffer(b"".join(value[:SHORT] for value in found if value), "<u8"))


def distinct(numbers: np.ndarray) -> np.ndarray:
    """Sorted, each once. (np.unique takes 3 s for 2 million, this 0.1 s.)"""
    numbers = np.sort(numbers)
    return numbers[np.append(True, numbers[1:] != numbers[:-1])] if len(numbers) else numbers


def pack(numbers: np.ndarray) -> str:
    """What `shortened` returned as a text for a checkpoint: base64, 11 characters a clip."""
    return base64.b64encode(numbers.astype("<u8").tobytes()).decode()


def unpack(text: str) -> np.ndarray:
    """What `pack` wrote.   -> (n,) uint64, sorted. Raises minast.Error if it is damaged."""
    try:
        return np.sort(np.frombuffer(base64.b64decode(text, validate=True), "<u8"))
    except (ValueError, TypeError):
        raise Error("the checkpoint's list of training clips is damaged.") from None


def pack_groups(pairs: np.ndarray, found: Sequence[bytes | None]) -> str:
    """Pairs of clips that belong together as a text for a checkpoint.   pairs (p, 2): places in `found`, the digests"""
    known = [found[i][:SHORT] for pair in pairs.tolist() for i in pair]
    return base64.b64encode(b"".join(known)).decode()


def unpack_groups(text: str, found: Sequence[bytes | None]) -> np.ndarray:
    """What `pack_groups` wrote, as far as both clips of a pair are still there.   -> (p, 2): places in `found`

    Raises minast.Error if the text is damaged.
    """
    try:
        values = base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        values = b"?"
    if len(values) % (2 * SHORT):
        raise Error("the checkpoint's list of clips with the same sound is damaged.")
    place = {value[:SHORT]: i for i, value in enumerate(found) if value}
    parts = [place.get(values[i : i + SHORT], -1) for i in range(0, len(values), SHORT)]
    pairs = np.array(parts, np.int64).reshape(-1, 2)
    return pairs[(pairs >= 0).all(axis=1)]


def trained_on(notes: dict) -> np.ndarray | None:
    """The clips that a model was trained on, its pretrained weights included.   -> (n,) uint64, sorted

    notes: of its checkpoint. None if it does not say, as in version 0.1. Raises minast.Error if the list is damaged.
    """
    found = [unpack(notes[name]) for name in ("trained_on", "trained_before") if notes.get(name) is not None]
    return distinct(np.concatenate(found)) if found else None


def trained_before(notes: dict) -> np.ndarray | None:
    """The clips that a model's pretrained weights were trained on, as `trained_on`."""
    return trained_on({"trained_on": notes.get("trained_before")})


def among(found: Sequence[bytes | None], known: np.ndarray) -> np.ndarray:
    """Which digests are in a list of `shortened` ones.   -> (n,) bool"""
    values = np.array([int.from_bytes(value[:SHORT], "little") if value else 0 for value in found], np.uint64)
    if not len(known):
        return np.zeros(len(found), bool)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return (known[place] == values) & np.array([value is not None for value in found], bool)


def known_to(clips: Sequence[Clip], known: np.ndarray) -> np.ndarray:
    """Which clips a model was trained on, whole or in part.   known: its list (`trained_on`) -> (n,) bool

    Those in its list, parts of a file that is in it, and whole files of which it has a part. Of a part that overlaps
    with one in the list nothing is known.
    """
    clips = Clips.of(clips)
    paths = list(clips.paths())
    if clips.parts is None:
        return known_files(digests(paths), known)
    files, whole = of_files(paths), np.isnan(clips.parts[:, 0])
    return np.where(whole, known_files(files, known), among(of_clips(clips), known) | among(files, known))


def known_files(found: Sequence[bytes | None], known: np.ndarray) -> np.ndarray:
    """The same of whole files, of which `digests` were found."""
    return among(found, known) | among([of_some_part(value) for value in found], known)


def copies(found: Sequence[bytes | None]) -> list[list[int]]:
    """Groups of places in the list that have the same content; only groups of two and more."""
    groups = {}
    for i, value in enumerate(found):
        if value is not None:
            groups.setdefault(value, []).append(i)
    return [group for group in groups.values() if len(group) > 1]
