"""What lies in a folder: sounds, sub-folders, and files that are left out.

A file counts by its suffix. Folders behind symbolic links are read once, after all real folders, so that neither a loop
nor a second way to the same folder yields a clip twice.
"""

import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .. import audio
from ..errors import Error
from ..text import visible

# what lies beside sounds and is none: a folder of these alone is no class that lost its sounds
BESIDE = (".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".pdf", ".docx")
BESIDE += (".png", ".jpg", ".jpeg", ".gif", ".svg", ".py", ".ipynb", ".m", ".r", ".sh", ".log", ".lab", ".textgrid")
BESIDE += (".npy", ".npz", ".pkl", ".mat", ".h5", ".zip", ".gz", ".tar", ".7z", ".xls", ".xlsx", ".ini", ".db")
TABLES = (".csv", ".tsv")
SYSTEM = ("__macosx", "$recycle.bin", "system volume information")  # folders of operating systems


@dataclass
class Folder:
    """A folder: the paths of its files by kind, and its sub-folders, sorted by name."""

    path: str
    sounds: list[str] = field(default_factory=list)
    convertible: list[str] = field(default_factory=list)  # sound in a format that must be converted first
    unknown: list[str] = field(default_factory=list)  # any other suffix
    beside: list[str] = field(default_factory=list)  # texts, tables, pictures
    hidden: list[str] = field(default_factory=list)  # such as a Mac's ._a.wav, if they are named like sounds
    broken: list[str] = field(default_factory=list)  # links to nothing, pipes, devices
    again: list[str] = field(default_factory=list)  # links to folders that are read elsewhere
    system: list[str] = field(default_factory=list)  # folders such as __MACOSX
    folders: list["Folder"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return os.path.basename(os.path.abspath(self.path))

    def walk(self) -> Iterator["Folder"]:
        """The folder itself and all below it, each before its sub-folders."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += reversed(folder.folders)

    def all(self, kind: str) -> list[str]:
        """The paths of one kind of file, such as "sounds", in the folder and below it."""
        return [path for folder in self.walk() for path in getattr(folder, kind)]

    def holds(self, *kinds: str) -> bool:
        """Whether there is a file of these kinds in it or below it."""
        return any(getattr(folder, kind) for folder in self.walk() for kind in kinds)


def scan(path: str, report: Callable | None = None) -> Folder:
    """All that is in a folder and below it. Hidden folders (their names begin with a dot) are not entered.

    A folder that cannot be read raises minast.Error, or is left out after `report` was called with that error.
    """
    top = Folder(os.fspath(path))
    seen, links, waiting = set(), [], [top]
    while waiting or links:
        if not waiting:
            parent, child = links.pop(0)
            if _identity(child.path) in seen:
                parent.again.append(child.path)
                continue
            parent.folders = sorted([*parent.folders, child], key=lambda folder: folder.path)
            waiting.append(child)
        folder = waiting.pop()
        seen.add(_identity(folder.path))
        links += _read(folder, report)
        waiting += folder.folders
    return top


def _identity(path):
    try:
        found = os.stat(path)
    except OSError:
        return path
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


def _read(folder, report):
    """Fill a folder with its own files and real sub-folders.   -> [(folder, child)] for those behind links"""
    links = []
    try:
        with os.scandir(folder.path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        sentence = Error(f"{visible(folder.path)}: this folder cannot be read: {error.strerror or error}.")
        if report is None:
            raise sentence from None
        report(sentence)
        return links
    readable = audio.readable()
    for entry in entries:
        suffix = os.path.splitext(entry.name)[1].lower()
        if _is(entry.is_dir):
            if entry.name.lower() in SYSTEM:
                folder.system.append(entry.path)
            elif not entry.name.startswith("."):
                if entry.is_symlink():
                    links.append((folder, Folder(entry.path)))
                else:
                    folder.folders.append(Folder(entry.path))
        elif entry.name.startswith("."):
            if entry.name.lower().endswith(audio.EXTENSIONS + audio.CONVERTIBLE):
                folder.hidden.append(entry.path)
        elif not _is(entry.is_file):
            folder.broken.append(entry.path)
        elif suffix in readable:
            folder.sounds.append(entry.path)
        elif suffix in audio.CONVERTIBLE:
            folder.convertible.append(entry.path)
        elif suffix in BESIDE or entry.name.lower() in ("thumbs.db", "desktop.ini", "readme", "license"):
            folder.beside.append(entry.path)
        else:
            folder.unknown.append(entry.path)
    return links


def _is(kind):
    """Whether an entry is a folder, or a file; a link that leads to itself, or where nobody may look, is neither."""
    try:
        return kind()
    except OSError:
        return False


def by_name(top: Folder) -> dict[str, list[str]]:
    """The sounds below a folder by file name (NFC, lower case) and by name without suffix, for look-ups."""
    found = {}
    for path in top.all("sounds"):
        name = unicodedata.normalize("NFC", os.path.basename(path)).lower()
        for key in {name, os.path.splitext(name)[0]}:
            found.setdefault(key, []).append(path)
    return found
