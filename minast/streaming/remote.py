"""Recordings that lie elsewhere, such as s3://bucket/a.wav: listed and fetched through fsspec, where it is
installed."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator

from ..errors import Error, reason
from ..text import visible

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: c:// is a drive


def is_remote(path: str) -> bool:
    """Whether this is an address, such as s3://..., rather than a path."""
    return ADDRESS.match(path) is not None


def listed(address: str, suffixes: tuple[str, ...]) -> list[tuple[str, int]]:
    """The recordings at an address: a file, a pattern, or all below a folder.   -> [(address, bytes)], sorted

    suffixes: of what counts as a recording in a folder. Raises minast.Error if nothing can be read there.
    """
    with _saying(address):
        system, path = _system(address)
        if any(c in path for c in "*?["):
            found = system.glob(path, detail=True)
        elif system.isdir(path):
            below = system.find(path, detail=True)
            found = {name: about for name, about in below.items() if name.lower().endswith(suffixes)}
        else:
            found = {path: system.info(path)}
        files = sorted((name, about) for name, about in found.items() if about.get("type") != "directory")
        return [(system.unstrip_protocol(name), int(about.get("size") or 0)) for name, about in files]


@contextlib.contextmanager
def local(path: str) -> Iterator[str]:
    """A path on this machine: the path itself, or a copy of what is at an address, which goes when the block ends."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="minast-") as folder:
        copy = os.path.join(folder, "recording" + os.path.splitext(path.partition("?")[0])[1][:12])
        with _saying(path):
            system, inside = _system(path)
            system.get_file(inside, copy)
        yield copy


def _system(address):
    """-> fsspec's file system, the path in it"""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise Error(f"{visible(address)}: addresses are read through fsspec: pip install fsspec.") from None
    return url_to_fs(address)


@contextlib.contextmanager
def _saying(address):
    """minast.Error with the address for whatever a file system raises: each has exceptions of its own."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        why = "there is nothing here" if isinstance(error, FileNotFoundError) else reason(error)
        raise Error(f"{visible(address)}: this cannot be read: {why}.") from None
