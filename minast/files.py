"""Files: written completely or not at all, and where the cache is."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import Error


def cache_folder() -> Path:
    """The folder for cached features and compiled kernels.

    It is $MINAST_CACHE if that is set, else `minast` inside $XDG_CACHE_HOME or ~/.cache. It need not exist.
    """
    own = os.environ.get("MINAST_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minast"


@contextlib.contextmanager
def atomic(path: str | os.PathLike, mode: str = "wb", **options) -> Iterator[IO]:
    """A new file that becomes `path` only if the block ends without an exception: no reader ever sees half a file.

        with atomic("scores.csv", "w", encoding="utf-8") as f:
            f.write(text)

    mode: "w" or "wb"; options: those of `open`. The data go to a temporary file in the same folder, since renaming is
    atomic only within a file system. Permissions follow the umask, as with `open`. Raises minast.Error if the folder
    cannot be written to or the disk is full; the old file, if there was one, then stays as it was.
    """
    path = os.fspath(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.urandom(6).hex()}.part")
    try:
        with open(temporary, mode.replace("w", "x"), **options) as f:  # "x": the file is new, or the call fails
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise Error(f"{path} cannot be written: {error.strerror or error}.") from None
    finally:
        with contextlib.suppress(OSError):  # after the renaming there is none
            os.unlink(temporary)


def writable_folder(path: str | os.PathLike) -> str | os.PathLike:
    """Create the folder if necessary and test that it can be written to.   -> path

    Raises minast.Error if not: now, and not after an hour of training.
    """
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise Error(f"the output folder {path} cannot be written to: {error.strerror or error}.") from None
    return path
