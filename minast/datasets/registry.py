"""Data sets that are known by name. Each registers itself in its own file; commands and help texts read `SOURCES`."""

from collections.abc import Callable
from dataclasses import dataclass

from ..text import listed
from .common import Dataset


@dataclass(frozen=True)
class Download:
    """Where the archive of a data set is published, and what is known about it."""

    url: str  # of a .zip or .tar.gz
    licence: str
    clips: int  # how many it holds: what is unpacked is counted
    size: int | None = None  # bytes
    sha256: str | None = None  # only from a source that documents it; None: what came is recorded, not compared


@dataclass(frozen=True)
class Source:
    """A data set that is given as NAME or NAME:PATH."""

    name: str
    title: str  # for people
    read: Callable[[str, int], Dataset]  # (path, seed) -> clips, with a split, with a fold, or with neither
    path: bool = True  # whether a path follows the name
    folds: tuple[int, ...] = ()  # numbers of its folds; one of them is the test set
    recognise: Callable[[str], bool] | None = None  # whether a folder that was given without the name looks like it
    download: Download | None = None  # for `data get`

    @property
    def usage(self) -> str:
        """How it is given: "builtin", "fsdd:PATH"."""
        return f"{self.name}:PATH" if self.path else self.name


SOURCES: dict[str, Source] = {}  # by name


def register(source: Source) -> None:
    """Make a data set known. Raises ValueError for a name that is taken."""
    if source.name in SOURCES:
        raise ValueError(f"there are two data sets called {source.name!r}")
    SOURCES[source.name] = source


def data_help() -> str:
    """What DATA may be, for help texts and errors."""
    named = [source.usage for source in SOURCES.values() if source.path]
    alone = [source.usage for source in SOURCES.values() if not source.path]
    return listed([*alone, "a folder", "a .csv manifest", *named])


def titles() -> str:
    """A line for each data set: how it is given, and what it is."""
    width = max(len(source.usage) for source in SOURCES.values())
    return "\n".join(f"  {source.usage:{width}}  {source.title}" for source in SOURCES.values())


def fold_help() -> str:
    """What --fold is for."""
    own = listed([f"{s.name}: {s.folds[0]} to {s.folds[-1]}" for s in SOURCES.values() if s.folds], "and")
    return f"test fold of data that come in folds ({own}; folders fold1, fold2 ...; a manifest's column fold)"
