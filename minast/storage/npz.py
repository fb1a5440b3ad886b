"""Reading .npz archives: names first, then one array at a time, optionally into an existing array.

A .npz is a zip of .npy files: a short header (dtype, memory order, shape), then the raw numbers. numpy.load puts every
array into new memory. `Archive.read` can fill the weights of a model instead, also from several threads at once, and
says in one sentence what is wrong with a damaged file. Pickled objects, which could run code when read, are refused.

Source: numpy.lib.format. zipfile compares the checksum of every entry that is read to its end.
"""

import contextlib
import os
import re
import zipfile
from collections.abc import Mapping
from math import prod
from threading import local
from typing import IO

import numpy as np

from ..errors import Error
from .stored import decoding, open_zip

PIECE = 2**20  # bytes read at once
LARGEST_HEADER = 2**14  # bytes; NumPy's have 118
LARGEST_ARRAY = 2**31  # bytes of a single .npy: a log-mel of 11 hours
BROKEN = (ValueError, TypeError, OSError, EOFError)  # what `load_npy` raises


class Archive:
    """The arrays of a .npz by name; a context manager. Opening reads the list of names alone.

    Raises minast.Error if the file is not a complete zip archive, or claims more than it can hold.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        with contextlib.ExitStack() as on_failure:
            try:
                self._file = on_failure.enter_context(open(path, "rb"))
            except OSError as error:
                raise Error(f"{path}: this cannot be opened: {error.strerror or error}.") from None
            self.zip = open_zip(path, self._file, ".npz")
            on_failure.pop_all()
        self._stat, self._mine, self._others = os.fstat(self._file.fileno()), local(), []
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
        return self.kind(name)[0]

    def kind(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of an array, from its header. Raises as `shape`."""
        with self._open(name) as (_, shape, _, dtype):
            return shape, dtype

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
        with decoding(f"{self.path}: the array {name!r} cannot be read"), self._zip().open(entry) as file:
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

    def _zip(self):
        """This thread's own ZipFile: in Python 3.12 and 3.13 one that threads share mixes up their places in it."""
        if not hasattr(self._mine, "zip"):
            file = open(self.path, "rb")  # noqa: SIM115  closed by close()
            self._others.append(file)
            if not os.path.samestat(os.fstat(file.fileno()), self._stat):
                raise Error(f"{self.path} was replaced while it was being read: try again.")
            self._mine.zip = open_zip(self.path, file, ".npz")
        return self._mine.zip

    def close(self):
        """Close the file."""
        self.zip.close()
        for file in (self._file, *self._others):
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


def load_npy(path: str | os.PathLike, most: int = LARGEST_ARRAY) -> np.ndarray:
    """The array in a .npy file of at most `most` bytes of numbers, safely from several threads at once.

    Raises one of `BROKEN` if the file cannot be opened, is damaged, too large, or holds pickled objects.
    """
    with open(path, "rb") as file:
        shape, fortran_order, dtype = _header(file)
        if dtype.hasobject:
            raise ValueError("it holds pickled Python objects")
        size, needed = os.fstat(file.fileno()).st_size - file.tell(), prod(shape) * dtype.itemsize
        if size != needed or needed > most:
            raise ValueError(f"it has {size} bytes of numbers, its header announces {needed}, {most} are allowed")
        numbers = np.fromfile(file, dtype, prod(shape))
    return numbers.reshape(shape, order="F" if fortran_order else "C")


HEADER = re.compile(  # the dictionary that numpy.save writes; its keys are sorted
    r"\{\s*'descr':\s*'([<>|=]?)([biufcOSUVmM?])(\d{0,6})',\s*'fortran_order':\s*(True|False),"
    r"\s*'shape':\s*\(((?:\d{1,19}L?,\s*)*(?:\d{1,19}L?)?)\),?\s*\}\s*",
    re.ASCII,  # NumPy takes no other digits and spaces
)


def _header(file):
    """-> (shape, fortran_order: whether columns come first in memory, dtype). Raises ValueError if it is damaged.

    NumPy evaluates this text as Python, which is slow, not safe in several threads before Python 3.12 (CPython, issue
    106905), and raises what the parser raises. One pattern says what a header of plain numbers or texts looks like.
    """
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\x01\0", b"\x02\0", b"\x03\0"):
        raise ValueError("it does not begin as a .npy does")
    width = 2 if magic[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > LARGEST_HEADER:
        raise ValueError(f"its header claims {length} bytes")
    found = HEADER.fullmatch(file.read(length).decode("latin-1"))
    if not found:
        raise ValueError("its header does not describe an array of numbers")
    order, kind, size, fortran_order, dims = found.groups()
    shape = tuple(int(n.strip().rstrip("L")) for n in dims.split(",") if n.strip())
    if len(shape) > 32:
        raise ValueError(f"its header claims {len(shape)} dimensions")
    dtype = np.dtype(object if kind == "O" else order + kind + size)
    if dtype.itemsize == 0 and 0 not in shape and prod(shape) > 1:
        raise ValueError("its numbers have no size")
    return shape, fortran_order == "True", dtype


def _fill(array, file):
    """The rest of a zip entry as the numbers of a contiguous array.   -> array"""
    left = memoryview(array.reshape(-1).view(np.uint8)) if array.nbytes else memoryview(b"")
    while len(left):
        piece = file.read(min(len(left), PIECE))
        if not piece:
            raise EOFError("it ends too early")
        left[: len(piece)] = piece
        left = left[len(piece) :]
    if file.read(1):  # at the end of an entry zipfile compares the checksum
        raise ValueError("it goes on after its end")
    return array
