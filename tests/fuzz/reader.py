"""What a reader under test is, and how a case is made for it.

A change is `free` if the file then says something else and cannot know better: its checksums were computed again, or
its format has none. Where another library reads the format too, the two must then agree on every number.
"""

import hashlib
import io
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import changes


@dataclass
class Reader:
    """files: the good ones, by name. changes: {file: [(change, free)]}. read: folder -> what was understood."""

    files: dict[str, bytes]
    changes: dict[str, list[tuple[Callable, bool]]]
    read: Callable[[str], str]
    owner: str = "structures"  # whose faults these are, in the table
    damage: bool = True  # False where the file is the harness's own, and describes what is tried


def case(readers, seed, number, only=None):
    """One case, made of the seed and its number alone.   -> (reader, {name: bytes}, free, what was done)"""
    names = list(only or readers)
    name = names[number % len(names)]
    rng = np.random.default_rng([seed, number // len(names), zlib.crc32(name.encode())])
    reader = readers[name]
    files = dict(reader.files)
    target = changes.pick(rng, list(reader.changes))
    change, free = changes.pick(rng, reader.changes[target])
    files[target] = change(rng, files[target])
    while reader.damage and not rng.integers(6):  # sometimes bytes are damaged as well
        files[target] = changes.plain(rng, files[target])
    return name, files, free, f"{change.__name__} of {target}"


def digest(*parts):
    """A short text for arrays, texts and whatever `repr` tells apart."""
    out = hashlib.sha256()
    for part in parts:
        out.update(
            np.ascontiguousarray(part).tobytes()
            if isinstance(part, np.ndarray)
            else repr(part).encode("utf-8", "replace")
        )
    return out.hexdigest()[:16]


def same_numbers(name, got, wanted):
    """Raises AssertionError where another library reads other numbers."""
    wanted = np.asarray(wanted)
    assert got.shape == wanted.shape and np.array_equal(got, wanted.astype(np.float32)), (
        f"{name} is not what the file says"
    )


# -- for readers -----------------------------------------------------------------------------------------------------


def sounds(rate=8000, count=3):
    """{class/name.wav: bytes}: three classes of short noises"""
    import soundfile

    rng, out = np.random.default_rng(0), {}
    for label in ("low", "middle", "high"):
        for i in range(count):
            raw = io.BytesIO()
            soundfile.write(raw, 0.1 * rng.standard_normal(rate // 4), rate, "PCM_16", format="WAV")
            out[f"{label}/{i}.wav"] = raw.getvalue()
    return out


def write(folder, files):
    """Write {name: bytes}; a name may be bytes."""
    for name, data in files.items():
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
