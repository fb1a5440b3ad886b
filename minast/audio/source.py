"""What a file is, by its content, and which reader takes it. Every command that reads sound comes through here."""

import os
import stat
from collections.abc import Iterator

from ..errors import Error
from ..storage.files import absent
from . import chunks, claims, ogg, pyav, readers
from .kinds import RAW, refusal
from .notes import CUT, Note
from .sndfile import Stream, Unreadable


def streams(path: str | os.PathLike, notes: list[Note]) -> Iterator[Stream]:
    """The streams of an audio file, one after another: each has `rate`, `channels` and `blocks()`.

    A stream's blocks must be read to their end before the next stream is asked for. What the user should know is added
    to `notes` on the way. Raises minast.Error, naming the file, for one that is missing or is no sound.
    """
    path = os.fspath(path)
    size = checked(path)
    try:
        with open(path, "rb", buffering=1 << 16) as file:
            yield from _streams(path, file, size, notes)
    except Unreadable as error:
        raise Error(f"{path}: this cannot be decoded as audio ({error}).") from None
    except OSError as error:
        raise Error(f"{path}: this file cannot be read: {error.strerror or error}.") from None


def _streams(path, file, size, notes):
    """By what libsndfile says that the file is; what it cannot open goes to PyAV, if that is installed."""
    head, began = file.read(64), False
    try:
        for stream in _reader(file, head, size)(file, size, notes):
            began = True
            yield stream
    except Unreadable as error:
        if began:
            raise
        yield from _other(path, file, head, str(error), notes)
        if head.startswith(b"OggS") and not notes:  # what PyAV does not say
            wrong = next((link.wrong for link in ogg.links(file, size) if link.wrong), "")
            notes += [Note(CUT, f"damaged or cut short: {wrong}.")] if wrong else []


def _reader(file, head, size):
    """Which of `readers` takes this file. Raises Unreadable."""
    if head.startswith(b"OggS"):
        return readers.ogg_pages
    if head.startswith(claims.SDS) and not claims.whole_sds(file, size):
        raise Unreadable("it is damaged or cut short")  # libsndfile would make noise of it, and print
    sound = chunks.find(file, 0, size)
    mpeg = head.startswith(b"ID3") or head[0] == 0xFF
    view = readers.mpeg_view(file, 0, size) if mpeg else readers.chunk_view(file, 0, size, sound)
    stream = Stream(view)
    stream.file.close()
    return readers.mpeg_audio if stream.format == "MP3" else readers.plain


def _other(path, file, head, why, notes):
    """The tracks that PyAV finds; minast.Error if it finds none, or is not there."""
    raw = path.lower().endswith(RAW)
    if not raw and pyav.installed():
        try:
            yield from pyav.tracks(file, notes)
            return
        except Unreadable as error:
            why = f"{why}; {error}"
    raise Error(f"{path}: {refusal(path, head, why)}")


def checked(path: str) -> int:
    """The size of the file in bytes. Raises minast.Error for what is no file that could hold sound."""
    try:
        about = os.stat(path)
    except FileNotFoundError:
        raise Error(absent(path)) from None
    except (OSError, ValueError) as error:
        raise Error(f"{path}: this file cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if stat.S_ISDIR(about.st_mode):
        files = os.path.join(path, "*.wav")
        raise Error(f"{path}: this is a folder, an audio file is needed: name the files in it, such as {files}.")
    if not stat.S_ISREG(about.st_mode):
        raise Error(f"{path}: this is a device or a pipe, an audio file is needed.")
    if about.st_size == 0:
        raise Error(f"{path}: the file is empty (0 bytes).")
    return about.st_size
