"""Reader of .safetensors: 8 bytes of header length, a JSON header, raw little-endian numbers. Nothing in it can run.

Source: github.com/huggingface/safetensors, "Format". A header is believed only after its offsets were checked.
"""

import json
import os
from math import prod

import numpy as np

from ...bfloat16 import to_float32
from ...errors import Error
from .tensors import Tensors

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2"}
DTYPES |= {"I8": "<i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "<u1"}
LARGEST_HEADER = 100_000_000  # bytes, the format's own limit


class SafetensorsFile(Tensors):
    """Arrays of a .safetensors by name."""

    def __init__(self, path):
        super().__init__(path)
        self._file = open(path, "rb")  # noqa: SIM115  closed by close()
        try:
            header, self._start, self._size = _header(path, self._file)
            self._entries = {name: _entry(path, name, entry, self._size) for name, entry in header.items()}
            _check_cover(path, self._entries, self._size)
        except Error:
            self._file.close()
            raise
        self.shapes = {name: shape for name, (_, shape, _, _) in self._entries.items()}

    def _read(self, name):
        dtype, shape, begin, end = self._entries[name]
        raw = np.empty((end - begin) // np.dtype(DTYPES[dtype]).itemsize, DTYPES[dtype])
        self._file.seek(self._start + begin)
        if self._file.readinto(raw.view(np.uint8)) != end - begin:
            raise Error(f"{self.path}: the array {name!r} cannot be read whole: the file is cut short.")
        return (to_float32(raw) if dtype == "BF16" else raw).reshape(shape)


def _header(path, f):
    """-> (entries by name, where the numbers start, how many bytes of them)"""
    total = os.fstat(f.fileno()).st_size
    length = int.from_bytes(f.read(8), "little")
    if total < 8 or not 2 <= length <= min(total - 8, LARGEST_HEADER):
        raise Error(f"{path}: this is no whole .safetensors file: its header would take {length} of {total} bytes.")
    try:
        header = json.loads(f.read(length).decode())
        header.pop("__metadata__", None)
    except (ValueError, AttributeError, RecursionError):
        raise Error(f"{path}: the header of this .safetensors file is no JSON object: the file is damaged.") from None
    return header, 8 + length, total - 8 - length


def _entry(path, name, entry, size):
    """One entry of the header, checked.   -> (dtype, shape, begin, end)"""
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        sound = isinstance(dtype, str) and all(type(n) is int and n >= 0 for n in (*shape, begin, end))
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise Error(
            f"{path}: the header's entry for {name!r} is not a dtype, a shape and two offsets: the file is damaged."
        )
    if dtype not in DTYPES:
        raise Error(f"{path}: the array {name!r} has dtype {dtype}: {', '.join(DTYPES)} are known.")
    needed = prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if end > size or end - begin != needed:
        raise Error(
            f"{path}: the header places {name!r}, {dtype} {shape} of {needed} bytes, at bytes {begin} to {end} of "
            f"{size}: the header is wrong or the file cut short."
        )
    return dtype, shape, begin, end


def _check_cover(path, entries, size):
    """The format's rule: arrays lie end to end, none over another, nothing between or after."""
    at = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != at:
            raise Error(
                f"{path}: the header places {name!r} at byte {begin}, byte {at} was due: arrays overlap or leave a gap."
            )
        at = end
    if at != size:
        raise Error(f"{path}: the header accounts for {at} bytes of numbers, the file has {size}.")
