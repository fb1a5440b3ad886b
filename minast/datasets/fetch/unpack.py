"""Archives, unpacked whole or not at all, and nowhere but into their folder.

Only files and folders come out of an archive. One whose names lead out of the folder, are given twice, or whose content
is far larger than the archive is refused as a whole; links and special files are left out.
"""

import contextlib
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from ...errors import Error
from ...text import control, visible

GROWTH = 20  # times larger than the archive: nothing but an attack is
ROOM = 10**8  # bytes that may come out of any archive
BLOCK = 2**20  # bytes
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error)
DAMAGED += (EOFError, RuntimeError, ValueError)

Member = tuple[str, IO[bytes] | None]  # its name, its content; None: a folder


class Unusable(Error):
    """An archive that is damaged, that is none, or that does what no data set does."""


@contextlib.contextmanager
def unpacked(archive: str, folder: str, label: str = "") -> Iterator[tuple[str, int]]:
    """The content of a .zip or .tar.gz in a new folder, which becomes `folder` if the block ends without an exception.

    label: what the archive is called in errors, if that is not its path. A single folder that holds everything is left
    away. `folder` may be there if it is empty. What a killed process has left in FOLDER.unpacking is removed.
    -> where the content is until then, how many links and special files were left out
    Raises Unusable, and minast.Error for a full disk; nothing then stays behind.
    """
    label, temporary = visible(label or archive), f"{folder}.unpacking"
    try:
        with _in_words(label, folder):
            shutil.rmtree(temporary, ignore_errors=True)
            os.mkdir(temporary)
            left_out = _unpack(archive, temporary, label)
            inside = [os.path.join(temporary, name) for name in os.listdir(temporary)]
        content = inside[0] if len(inside) == 1 and os.path.isdir(inside[0]) else temporary
        yield content, left_out
        with _in_words(label, folder):
            if os.path.isdir(folder):
                os.rmdir(folder)  # only if it is empty
            os.rename(content, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _in_words(label, folder):
    """What goes wrong, as sentences."""
    try:
        yield
    except Error:
        raise
    except DAMAGED as error:
        raise Unusable(f"{label}: this archive is damaged: {visible(str(error)) or type(error).__name__}.") from None
    except OSError as error:
        raise Error(f"{visible(folder)} cannot be written: {error.strerror or error}.") from None


def _unpack(archive, folder, label):
    """-> how many links and special files were left out"""
    from tqdm import tqdm

    size, left_out, taken = os.path.getsize(archive), 0, 0
    most = ROOM + GROWTH * size
    with (
        open(archive, "rb") as f,
        tqdm(total=size, desc="unpacking", unit="B", unit_scale=True, disable=None, leave=False) as bar,
    ):
        for member in _zip(f) if f.read(2) == b"PK" else _tar(f, label):
            if member is None:
                left_out += 1
                continue
            name, content = member
            path = os.path.join(folder, *_parts(name, label))
            if content is None:
                os.makedirs(path, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                with open(path, "xb") as out:
                    while block := content.read(BLOCK):
                        taken += len(block)
                        if taken > most:
                            raise Unusable(f"{label}: this archive unpacks to more than {most / 1e9:.1f} GB: refused.")
                        out.write(block)
            except FileExistsError:
                raise Unusable(f"{label}: this archive has {visible(name, 120)!r} twice: refused.") from None
            bar.update(f.tell() - bar.n)
    return left_out


def _parts(name, label):
    """The parts of a member's path, or minast.Error if it leads out of the folder."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    outside = name.startswith(("/", "\\")) or ".." in parts or any(":" in part for part in parts)
    if outside or control(name) or (not parts and name.strip("./\\")):
        raise Unusable(f"{label}: this archive holds {visible(name, 120)!r}, which leads out of its folder: refused.")
    return parts


def _zip(f):
    """The members of a .zip; None for a link or a special file."""
    with zipfile.ZipFile(f) as found:
        for info in found.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                yield info.filename, None
            elif kind not in (0, stat.S_IFREG):
                yield None
            else:
                with found.open(info) as content:  # the checksum is compared at its end
                    yield info.filename, content


def _tar(f, label):
    """The members of a .tar.gz; None for a link or a special file."""
    f.seek(0)
    if f.read(2) != b"\x1f\x8b":
        raise Unusable(f"{label}: this is neither a .zip nor a .tar.gz archive.")
    f.seek(0)
    with gzip.open(f) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as found:
            for info in found:
                if info.isdir():
                    yield info.name, None
                elif not info.isreg():
                    yield None
                else:
                    yield info.name, found.extractfile(info)
        while stream.read(BLOCK):  # to its end, where the checksum is
            pass
