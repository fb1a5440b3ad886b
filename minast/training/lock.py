"""A lock on a training run's folder: of two runs that want the same one, the second is refused.

The operating system holds it for the process and releases it when the process ends, also when it is killed: there is no
file to be left behind, no process number to be mistaken for another's. Linux and macOS lock the folder itself; Windows
has a file beside it, which it deletes with its last handle.
"""

import os
from contextlib import ExitStack

from .. import cli
from ..errors import Error
from ..storage.files import try_lock
from ..text import visible

ENDING = ".minast-lock"  # of the file's name, on Windows


def lock(folder: str | os.PathLike, leaving: ExitStack) -> None:
    """Lock an existing folder until `leaving` is left. Raises minast.Error if another run has it.

    Where the file system has no locks, as on some network drives, a note says so.
    """
    shown = visible(os.fspath(folder))
    try:
        held = _hold_file(folder, leaving) if os.name == "nt" else _hold_folder(folder, leaving)
    except OSError as error:
        raise Error(f"{shown} cannot be opened: {error.strerror or error}.") from None
    if held is False:
        raise Error(
            f"another training run is writing to {shown}: wait until it has ended, stop it, or choose another folder "
            "with --out."
        )
    if held is None:
        cli.note(f"{shown} is on a drive without locks: make sure that no other run writes to it.")


def _hold_folder(folder, leaving):
    """-> as `try_lock`"""
    while True:
        number = os.open(folder, os.O_RDONLY)
        held = try_lock(number)
        if held and os.path.samestat(os.fstat(number), os.stat(folder)):
            leaving.callback(os.close, number)
            return True
        os.close(number)
        if not held:
            return held
        # a run that failed removed the folder just now, and somebody made another: that one is wanted


def _hold_file(folder, leaving):
    """-> as `try_lock`"""
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_TEMPORARY
        leaving.callback(os.close, os.open(os.path.abspath(folder) + ENDING, flags))
    except FileExistsError:
        return False
    return True
