"""Reader of .npz: the official ViT's files, big_vision's, and minast's own checkpoints."""

import numpy as np

from ...bfloat16 import to_float32
from ...storage.npz import Archive
from .base import Tensors


class NpzFile(Tensors):
    """Arrays of a .npz by name; shapes come from the arrays' headers alone.

    bfloat16, which NumPy lacks, is saved by JAX as raw 2-byte items ("|V2"), and read as such.
    """

    def __init__(self, path):
        super().__init__(path)
        self._file = Archive(path)
        try:
            self.set_shapes({name: self._file.shape(name) for name in self._file.names})
        except BaseException:
            self.close()
            raise

    def _read(self, name):
        array = self._file.read(name)
        if array.dtype == np.dtype("V2"):
            return to_float32(array.view(np.uint16))
        return array

    @property
    def archive(self) -> Archive:
        """The archive itself, for `checkpoint.description`."""
        return self._file
