"""A published data set, from its address to a folder that can be trained on."""

import json
import os
from urllib.parse import urlsplit

from ...console.say import note
from ...errors import Error
from ...storage.files import writable_folder
from ...text import counted, listed, visible
from ..registry import SOURCES, Source
from .download import downloaded, remove
from .unpack import Unusable, unpacked

ABOUT = "download.json"  # in the folder: where the data are from
CHECKED = {True: "the published one", False: "recorded, since none is published to compare it with"}


def offered() -> list[str]:
    """The names of data sets that can be fetched."""
    return [name for name, source in SOURCES.items() if source.download]


def get(name: str, out: str | os.PathLike | None = None) -> str:
    """Download, check and unpack a data set.   out: its folder (default: its name, here) -> the folder

    What was checked is printed. Raises minast.Error for a name without an address, a folder that holds something else,
    and as `downloaded` and `unpacked` do. After any of them, or Ctrl-C, the same call goes on where it stopped.
    """
    source = SOURCES.get(name)
    if source is None or source.download is None:
        what = "cannot be downloaded by this command" if source else "is no data set"
        raise Error(f"{visible(name)} {what}: data get fetches {listed(offered())}.")
    folder = os.path.normpath(os.fspath(out or name))
    folder = os.path.realpath(folder) if os.path.islink(folder) else folder
    if os.path.lexists(folder):
        if _came_from(folder) == source.download.url:
            print(f"{visible(folder)} holds it already: {source.title}.")
            return folder
        if not os.path.isdir(folder) or os.listdir(folder):
            raise Error(f"{visible(folder)} is there and holds something else: choose another folder with --out.")
    writable_folder(os.path.dirname(os.path.abspath(folder)))
    return _fetched(source, folder)


def _fetched(source: Source, folder: str) -> str:
    known = source.download
    path = folder + (".zip" if urlsplit(known.url).path.endswith(".zip") else ".tar.gz")
    print(f"{source.title}; licence: {known.licence}\n{known.url}", flush=True)
    try:
        with downloaded(known.url, path, known.size, known.sha256) as (archive, size, sha256):
            print(f"{size} bytes, SHA-256 {sha256}: {CHECKED[known.sha256 is not None]}", flush=True)
            with unpacked(archive, folder, known.url) as (content, links):
                found = _clips(source, content)
                about = {"name": source.name, "url": known.url, "licence": known.licence, "clips": found}
                about |= {"bytes": size, "sha256": sha256, "checked": CHECKED[known.sha256 is not None]}
                with open(os.path.join(content, ABOUT), "w", encoding="utf-8") as f:
                    json.dump(about, f, indent=1)
    except Unusable as error:
        remove(path)
        raise Error(f"{error} It was removed: try again.") from None
    except KeyboardInterrupt:
        note("what has come is kept: the same command goes on from there.")
        raise
    remove(path)
    if links:
        note(f"{counted(links, 'link is', 'links are')} left out: archives may not hold them.")
    if found != known.clips:
        note(f"there are {found} clips, {known.clips} were expected: the published data have changed.")
    print(f"{visible(folder)}: {counted(found, 'clip')}; where they are from is in {ABOUT}")
    return folder


def _clips(source, folder):
    """How many clips the data set's reader finds; Unusable if it finds none."""
    try:
        data = source.read(folder, 0)
    except Error as error:
        raise Unusable(f"{source.download.url}: this archive is not {source.title}: {error}") from None
    return len(data.clips) + len(data.bad)


def _came_from(folder):
    """The address that a folder's content was downloaded from; None if it was not."""
    try:
        with open(os.path.join(folder, ABOUT), encoding="utf-8") as f:
            return json.load(f)["url"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
