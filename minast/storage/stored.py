"""A stored file before its content is believed: that it is there and whole, and what it is if not what was expected.

Archives (.npz and the .pth of today are zips) are opened here and nowhere else: their list of members is compared with
the file before any memory is asked for what it claims.
"""

import contextlib
import errno
import os
import zipfile
from collections.abc import Iterator
from typing import IO

from ..errors import Error, reason
from ..text import visible
from .files import absent
from .signatures import SOUNDS, recognised

LARGEST_RATIO = 64  # of what is unpacked to bytes on disk; weights shrink by 1.1, a description by about 20
SMALL = 2**26  # bytes: what an archive may unpack to, however small it is
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy.savez and savez_compressed write
LONGEST_NAME = 500  # characters of a member's or array's name; those of Hugging Face have up to about 100
EXTENTS = 1000  # pieces of a sparse file that are counted


@contextlib.contextmanager
def decoding(what: str, then: str = "the file is damaged") -> Iterator[None]:
    """Whatever a decoder raises becomes minast.Error: "WHAT (its reason): THEN."

    Which exceptions a library raises for damaged bytes is written nowhere; zipfile alone is known for twelve kinds. So
    all are caught here, around calls of decoders and nothing else. MemoryError stays: it is about the machine.
    """
    try:
        yield
    except (Error, MemoryError):
        raise
    except Exception as error:
        raise Error(f"{what} ({visible(reason(error), 200)}): {then}.") from None


def first_bytes(path: str | os.PathLike, count: int) -> bytes:
    """The beginning of a file. Raises minast.Error that helps if it cannot be opened, or is mostly a hole."""
    path = os.fspath(path)
    if not os.path.lexists(path):
        raise Error(absent(path))
    if os.path.exists(path) and not os.path.isfile(path):  # to open a pipe would wait for its writer
        raise Error(f"{path}: this is no regular file: weights are read from a file on disk.")
    try:
        refuse_holes(path)
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as error:
        raise Error(f"{path}: this cannot be opened: {error.strerror or error}.") from None


def unlike(start: bytes) -> str | None:
    """What a file is that begins like this and is no file of weights, and what to do; None if that is not known."""
    if not start:
        return "this file is empty: download or copy it again"
    if found := recognised(start) or recognised(start, SOUNDS):
        return f"this is not a file of weights: it is {found}"
    return None


def refuse_holes(path: str | os.PathLike) -> None:
    """Raises minast.Error for a large file of which almost nothing was ever written, as downloads leave it behind."""
    size = os.path.getsize(path)
    if size > SMALL and size > LARGEST_RATIO * bytes_on_disk(path):
        raise Error(
            f"{path}: of its {size} bytes almost none were ever written: the download or copy is incomplete, repeat it."
        )


def bytes_on_disk(path: str | os.PathLike) -> int:
    """The bytes of a file that are no holes; its size where the system cannot tell."""
    size, total, at = os.path.getsize(path), 0, 0
    if not hasattr(os, "SEEK_DATA"):  # Windows
        return size
    with open(path, "rb", buffering=0) as file:
        for _ in range(EXTENTS):
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
                at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            except OSError as error:  # ENXIO: there is no data behind `at`
                return total if error.errno == errno.ENXIO else size
            total += at - begin
    return size


def open_zip(path: str | os.PathLike, file: IO[bytes], kind: str) -> zipfile.ZipFile:
    """A zip whose members are stored or deflated, no more than one of a name, and no larger than the file can hold.

    kind: of file, in words. Raises minast.Error if it is no such archive.
    """
    with decoding(f"{path}: this is not a complete {kind} file", "it is truncated or has another format"):
        archive = zipfile.ZipFile(file)
    members, names = archive.infolist(), set()
    for member in members:
        if member.compress_type not in METHODS:
            raise Error(
                f"{path}: {visible(member.filename, 80)!r} is packed by method {member.compress_type}: only stored and "
                "deflated members are read."
            )
        if len(member.filename) > LONGEST_NAME:
            raise Error(f"{path}: a member's name has {len(member.filename)} characters: the file is damaged.")
        if member.filename in names:
            raise Error(f"{path}: it has two members {visible(member.filename, 80)!r}: the file is damaged.")
        names.add(member.filename)
    packed, whole = sum(member.compress_size for member in members), sum(member.file_size for member in members)
    size = os.fstat(file.fileno()).st_size
    if packed > size:
        raise Error(f"{path}: its members claim {packed} bytes, the file has {size}: it is truncated or damaged.")
    if whole > max(SMALL, LARGEST_RATIO * size):
        raise Error(
            f"{path}: it would unpack to {whole} bytes, more than {LARGEST_RATIO} times its size of {size}: weights do "
            "not, it was refused."
        )
    return archive
