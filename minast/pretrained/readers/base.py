"""What all readers have in common: named arrays whose shapes are known, read one at a time as floats."""

import os
from dataclasses import dataclass, field

import numpy as np

from ...errors import Error


@dataclass
class Tensors:
    """A file of named arrays; a context manager. Only names and shapes are in memory: `read(name)` fetches one array.

    A reader fills `shapes` and defines `_read(name) -> array`.
    """

    path: str | os.PathLike
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def read(self, name: str) -> np.ndarray:
        """An array as float32, or float64 if the file has that.

        Raises minast.Error, naming the array, if it is damaged, is not of floating-point numbers, or holds NaN,
        infinite numbers or numbers too large for float32.
        """
        array = self._read(name)
        if array.dtype.kind != "f":
            raise Error(f"{self.path}: the array {name!r} is {array.dtype}: weights are floating-point numbers.")
        if array.dtype.itemsize < 4:
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise Error(f"{self.path}: the array {name!r} holds NaN or infinite numbers.")
        if array.dtype.itemsize > 4 and array.size and max(array.max(), -array.min()) > np.finfo(np.float32).max:
            raise Error(f"{self.path}: the array {name!r} holds numbers too large for float32.")
        return array

    def _read(self, name):
        raise NotImplementedError

    def close(self):
        """Close the file."""
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
