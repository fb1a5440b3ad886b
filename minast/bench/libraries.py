"""Libraries to compare with. One that is missing, does not load or crashes on loading costs its rows, not the run."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

from ..errors import Error
from . import child
from .row import Skip, reason


def load(package: str) -> ModuleType:
    """The package, imported. Raises Skip where it is not installed or does not load, with what it said.

    A process of its own imports it first: a library that crashes, say by an instruction that this processor lacks,
    would otherwise end the run.
    """
    if package not in sys.modules:
        if importlib.util.find_spec(package) is None:
            raise Skip(f"{package} is not installed")
        if why := _trouble(package, tuple(sys.path)):
            raise Skip(f"{package} does not load: {why}")
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise Skip(f"{package} is not installed") from None
        raise Skip(f"{package} does not load: {reason(error)}") from None
    except Exception as error:  # OSError of a shared library, and whatever else its code raises
        raise Skip(f"{package} does not load: {reason(error)}") from None


@cache
def _trouble(package, path):
    """ "" or what happened when another process imported the package. path: the sys.path it is found on."""
    try:
        child.python("-c", f"import sys; sys.path[:0] = {list(path)!r}; import {package}")
    except Skip as why:
        return str(why)
    return ""


@contextmanager
def errors_as_skips() -> Iterator[None]:
    """Any exception of a library's (no kernel, no compiler, out of memory) is raised as a Skip with its first line."""
    try:
        yield
    except (Skip, Error):
        raise
    except Exception as error:  # libraries' own errors are of many classes
        raise Skip(reason(error)) from None
