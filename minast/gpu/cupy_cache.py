"""Where CuPy keeps compiled kernels. It loads them without question, so the folder must be the user's alone."""

import functools
import os
import sys
from pathlib import Path

from ..console.say import note
from ..errors import Error
from ..storage.cache import check_private, private_folder

VARIABLE = "CUPY_CACHE_DIR"  # read by CuPy when it is imported (14.2), or whenever it compiles; else the folder below
DEFAULT = "~/.cupy/kernel_cache"


@functools.cache
def check_cupy_cache() -> None:
    """`safe_folder`, with its sentence as a note. To be called before CuPy compiles or loads a kernel."""
    if said := safe_folder():
        note(said)


@functools.cache
def safe_folder() -> str:
    """See to it that CuPy's folder is safe; to be called before CuPy is imported.   -> what the user should know, or ""

    A folder that does not exist is made for the user alone. Where others may write to it, or it belongs to somebody
    else, CuPy gets the folder `cupy` in minast's cache instead, for this process. Raises minast.Error if that cannot be
    used either.
    """
    named = os.environ.get(VARIABLE) or os.path.expanduser(DEFAULT)
    if not os.path.isabs(named):  # "~" stays where there is no home folder: CuPy would make a folder of that name
        _use(private_folder("cupy"))
        return ""
    try:
        Path(named).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(named).mkdir(mode=0o700, exist_ok=True)
        check_private(named)
    except Error as error:
        own = private_folder("cupy")
        _use(own)
        return f"CuPy's kernels are kept in {own}: {error}"
    except OSError:
        _use(private_folder("cupy"))
    return ""


def _use(folder: Path) -> None:
    """Let CuPy keep its kernels there, also if it was imported before, by the program around us."""
    os.environ[VARIABLE] = os.fspath(folder)
    compiler = sys.modules.get("cupy.cuda.compiler")
    if hasattr(compiler, "_set_kernel_cache_backend"):
        compiler._set_kernel_cache_backend(compiler._DiskKernelCacheBackend(os.fspath(folder)))
