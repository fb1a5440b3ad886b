"""Reader of .npz: a zip of .npy arrays. Pickled objects, which could run code when read, are refused by name."""

import tokenize
import zipfile
import zlib

import numpy as np

from ...bfloat16 import to_float32
from ...errors import Error
from .tensors import Tensors

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, SyntaxError)
BROKEN += (tokenize.TokenError,)  # NumPy parses the header with ast and tokenize


class NpzFile(Tensors):
    """Arrays of a .npz by name; shapes come from the arrays' headers alone.

    bfloat16, which NumPy lacks, is saved by JAX as raw 2-byte items ("|V2"), and read as such.
    """

    def __init__(self, path):
        super().__init__(path)
        try:
            self._file = zipfile.ZipFile(path)
        except BROKEN as error:
            raise Error(
                f"{path}: this is no whole .npz file ({_reason(error)}): truncated, or another format."
            ) from None
        self._dtypes = {}
        for member in self._file.namelist():
            name = member.removesuffix(".npy")
            try:
                with self._file.open(member) as f:
                    shape, _, dtype = _header(f)
            except BROKEN as error:
                raise Error(
                    f"{path}: the array {name!r} cannot be read ({_reason(error)}): the file is damaged."
                ) from None
            if dtype.hasobject:
                raise Error(
                    f"{path}: the array {name!r} holds pickled Python objects: only numbers are read, nothing was run."
                )
            self.shapes[name], self._dtypes[name] = shape, dtype

    def _read(self, name):
        member = name if name in self._file.NameToInfo else f"{name}.npy"
        try:
            with self._file.open(member) as f:
                array = np.lib.format.read_array(f, allow_pickle=False)
        except BROKEN as error:
            raise Error(
                f"{self.path}: the array {name!r} cannot be read ({_reason(error)}): the file is damaged."
            ) from None
        if array.dtype == np.dtype("V2"):
            return to_float32(array.reshape(-1).view(np.uint16)).reshape(array.shape)
        return array

    def text(self, name):
        """The text in an array that holds nothing else."""
        try:
            with self._file.open(f"{name}.npy") as f:
                return str(np.lib.format.read_array(f, allow_pickle=False).item())
        except BROKEN as error:
            raise Error(f"{self.path}: {name!r} cannot be read ({_reason(error)}): the file is damaged.") from None


def _header(f):
    version = np.lib.format.read_magic(f)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(f)
    return np.lib.format.read_array_header_2_0(f)


def _reason(error):
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
