"""Writing files whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path

from .errors import Error

UMASK = os.umask(0o077)  # it can only be read by setting it, which is safe here, while there is one thread
os.umask(UMASK)


def cache_folder():
    """Where features and compiled kernels are kept: $MINAST_CACHE, else minast in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("MINAST_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minast"


@contextlib.contextmanager
def atomic(path, mode="wb", **options):
    """A file to write to that becomes `path` only when the block ends well: no reader ever sees half of it.

    The temporary file lies in the same folder, so that renaming it is one step. A folder that cannot be written to, or
    a full disk, raises minast.Error, and what stood at `path` before stays.
    """
    path = os.fspath(path)
    folder = os.path.dirname(path) or "."
    temporary = None
    try:
        fd, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.", suffix=".part")
        with os.fdopen(fd, mode, **options) as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.chmod(temporary, 0o666 & ~UMASK)  # mkstemp makes private files
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise Error(f"{path} cannot be written: {error.strerror or error}.") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def writable_folder(path):
    """Make the folder if need be, and fail now, with minast.Error, rather than after an hour of training."""
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise Error(f"the output folder {path} cannot be written to: {error.strerror or error}.") from None
    return path
