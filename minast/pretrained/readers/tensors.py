"""What the three file formats have in common: named arrays, known by shape, read one at a time as floats."""

from dataclasses import dataclass, field

import numpy as np

from ...errors import Error


@dataclass
class Tensors:
    """A file of named arrays. Nothing but names and shapes is in memory: `read(name)` fetches one array.

    A reader fills `shapes` and brings `_read(name) -> array`. `settings` holds what the file says about itself.
    """

    path: str
    shapes: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)

    def __contains__(self, name):
        return name in self.shapes

    def read(self, name):
        """-> float32 (or float64) array. Raises minast.Error, by name, if it is none of floats or has NaN in it."""
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

    def close(self):
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
