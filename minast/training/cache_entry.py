"""One file of the feature cache: the log-mel of a clip, what is to be said about its recording, and a checksum.

    bytes 0-7     b"minastF1"
    bytes 8-15    two little-endian uint32: the length of the header in bytes, CRC-32 of all that follows
    header        JSON {"key", "shape", "notes"}, filled up with spaces so that the numbers start on 64 bytes
    numbers       float32, little-endian, row by row

CRC-32 finds every error of up to 32 neighbouring bits, and misses one in 4 billion others. It reads 7 GB/s, SHA-256
2 GB/s (zlib and hashlib on an AMD EPYC).
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


class Damaged(ValueError):
    """An entry that is not what was written, or is of another recording."""


def write(path: str | os.PathLike, key: str, mel: np.ndarray, notes: tuple[str, ...] = ()) -> None:
    """Write an entry, atomically: of several writers the last one wins, and all write the same.

    key: what the entry is of. mel: (T, F) float32. Raises minast.Error if it cannot be written.
    """
    mel = np.ascontiguousarray(mel, "<f4")
    header = json.dumps({"key": key, "shape": mel.shape, "notes": notes}).encode()
    header += b" " * (-(START.size + len(header)) % 64)
    numbers = memoryview(mel.reshape(-1)).cast("B") if mel.size else b""
    checksum = zlib.crc32(numbers, zlib.crc32(header))
    with atomic(path, private=True) as f:
        f.write(START.pack(MAGIC, len(header), checksum) + header)
        f.write(numbers)


def read(path: str | os.PathLike, key: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The entry of a key.   -> log-mel (T, F) float32, notes

    Raises FileNotFoundError if there is none, Damaged or OSError if it cannot be used.
    """
    data = np.fromfile(path, np.uint8)
    if len(data) < START.size:
        raise Damaged("it is too short")
    magic, length, checksum = START.unpack(data[: START.size].tobytes())
    if magic != MAGIC or zlib.crc32(data[START.size :]) != checksum:
        raise Damaged("its checksum does not match")
    header, numbers = data[START.size : START.size + length].tobytes(), data[START.size + length :]
    try:
        found = json.loads(header)
        shape, notes = tuple(found["shape"]), tuple(found["notes"])
        if found["key"] != key or len(shape) != 2 or len(numbers) != 4 * prod(shape):
            raise Damaged("it is of another recording")
        return numbers.view("<f4").reshape(shape).astype(np.float32, copy=False), notes
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(str(error)) from None
