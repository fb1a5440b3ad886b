"""Which recordings a command is about: files, folders, patterns, addresses, and lists of them."""

import glob
import os
import sys
from collections.abc import Callable, Iterator

from .. import audio
from ..console.say import note
from ..datasets.common import Skipped
from ..datasets.tree import scan
from ..errors import Error
from ..text import visible
from . import remote

LEFT_OUT = {  # of a folder, and said: kinds of `tree.Folder`
    "convertible": "files that need conversion",
    "unknown": "files of a kind that is not read",
    "hidden": "hidden files",
    "broken": "broken links or special files",
}


def recordings(arguments: list[str], complain: Callable[[Error], object]) -> list[tuple[str, int]]:
    """The recordings that the arguments name, each once, in their order.   -> [(path or address, bytes)]

    An argument is an audio file, a folder that is searched with all below it, a pattern such as 'a/**/*.wav', an
    address that fsspec knows (s3://...), or "-": a list on standard input, one of these a line, or with a zero byte
    behind each, as find -print0 writes them. Files named on their own need not exist: whoever opens them says so.
    Everything else that is wrong goes to `complain`, and costs no other argument. Raises minast.Error if there is no
    recording at all.
    """
    found = {}
    for argument in _with_lists(arguments):
        try:
            for path, size in _named(argument, complain):
                found.setdefault(path, size)
        except Error as error:
            complain(error)
    if not found:
        raise Error("there is no recording to read: name audio files, or folders that hold some.")
    return list(found.items())


def _with_lists(arguments) -> Iterator[str]:
    for argument in arguments:
        if argument == "-":
            bytes_of = getattr(sys.stdin, "buffer", None)  # names are bytes, and need not be text in any encoding
            listed = os.fsdecode(bytes_of.read()) if bytes_of else sys.stdin.read()
            zeros = "\0" in listed
            yield from filter(None, listed.split("\0") if zeros else (line.rstrip("\r") for line in listed.split("\n")))
        else:
            yield argument


def _named(argument, complain):
    if remote.is_remote(argument):
        files = remote.listed(argument, audio.readable())
    elif os.path.isdir(argument):
        files = [(path, size_of(path)) for path in _in_folder(argument, complain)]
    elif glob.has_magic(argument) and not os.path.lexists(argument):
        matches = sorted(glob.glob(argument, recursive=True))
        files = [(path, size_of(path)) for path in matches if not os.path.isdir(path)]
        if not files:
            raise Error(f"{visible(argument)}: no file matches this pattern: check the folder and the spelling.")
    else:
        files = [(argument, size_of(argument))]
    if not files:
        raise Error(f"{visible(argument)}: there are no audio files in this folder.")
    return files


def _in_folder(path, complain):
    """The audio files of a folder and its sub-folders; what else may be sound is said."""
    top = scan(path, complain)
    for kind, what in LEFT_OUT.items():
        if left := top.all(kind):
            note(f"{path}: left out: {Skipped(what, tuple(os.path.relpath(each, path) for each in left))}.")
    return top.all("sounds")


def size_of(path: str) -> int:
    """Bytes of a file; 0 if it cannot be asked."""
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0
