"""The cache on disk: where it is, and whether what lies in it can be trusted.

What is read from it is used without question: features become inputs, libraries are loaded and run. So its folders must
belong to the user (or to root, who can do anything anyway), and nobody else may write to them.
"""

import functools
import os
import stat
import tempfile
from pathlib import Path

from ..console.say import note
from ..errors import Error
from ..text import visible
from .files import remove_stale


def cache_folder() -> Path:
    """The folder for cached features and compiled kernels. It need not exist.

    It is $MINAST_CACHE if that is set, else `minast` inside $XDG_CACHE_HOME or ~/.cache. A user without a home folder
    has it in the folder for temporary files, under the user's number.
    """
    if own := os.environ.get("MINAST_CACHE"):
        return Path(own)
    above = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(above):  # relative ones are invalid: XDG Base Directory Specification, "Basics"
        return Path(above, "minast")
    try:
        return Path.home() / ".cache" / "minast"
    except RuntimeError:  # no $HOME, and the system does not know this user
        return _without_home()


@functools.cache
def _without_home():
    """A folder among the temporary ones. Its name can be foreseen: `private_folder` checks whose it is."""
    folder = Path(tempfile.gettempdir(), f"minast-{os.getuid() if hasattr(os, 'getuid') else 'cache'}")
    note(f"this user has no home folder: the cache is {visible(str(folder))}. Set MINAST_CACHE to choose another.")
    return folder


def private_folder(name: str, sweep: bool = True) -> Path:
    """The folder `name` inside the cache, made if necessary for the user alone (mode 0700).

    Raises minast.Error if it cannot be made, and if it or a folder in it belongs to somebody else or is one that others
    may write to. Temporary files that killed processes left in it are removed; sweep: also those in folders in it.
    """
    folder = cache_folder()
    try:
        for each in reversed(folder.parents):
            each.mkdir(mode=0o700, exist_ok=True)
        for each in (folder, folder / name):
            each.mkdir(mode=0o700, exist_ok=True)
            check_private(each)
    except OSError as error:
        raise Error(
            f"the cache folder {visible(str(folder))} cannot be made: {error.strerror or error}. "
            "Set MINAST_CACHE to a folder of your own."
        ) from None
    remove_stale(folder / name)
    for each in _folders_in(folder / name):
        check_private(each)
        if sweep:
            remove_stale(each)
    return folder / name


def _folders_in(folder):
    with os.scandir(folder) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def check_private(path: str | os.PathLike) -> None:
    """Raise minast.Error if a file or folder belongs to somebody else, or if others may write to it."""
    if os.name != "posix":  # elsewhere permissions say nothing, and the cache lies in the user's own folder
        return
    found, shown = os.stat(path), visible(os.fspath(path))
    if found.st_uid not in (os.geteuid(), 0):
        raise Error(
            f"the cache {shown} belongs to another user (number {found.st_uid}), who could have put anything into it: "
            "remove it, or set MINAST_CACHE to a folder of your own."
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Error(
            f"other users may write to the cache {shown}, and could have put anything into it: remove it, or, if you "
            f"trust them, chmod go-w it."
        )
