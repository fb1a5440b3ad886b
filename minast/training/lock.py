"""A lock on a training run's folder: of two runs that want the same one, the second is refused.

The operating system holds it for the process and releases it when the process ends, also when it is killed: there is no
file to be left behind, no process number to be mistaken for another's. Linux and macOS lock the folder itself; Windows
has a file beside it, which it deletes with its last handle.
"""

import errno
import os
from contextlib import ExitStack

from .. import cli
from ..errors import Error
from ..text import visible

ENDING = ".minast-lock"  # of the file's name, on Windows
NO_LOCKS = ("EBADF", "ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL")  # what such file systems answer


def lock(folder: str | os.PathLike, leaving: ExitStack) -> None:
    """Lock an existing folder until `leaving` is left. Raises minast.Error if another run has it.

    Where the file system has no locks, as on some network drives, a note says so.
    """
    try:
        number = _locked_file(folder) if os.name == "nt" else _locked_folder(folder)
    except (BlockingIOError, FileExistsError):
        raise Error(
            f"another training run is writing to {visible(os.fspath(folder))}: wait until it has ended, stop it, or "
            "choose another folder with --out."
        ) from None
    except OSError as error:
        if errno.errorcode.get(error.errno) not in NO_LOCKS:
            raise Error(f"{visible(os.fspath(folder))} cannot be opened: {error.strerror or error}.") from None
        cli.note(f"{folder} is on a drive without locks: make sure that no other run writes to it.")
    else:
        leaving.callback(os.close, number)


def _locked_folder(folder):
    import fcntl

    while True:
        number = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(number), os.stat(folder)):
                return number
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # a run that failed removed it just now, and somebody made another


def _locked_file(folder):
    return os.open(os.path.abspath(folder) + ENDING, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_TEMPORARY)
