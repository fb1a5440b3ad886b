"""One file of the cache: what was computed of a clip, what is to be said about its recording, and a checksum.

    bytes 0-7     b"minastF1"
    bytes 8-15    two little-endian uint32: the length of the header in bytes, CRC-32 of all that follows
    header        JSON {"key", "shape", "notes", "dtype"}, filled up with spaces so that the numbers start on 64 bytes
    numbers       little-endian, row by row: float32, or what "dtype" says, "<i2"

CRC-32 finds every error of up to 32 neighbouring bits, and misses one in 4 billion others. It reads 7 GB/s, SHA-256
2 GB/s (zlib and hashlib on an AMD EPYC).

An entry of up to MAPPED bytes is read whole and checked each time. A longer one is mapped into memory, so that a batch
which takes ten seconds of an hour reads those ten; it is checked, which reads all of it, when this process first uses
it, and again when the file has changed since. Nobody shortens a file that is mapped: writers replace it.
"""

import json
import os
import struct
import zlib
from math import prod

import numpy as np

from ..storage.files import atomic

MAGIC = b"minastF1"
START = struct.Struct("<8sII")
DTYPES = ("<f4", "<i2")
MAPPED = 2**22  # bytes: the log-mel of 82 s, or 65 s of sound at 16 kHz

_checked: dict[str, tuple] = {}  # path -> what `_state` said of a mapped file when its checksum was right


class Damaged(ValueError):
    """An entry that is not what was written, or is of another recording."""


def write(path: str | os.PathLike, key: str, array: np.ndarray, notes: tuple[str, ...] = ()) -> None:
    """Write an entry, atomically: of several writers the last one wins, and all write the same.

    key: what the entry is of. array: of any shape, int16 or else stored as float32. The disk is not waited for: after a
    power cut an entry may be damaged, which `read` finds out. Raises minast.Error if it cannot be written.
    """
    dtype = "<i2" if array.dtype == np.int16 else "<f4"
    array = np.ascontiguousarray(array, dtype)
    header = {"key": key, "shape": array.shape, "notes": notes} | ({"dtype": dtype} if dtype != "<f4" else {})
    header = json.dumps(header).encode()
    header += b" " * (-(START.size + len(header)) % 64)
    numbers = memoryview(array.reshape(-1)).cast("B") if array.size else b""
    checksum = zlib.crc32(numbers, zlib.crc32(header))
    with atomic(path, private=True, sync=False) as f:
        f.write(START.pack(MAGIC, len(header), checksum) + header)
        f.write(numbers)


def read(path: str | os.PathLike, key: str, axes: int = 2) -> tuple[np.ndarray, tuple[str, ...]]:
    """The entry of a key.   -> the array, notes

    axes: how many it must have. A long entry is mapped, and cannot be written to. Raises FileNotFoundError if there is
    none, Damaged or OSError if it cannot be used.
    """
    with open(path, "rb") as f:
        state = _state(f)
        mapped = state[0] > MAPPED
        data = np.memmap(f, np.uint8, "r").view(np.ndarray) if mapped else np.fromfile(f, np.uint8)
    if len(data) < START.size:
        raise Damaged("it is too short")
    magic, length, checksum = START.unpack(data[: START.size].tobytes())
    known = mapped and _checked.get(os.fspath(path)) == state
    if magic != MAGIC or not (known or zlib.crc32(data[START.size :]) == checksum):
        raise Damaged("its checksum does not match")
    if mapped:
        _checked[os.fspath(path)] = state
    header, numbers = data[START.size : START.size + length].tobytes(), data[START.size + length :]
    try:
        found = json.loads(header)
        shape, notes, dtype = tuple(found["shape"]), tuple(found["notes"]), np.dtype(found.get("dtype", "<f4"))
        if found["key"] != key or len(shape) != axes or len(numbers) != dtype.itemsize * prod(shape):
            raise Damaged("it is of another recording")
        if dtype.str not in DTYPES:
            raise Damaged("it holds other numbers")
        return numbers.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False), notes
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(str(error)) from None


def _state(f):
    found = os.fstat(f.fileno())
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev
