"""Files: written completely or not at all, and checked before long work whether they can be written."""

import contextlib
import glob
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

from ..errors import Error, reason
from ..text import visible

PART = re.compile(r"\.minast-[0-9a-f]{12}\.part")  # a file that is being written, whatever it will be called
DESCRIPTOR = re.compile(r"/dev/(stdout|stderr|fd/\d+)|/proc/[^/]+/fd/\d+")  # names of streams that are open already


def absent(path: str, what: str = "file") -> str:
    """The sentence for a path at which nothing is, which may be a pattern that the shell handed on."""
    if not glob.has_magic(path) or "\0" in path:
        return f"{path}: there is no such {what}."
    if next(glob.iglob(path), None) is not None:
        return f"{path}: the shell did not expand this pattern: write it without quotes."
    return f"{path}: there is no such {what}, and no file matches this pattern: check the folder and the spelling."


def common_folder(folders: Iterable[str]) -> str:
    """The absolute path of the deepest folder that all these are in; "" without any, and for several drives."""
    try:
        return os.path.commonpath([os.path.abspath(folder) for folder in folders])
    except ValueError:
        return ""


def below(path: str, folder: str) -> str:
    """A path as it is from a `common_folder`; the absolute path where that is ""."""
    return os.path.relpath(os.path.abspath(path), folder) if folder else os.path.abspath(path)


@contextlib.contextmanager
def atomic(
    path: str | os.PathLike, mode: str = "wb", private: bool = False, sync: bool = True, **options
) -> Iterator[IO]:
    """A new file that becomes `path` only if the block ends without an exception: no reader ever sees half a file.

        with atomic("scores.csv", "w", encoding="utf-8") as f:
            f.write(text)

    mode: "w" or "wb"; options: those of `open`. The data go to a temporary file in the same folder, since renaming is
    atomic only within a file system; both file and folder are then synced, so that the file outlives a power cut.
    sync: False saves that time, for what can be made again. A symbolic link stays, and the file it points to is
    replaced. A file that was there passes its permissions on, and its owner and group where that is allowed; those of
    a new one follow the umask, as with `open`, or are the owner's alone if it is `private`. Pipes and character
    devices, such as /dev/stdout and /dev/null, are written into.

    Raises minast.Error if the file cannot be written or the disk is full; the old file then stays as it was.
    """
    path = os.fspath(path)
    try:
        old = _what_is_at(path)
        if _is_stream(path, old):
            with open(path, mode, **options) as f:
                yield f
            return
        target = os.path.realpath(path)
        folder = os.path.dirname(target)
        number, temporary = _new_part(folder, old, private)
        try:
            with open(number, mode, **options) as f:
                yield f
                f.flush()
                if sync:
                    os.fsync(number)
                if os.name != "nt":  # while the lock is held, so that `remove_stale` leaves it alone
                    os.replace(temporary, target)
            if os.name == "nt":  # an open file cannot be renamed there
                os.replace(temporary, target)
        finally:
            with contextlib.suppress(OSError):  # after the renaming there is none
                os.unlink(temporary)
        if sync:
            _sync_folder(folder)
    except OSError as error:
        raise Error(f"{visible(path)} cannot be written: {_why(path, error)}.") from None


def writable_file(path: str | os.PathLike) -> str | os.PathLike:
    """Test, before long work, that `atomic` can write this file; nothing is changed.   -> path

    Raises minast.Error for a folder, a missing or read-only folder above it, a write-protected file, a name that is
    too long, and for what is neither a file nor a stream.
    """
    name = os.fspath(path)
    if not name:
        raise Error("the name of the file to write is empty.")
    try:
        old = _what_is_at(name)
        if not _is_stream(name, old):
            folder = os.path.dirname(os.path.realpath(name))
            with tempfile.TemporaryFile(dir=folder):
                pass
            remove_stale(folder)
    except OSError as error:
        raise Error(f"{visible(name)} cannot be written: {_why(name, error)}.") from None
    return path


def writable_folder(path: str | os.PathLike) -> str | os.PathLike:
    """Create the folder if necessary and test that it can be written to.   -> path

    Raises minast.Error if not: now, and not after an hour of training.
    """
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        shown = visible(os.fspath(path))
        raise Error(f"the output folder {shown} cannot be written to: {error.strerror or error}.") from None
    remove_stale(path)
    return path


def remove_stale(folder: str | os.PathLike) -> None:
    """Remove the temporary files in a folder that killed processes left there.

    Whoever writes one holds a lock on it (`try_lock`). Where there are no locks, Windows removes none that is open, and
    elsewhere all are kept.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if PART.fullmatch(name):
                _remove_unless_locked(os.path.join(folder, name))


def try_lock(number: int) -> bool | None:
    """Lock an open file or folder until it is closed, which the system does when the process ends, however it ends.

    number: its file descriptor -> True; False: somebody else has the lock; None: there are none here, as on Windows and
    some network drives.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


# -- steps ---------------------------------------------------------------------------------------------------------


def _what_is_at(path):
    """os.stat of what may be replaced or written into, None if there is nothing. Raises OSError or Error otherwise."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    kind = found.st_mode
    if stat.S_ISDIR(kind):
        raise Error(f"{visible(path)} is a folder: name the file to write.")
    if stat.S_ISBLK(kind) or stat.S_ISSOCK(kind):
        raise Error(f"{visible(path)} cannot be written: it is a {'disk' if stat.S_ISBLK(kind) else 'socket'}.")
    if not os.access(path, os.W_OK):
        raise PermissionError(0, "it is write-protected")
    return found


def _is_stream(path, found):
    """Whether to write into what is there instead of replacing it: a pipe, a device, an open file of the shell's."""
    return found and (not stat.S_ISREG(found.st_mode) or DESCRIPTOR.fullmatch(os.path.abspath(path)))


def _new_part(folder, old, private):
    """Create and lock a temporary file with the permissions that the target will have.   -> descriptor, path"""
    while True:
        path = os.path.join(folder, f".minast-{os.urandom(6).hex()}.part")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        number = os.open(path, flags, 0o600 if private or old else 0o666)
        if try_lock(number) is not False and (os.name == "nt" or os.fstat(number).st_nlink):
            break
        os.close(number)  # `remove_stale` of another process was faster than the lock
    if old and hasattr(os, "fchmod"):
        os.fchmod(number, _inherited(number, old))
    return number, path


def _inherited(number, old):
    """Give a new file the owner and group of the old one.   -> the permissions it shall have"""
    kept, mode = os.fstat(number), stat.S_IMODE(old.st_mode) & 0o777
    if (kept.st_uid, kept.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(OSError):
            os.fchown(number, -1, old.st_gid)
        with contextlib.suppress(OSError):
            os.fchown(number, old.st_uid, -1)
    if os.fstat(number).st_gid != old.st_gid:  # another group must not get what the old one was allowed
        mode = mode & 0o707 | (mode & 0o007) << 3
    return mode


def _remove_unless_locked(path):
    with contextlib.suppress(OSError):
        if os.name == "nt":  # refused there while the file is open
            os.unlink(path)
            return
        number = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            if try_lock(number):
                os.unlink(path)
        finally:
            os.close(number)


def _sync_folder(folder):
    """Make a renaming last. Some file systems, and Windows, cannot; then it lasts as soon as they see fit."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _why(path, error):
    """The reason in words, as the end of a sentence."""
    folder = os.path.dirname(os.path.realpath(path))
    if isinstance(error, FileNotFoundError) and not os.path.isdir(folder):
        return f"there is no folder {visible(folder)}"
    return visible(error.strerror or reason(error))
