"""Reader of .safetensors: 8 bytes of header length, a JSON header, raw little-endian numbers. Nothing in it can run.

The library of that name checks the file: offsets inside it, arrays end to end without overlap or gap. The numbers are
read here: its NumPy interface has no bfloat16, and it keeps the whole file mapped, so that the weights would be in
memory twice.
Source: github.com/huggingface/safetensors, "Format".
"""

import json

import numpy as np

from ...bfloat16 import to_float32
from ...errors import Error
from ...storage.stored import decoding
from ...text import visible
from .base import Tensors

LARGEST_HEADER = 2**24  # bytes; that of a 12-layer model has about 20 000
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class SafetensorsFile(Tensors):
    """Arrays of a .safetensors by name."""

    def __init__(self, path):
        from safetensors import safe_open  # only here: the rest of minast works without it

        super().__init__(path)
        invalid = f"{path}: this is not a valid .safetensors file", "it is damaged or truncated"
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LARGEST_HEADER:
                raise Error(f"{invalid[0]} (its header claims {length} bytes): {invalid[1]}.")
        with decoding(*invalid), safe_open(path, framework="np"):
            pass
        self._file = open(path, "rb")  # noqa: SIM115  closed by close()
        try:
            self._file.seek(8)
            with decoding(*invalid):
                self._header, self._start = json.loads(self._file.read(length)), 8 + length
                self._header.pop("__metadata__", None)
                shapes = {name: tuple(entry["shape"]) for name, entry in self._header.items()}
            self.set_shapes(shapes)
        except BaseException:
            self.close()
            raise

    def _read(self, name):
        entry = self._header[name]
        dtype, (begin, _) = entry["dtype"], entry["data_offsets"]
        if dtype not in FLOATS:
            raise Error(
                f"{self.path}: the array {name!r} has dtype {visible(str(dtype), 40)}: weights are {', '.join(FLOATS)}."
            )
        array = np.empty(tuple(entry["shape"]), FLOATS[dtype])
        self._file.seek(self._start + begin)
        if self._file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
            raise Error(f"{self.path}: the array {name!r} is incomplete: the file was truncated while it was read.")
        return to_float32(array) if dtype == "BF16" else array
