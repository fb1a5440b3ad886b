"""Reader of .safetensors, by the library of that name; bfloat16, which it cannot give to NumPy, is read here.

The format: 8 bytes of header length, a JSON header, raw little-endian numbers; nothing in it can run. The library
checks the header before anything else: offsets inside the file, arrays end to end without overlap or gap.
Source: github.com/huggingface/safetensors, "Format".
"""

import json

import numpy as np

from ...bfloat16 import to_float32
from ...errors import Error, reason
from .base import Tensors

FLOATS = ("F64", "F32", "F16", "BF16")


class SafetensorsFile(Tensors):
    """Arrays of a .safetensors by name."""

    def __init__(self, path):
        from safetensors import SafetensorError, safe_open  # only here: most of minast needs NumPy alone

        super().__init__(path)
        try:
            self._file = safe_open(path, framework="np")
        except (SafetensorError, OSError) as error:
            raise Error(
                f"{path}: this is not a valid .safetensors file ({reason(error)}): it is damaged or truncated."
            ) from None
        entries = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118  not a dict
        self.shapes = {name: tuple(entry.get_shape()) for name, entry in entries.items()}
        self._dtypes = {name: entry.get_dtype() for name, entry in entries.items()}

    def _read(self, name):
        dtype = self._dtypes[name]
        if dtype not in FLOATS:
            raise Error(f"{self.path}: the array {name!r} has dtype {dtype}: weights are {', '.join(FLOATS)}.")
        return self._bfloat16(name) if dtype == "BF16" else self._file.get_tensor(name)

    def _bfloat16(self, name):
        """NumPy has no bfloat16: the bits, from where the header, which the library has checked, says they are."""
        with open(self.path, "rb") as f:
            length = int.from_bytes(f.read(8), "little")
            begin, end = json.loads(f.read(length))[name]["data_offsets"]
            f.seek(8 + length + begin)
            return to_float32(np.frombuffer(f.read(end - begin), "<u2")).reshape(self.shapes[name])

    def close(self):
        self._file.__exit__(None, None, None)
