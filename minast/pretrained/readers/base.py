"""What all readers have in common: named arrays whose shapes are known, read one at a time as floats."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...errors import Error
from ...storage.schema import checked_floats
from ...storage.stored import LONGEST_NAME

MOST_ARRAYS = 10**5  # a 12-layer model has 160


@dataclass
class Tensors:
    """A file of named arrays; a context manager. Only names and shapes are in memory: `read(name)` fetches one array.

    A reader calls `set_shapes` and defines `_read(name) -> array`.
    """

    path: str | os.PathLike
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what was decided on reading, for the report
    prefix: str = ""  # in front of all names in the file, and left out of `shapes`

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def set_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Names and shapes of all arrays. Raises minast.Error for a number or length of names that makes no sense."""
        if len(shapes) > MOST_ARRAYS or any(len(name) > LONGEST_NAME for name in shapes):
            raise Error(f"{self.path}: its {len(shapes)} names of arrays are too many or too long: it is damaged.")
        self.shapes = dict(shapes)

    def leave_out(self, prefix: str) -> None:
        """Take away what all names begin with."""
        self.prefix += prefix
        self.shapes = {name.removeprefix(prefix): shape for name, shape in self.shapes.items()}

    def read(self, name: str) -> np.ndarray:
        """An array as float32, or float64 if the file has that.

        Raises minast.Error, naming the array, if it is damaged, is not of floating-point numbers, or holds NaN,
        infinite numbers or numbers too large for float32.
        """
        name = self.prefix + name
        array = checked_floats(self._read(name), f"{self.path}: the array {name!r}")
        return array.astype(np.float32) if array.dtype.itemsize < 4 else array

    def _read(self, name):
        raise NotImplementedError

    def close(self):
        """Close the file."""
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
