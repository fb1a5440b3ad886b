"""Reading .npz archives: names first, then one array at a time, optionally into an existing array.

A .npz is a zip of .npy files: a short header (dtype, memory order, shape), then the raw numbers. numpy.load puts every
array into new memory. `Archive.read` can fill the weights of a model instead, also from several threads at once, and
says in one sentence what is wrong with a damaged file. Pickled objects, which could run code when read, are refused.

Source: numpy.lib.format. zipfile compares the checksum of every entry that is read to its end.
"""

import contextlib
import os
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from threading import Lock, local
from typing import IO

import numpy as np

from .errors import Error, reason

PIECE = 2**20  # bytes read at once
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, TypeError, NotImplementedError, RuntimeError)
BROKEN += (SyntaxError, tokenize.TokenError)  # NumPy parses the header with ast and tokenize


class Archive:
    """The arrays of a .npz by name; a context manager. Opening reads the list of names alone.

    Raises minast.Error if the file is not a complete zip archive.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        try:
            self.zip = zipfile.ZipFile(path)
        except BROKEN as error:
            raise Error(
                f"{path}: this is not a complete .npz file ({reason(error)}): it is truncated or has another format."
            ) from None
        self._stat, self._mine, self._others = os.fstat(self.zip.fp.fileno()), local(), []
        self._mine.zip = self.zip
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in self.zip.infolist()}

    @property
    def names(self) -> list[str]:
        """The arrays in the archive, in its order."""
        return list(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array, from its header. Raises minast.Error if it is damaged or holds pickled objects."""
        with self._open(name) as (_, shape, _, _):
            return shape

    def read(self, name: str, out: np.ndarray | None = None) -> np.ndarray:
        """The array `name`: `out`, filled, if that is contiguous and of the same shape and dtype, else a new array.

        Raises minast.Error if it is damaged or holds pickled objects.
        """
        with self._open(name) as (file, shape, fortran_order, dtype):
            fits = out is not None and out.flags.c_contiguous and (out.shape, out.dtype) == (shape, dtype)
            if fits and not fortran_order:
                return _fill(out, file)
            array = _fill(np.empty(shape[::-1] if fortran_order else shape, dtype), file)
            return array.T if fortran_order else array

    @contextlib.contextmanager
    def _open(self, name):
        """-> (the entry after its header, shape, whether columns come first in memory, dtype); failures as sentences"""
        entry = self._entries[name]
        try:
            with self._zip().open(entry) as file:
                shape, fortran_order, dtype = _header(file)
                if dtype.hasobject:
                    raise Error(
                        f"{self.path}: the array {name!r} holds pickled Python objects: only numbers are read, "
                        "nothing was run."
                    )
                size, needed = entry.file_size - file.tell(), prod(shape) * dtype.itemsize
                if size != needed:  # before any memory is reserved for it
                    raise ValueError(f"it has {size} bytes of numbers, its header announces {needed}")
                yield file, shape, fortran_order, dtype
        except Error:
            raise
        except BROKEN as error:
            raise Error(
                f"{self.path}: the array {name!r} cannot be read ({reason(error)}): the file is damaged."
            ) from None

    def _zip(self):
        """This thread's own ZipFile: in Python 3.12 and 3.13 one that threads share mixes up their places in it."""
        if not hasattr(self._mine, "zip"):
            file = open(self.path, "rb")  # noqa: SIM115  closed by close()
            self._others.append(file)
            if not os.path.samestat(os.fstat(file.fileno()), self._stat):
                raise Error(f"{self.path} was replaced while it was being read: try again.")
            self._mine.zip = zipfile.ZipFile(file)
        return self._mine.zip

    def close(self):
        """Close the file."""
        self.zip.close()
        for file in self._others:
            file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def write_arrays(file: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name as numpy.savez does, byte for byte, into a file that is open.

    If that fails, as on a full disk, the archive is closed at once. NumPy 1.26 leaves that to Python's garbage
    collection, which then prints a traceback. Raises OSError, and ValueError for an array of objects.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def load_npy(path: str | os.PathLike) -> np.ndarray:
    """The array in a .npy file, as numpy.load reads it, but safely from several threads at once.

    Raises OSError if the file cannot be opened, and one of `BROKEN` if it is damaged or holds pickled objects.
    """
    with open(path, "rb") as file:
        shape, fortran_order, dtype = _header(file)
        if dtype.hasobject:
            raise ValueError("it holds pickled Python objects")
        numbers = np.fromfile(file, dtype, prod(shape))
    return numbers.reshape(shape, order="F" if fortran_order else "C")


_one_at_a_time = Lock()


def _header(file):
    """-> (shape, fortran_order: whether columns come first in memory, dtype)

    NumPy parses headers by ast.literal_eval, which in Python 3.11 fails now and then when two threads are in it:
    "SystemError: AST constructor recursion depth mismatch". Source: CPython, issue 106905.
    """
    with _one_at_a_time:
        if np.lib.format.read_magic(file) == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        return np.lib.format.read_array_header_2_0(file)


def _fill(array, file):
    """The rest of a zip entry as the numbers of a contiguous array.   -> array"""
    left = memoryview(array.reshape(-1).view(np.uint8))
    while len(left):
        piece = file.read(min(len(left), PIECE))
        if not piece:
            raise EOFError("it ends too early")
        left[: len(piece)] = piece
        left = left[len(piece) :]
    if file.read(1):  # at the end of an entry zipfile compares the checksum
        raise ValueError("it goes on after its end")
    return array
