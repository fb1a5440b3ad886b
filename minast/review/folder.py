"""The folder of a page: written beside its place, and renamed when all is there."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable

from ..checkpoint import Info, load
from ..errors import Error, reason
from ..storage.files import PART, atomic, writable_folder
from ..streaming import remote
from ..text import visible
from . import recording
from .page import html

ENDING = ".part"
INDEX, SOUNDS, KEY, ABOUT = "index.html", "sounds", "key.txt", "about.json"


class Page:
    """The page of a scan, that is to be at `folder`.

    Raises minast.Error if the folder cannot be written, or if something else than a page of ours is in it.
    """

    def __init__(self, folder: str):
        self.folder = os.path.abspath(folder)
        self.part, self._model = self.folder + ENDING, None
        if os.path.exists(self.part) and not _is_unfinished(self.part):
            raise Error(
                f"--page {visible(folder)}: the page is made in {visible(self.part)}, and there is something else: "
                "rename that, or name another folder."
            )
        if os.path.exists(self.folder) and not _is_page(self.folder):
            raise Error(
                f"--page {visible(folder)}: there is something here that is no page of a scan: name a new folder."
            )
        writable_folder(os.path.dirname(self.folder))

    def write(self, results: Iterable[tuple[str, dict]], checkpoint: str, digest: str, info: Info, most: int, report):
        """Write the page. Interrupted, it goes on where it was when it is called again with the same events.

        results: each recording and what was found in it, iterated more than once. most: events of each label whose
        relevance is computed, the best first. report: a context manager that goes through recordings and shows how far
        it is. -> the sentences on recordings of which nothing can be shown
        """
        key = _key(results, digest, info)
        self._begin(f"{key} {most}")
        chosen, about, bad = _best(results, most), [], []
        shown = [(i, name, result) for i, (name, result) in enumerate(results) if "error" not in result]
        with report(shown) as left:
            for i, name, result in left:
                try:
                    found = self._recording(i, name, result, chosen.get(i, ()), checkpoint, info)
                except Error as error:
                    bad.append(str(error))
                    found = {"seconds": result["seconds"], "levels": 0, "sound": "", "relevance": {}}
                about.append(found | {"number": i})
        names = [(name, result["events"], about) for (_, name, result), about in zip(shown, about, strict=True)]
        with atomic(os.path.join(self.part, INDEX), "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(html(key[:16], names, info))
        self._end()
        return bad

    def _begin(self, key):
        """Make the folder beside the page's place; what a stopped scan has left there is used if it is of this one."""
        path = os.path.join(self.part, KEY)
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            if file.read() == key:
                for name in filter(PART.fullmatch, os.listdir(self.part)):  # what was half written
                    os.unlink(os.path.join(self.part, name))
                return
        if os.path.exists(self.part):
            shutil.rmtree(self.part)
        writable_folder(os.path.join(self.part, SOUNDS))
        with atomic(path, "w", encoding="ascii") as file:
            file.write(key)

    def _recording(self, i, name, result, chosen, checkpoint, info):
        """Write one recording's folder, unless it is there.   -> what is in it"""
        place = os.path.join(self.part, SOUNDS, f"{i:06}")
        about = os.path.join(place, ABOUT)
        with contextlib.suppress(OSError, ValueError), open(about, encoding="ascii") as file:
            return json.load(file)
        if chosen and self._model is None:
            self._model = load(checkpoint)[0]
        draft = place + ENDING
        shutil.rmtree(draft, ignore_errors=True)
        try:
            os.makedirs(draft)
            events = [(n, *result["events"][n][:3]) for n in chosen]
            with remote.local(name) as path:
                found = recording.write(draft, path, info.features, events, self._model, info)
            with open(os.path.join(draft, ABOUT), "w", encoding="ascii") as file:
                json.dump(found, file)
            os.rename(draft, place)
        except OSError as error:
            raise Error(f"{visible(place)} cannot be written: {error.strerror or reason(error)}.") from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)  # after the renaming there is none
        return json.loads(json.dumps(found))  # as it is when it is read back

    def _end(self):
        """Put the page into its place."""
        old = f"{self.folder}.minast-{os.urandom(6).hex()}{ENDING}"  # a name that is nobody else's
        try:
            if os.path.exists(self.folder):
                os.rename(self.folder, old)
            try:
                os.rename(self.part, self.folder)
            except OSError:
                if os.path.exists(old):
                    os.rename(old, self.folder)
                raise
            os.unlink(os.path.join(self.folder, KEY))  # last: by it an unfinished page is known
        except OSError as error:
            raise Error(f"{visible(self.folder)} cannot be written: {error.strerror or reason(error)}.") from None
        shutil.rmtree(old, ignore_errors=True)


def _is_page(folder):
    """Whether a folder is empty, or has nothing but a page."""
    with contextlib.suppress(NotADirectoryError):
        found = set(os.listdir(folder))
        return not found or (INDEX in found and found <= {INDEX, SOUNDS, KEY})
    return False


def _is_unfinished(folder):
    """Whether a folder has nothing but what a scan that was stopped leaves."""
    with contextlib.suppress(NotADirectoryError):
        found = {name for name in os.listdir(folder) if not PART.fullmatch(name)}  # half-written files
        return found <= {INDEX, SOUNDS, KEY} and (KEY in found or INDEX not in found)
    return False


def _key(results, digest, info):
    """A digest of what is judged."""
    found = hashlib.sha256(json.dumps([digest, info.labels]).encode())
    for name, result in results:
        found.update(json.dumps([name, result.get("events"), result.get("seconds")]).encode())
    return found.hexdigest()


def _best(results, most):
    """The events of each label with the highest scores.   -> {number of the recording: [numbers of its events]}"""
    by_label, found = {}, {}
    for i, (_, result) in enumerate(results):
        for n, (_, _, label, score) in enumerate(result.get("events", ())):
            by_label.setdefault(label, []).append((-score, i, n))
    for events in by_label.values():
        for _, i, n in sorted(events)[:most]:
            found.setdefault(i, []).append(n)
    return found
