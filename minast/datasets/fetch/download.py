"""A file from a web server, in as many attempts as it takes.

What has come lies in PATH.part, beside PATH.part.json, which says what it is the beginning of. An attempt asks for the
rest of the file (HTTP Range), under the condition that the file is still the same (If-Range); a server that knows
neither sends it from the start. When the attempts are used up, what has come stays: the next call goes on with it.
"""

import contextlib
import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from ...console.say import note
from ...errors import Error
from ...storage.files import atomic, try_lock
from ...text import visible

ATTEMPTS = 5  # in a row that bring nothing
WAIT = 1.0  # seconds before the second attempt, then twice as long each time
SILENCE = 60  # seconds without a byte end an attempt
BLOCK = 2**18  # bytes
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses after which it is worth trying again


class Dropped(Exception):
    """An attempt that ended early; the next may bring the rest."""


@dataclass
class Part:
    """The beginning of a file, and what the server said of the whole."""

    url: str
    validator: str = ""  # its ETag, or its date: what If-Range compares
    size: int | None = None  # bytes of the whole file

    def save(self, path: str) -> None:
        """Write it beside the part."""
        with atomic(path, "w", encoding="utf-8") as f:
            json.dump(vars(self), f)

    @classmethod
    def load(cls, path: str, url: str) -> "Part":
        """What was written, if it is of this URL, else a new one."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            with open(path, encoding="utf-8") as f:
                found = cls(**json.load(f))
            if found.url == url and isinstance(found.validator, str) and isinstance(found.size, (int, type(None))):
                return found
        return cls(url)


@contextlib.contextmanager
def downloaded(
    url: str, path: str, size: int | None = None, sha256: str | None = None
) -> Iterator[tuple[str, int, str]]:
    """A file, fetched before the block begins.   -> where it lies, its size in bytes, its SHA-256

    size, sha256: what is known of it. It lies in PATH.part, which no other process touches before the block ends;
    `remove` takes it away when it is no longer needed. Raises minast.Error if the server refuses, if the attempts bring
    nothing more, if another process fetches the same, if the disk is full, and if what came is not what is known; a
    file with the wrong checksum is removed.
    """
    part = f"{path}.part"
    with _locked(part) as file:
        _fetch(Part.load(f"{part}.json", url), part, file, size)
        found, digest = os.fstat(file.fileno()).st_size, _sha256(part)
        if sha256 in (None, digest):
            yield part, found, digest
            return
    remove(path)
    raise Error(
        f"{url}: what came has the SHA-256 {digest}, it should be {sha256}: it is damaged or was changed, and was "
        "removed. Try again; if that ends in the same way, the file at this address is not the published one."
    )


def remove(path: str) -> None:
    """Remove what `download` left for a path."""
    for name in (f"{path}.part", f"{path}.part.json"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


# -- steps ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(part) -> Iterator:
    """The part, open for appending, for one process at a time. It goes if nothing came."""
    try:
        file = open(part, "ab")  # noqa: SIM115  closed below
    except OSError as error:
        raise Error(f"{visible(part)} cannot be written: {error.strerror or error}.") from None
    empty = False
    try:
        with file:
            if try_lock(file.fileno()) is False:
                raise Error(f"{visible(part)}: another process is downloading this file: wait until it has ended.")
            try:
                yield file
            finally:
                empty = not os.fstat(file.fileno()).st_size
    finally:
        if empty:
            remove(part.removesuffix(".part"))


def _fetch(about, part, file, size):
    """Attempt after attempt, until the file is there."""
    from tqdm import tqdm

    with tqdm(desc="download", unit="B", unit_scale=True, unit_divisor=1000, disable=None, leave=False) as bar:
        vain = 0
        while not _complete(about, file):
            before = file.tell()
            try:
                _attempt(about, part, file, size, bar)
            except (Dropped, http.client.HTTPException, OSError) as error:  # what the disk refuses is an Error
                vain = 0 if file.tell() > before else vain + 1
                if vain == ATTEMPTS:
                    raise Error(_gave_up(about, file.tell(), error)) from None
                if vain:
                    time.sleep(WAIT * 2 ** (vain - 1))


def _complete(about, file):
    return about.size is not None and file.tell() == about.size


def _attempt(about, part, file, size, bar):
    """Ask for what is missing, and append what comes. Raises Dropped if it ends early."""
    have = file.tell()
    headers = {"User-Agent": "minast", "Accept-Encoding": "identity"}
    if have and about.validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": about.validator}
    try:
        answer = _opener().open(urllib.request.Request(about.url, headers=headers), timeout=SILENCE)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # what is here is longer than the file: it has changed
                _restart(file)
                raise Dropped("the file has changed") from None
            if error.code in PASSING:
                raise Dropped(f"the server answers {error.code} {error.reason}") from None
            raise Error(f"{about.url}: the server answers {error.code} {error.reason}.") from None
    with answer:
        begin, whole = _range(answer)
        if begin != have:
            if have:
                note(f"the server sends {about.url} from the start: {have / 1e6:.1f} MB come again.")
            if begin:
                raise Dropped("the server sends another part than it was asked for")
            _restart(file)
        if size is not None and whole not in (None, size):
            _restart(file)
            raise Error(f"{about.url} has {whole} bytes, not {size}: it is not the file that was published.")
        about.validator, about.size = _validator(answer), whole
        about.save(f"{part}.json")
        bar.total, bar.n = whole, begin
        bar.refresh()
        while block := answer.read(BLOCK):
            _append(file, block, part)
            bar.update(len(block))
    if about.size is None:  # the server does not say how long it is: its end is the end of the connection
        about.size = file.tell() if size is None else size
        about.save(f"{part}.json")
    if file.tell() > about.size:
        _restart(file)
        raise Dropped("more came than the server had announced")
    if file.tell() < about.size:
        raise Dropped(f"the connection ended after {file.tell()} of {about.size} bytes")


def _append(file, block, part):
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        raise Error(f"{visible(part)} cannot be written: {error.strerror or error}. What came is kept.") from None


def _restart(file):
    file.seek(0)
    file.truncate()


def _range(answer):
    """-> (first byte that comes, bytes of the whole file or None)"""
    if answer.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
        if not match:
            raise Dropped("the server sends a part and does not say which")
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _validator(answer):
    """What tells whether the file is still the same: a strong ETag, else its date."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")


def _opener():
    """urllib's, without what leads from https to http."""
    return urllib.request.build_opener(_Redirects)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, answer, code, message, headers, new):
        """Follow, unless the new address is less safe than the old one."""
        if request.type == "https" and not new.startswith("https:"):
            raise Error(f"{request.full_url}: the server sends on to {visible(new)}, which is not encrypted.")
        return super().redirect_request(request, answer, code, message, headers, new)


def _gave_up(about, have, error):
    """What to say when the attempts are used up."""
    why = error.reason if isinstance(error, urllib.error.URLError) else error
    total = f" of {about.size / 1e6:.1f}" if about.size else ""
    kept = f"; {have / 1e6:.1f}{total} MB are kept: the same command goes on from there" if have else ""
    return f"{about.url}: the download ended {ATTEMPTS} times without bringing anything more ({why}){kept}."


def _sha256(path):
    found = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(2**20):
            found.update(block)
    return found.hexdigest()
