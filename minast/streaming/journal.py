"""What has been done of an archive so far, in a file that is only ever appended to.

A line is the CRC-32 of its JSON text, a space, and the text. Whatever kills the process, or takes the machine's power,
leaves whole lines and at most one that is not: it fails its check and counts as not written. The lines: the settings;
the recordings, in blocks; `begun`; then the results of a unit each, with the number of its first recording. Results
that were computed twice replace each other, so no row can be doubled; recordings without results are still to be done,
so none can be lost. The bytes of a result, such as embeddings, are in lines of their own before it, in base64; it says
where, and counts only if all of them are whole.
"""

import base64
import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence

from ..console.say import note
from ..errors import Error
from ..storage.files import try_lock
from ..text import visible
from .work import Unit, units

ENDING = ".part"
FORMAT = 1
BLOCK = 1000  # recordings in a line
PIECE = 2**16  # bytes of a result in a line
HEAD = b' {"format": '  # of the first line, behind its check


class Journal:
    """The open journal at `path`, whose name ends in ".part". Iterating over it gives what is done.

    files: [(path or address, bytes)] of all recordings. Opened by `begin` or `resume`; use it in a `with` statement.
    Another process that opens it is refused.
    """

    def __init__(self, path: str, mode: str):
        self.path, self.files, self.settings, self._needed = path, [], {}, True
        self._places = {}  # of results: {number of the first recording: (begin and length of the line, recordings)}
        try:
            self._file = open(self.path, mode, buffering=0)  # noqa: SIM115  closed by __exit__
        except OSError as error:
            raise Error(f"{visible(self.path)} cannot be written: {error.strerror or error}.") from None
        if try_lock(self._file.fileno()) is False:
            self._file.close()
            raise Error(
                f"another process is writing to {visible(path)}: wait until it has ended, stop it, or give another "
                "--out."
            )

    @classmethod
    def begin(cls, path: str, settings: dict, files: Sequence[tuple[str, int]]) -> "Journal":
        """A new one.   settings: {flag: plain value}, what a resumed one must have in common with this one"""
        self = cls(path, "r+b" if os.path.exists(path) else "x+b")
        self._file.truncate(0)
        self.files = list(files)
        self._append({"format": FORMAT, "settings": settings}, sync=False)
        for i in range(0, len(files), BLOCK):
            self._append({"files": files[i : i + BLOCK]}, sync=False)
        self._append({"begun": len(files)})
        return self

    @classmethod
    def resume(cls, path: str, settings: dict) -> "Journal | None":
        """That of work that was stopped; None if none was begun. Raises minast.Error if its settings were others."""
        if not os.path.exists(path):
            return None
        self = cls(path, "r+b")
        try:
            before = self._read()
        except Error:
            self._file.close()
            raise
        if before is None:
            self._file.close()
            return None
        self.settings = before
        if different := [name for name in settings if before.get(name) != settings[name]]:
            self._file.close()
            name = different[0]
            raise Error(
                f"{visible(self.path)} was begun with {_shown(name, before.get(name))}, this one has "
                f"{_shown(name, settings[name])}: their results do not belong together. Resume with what it was begun "
                "with, or remove that file to begin anew."
            )
        return self

    def add(self, first: int, results: Sequence[dict]) -> None:
        """The results of the recordings from number `first` on. They are on the disk when this returns.

        A result is a dictionary of plain values, and may have "bytes", which are kept apart: see `bytes_of`.
        """
        results = [self._without_bytes(result) if "bytes" in result else result for result in results]
        self._places[first] = (*self._append({"first": first, "results": results}), len(results))

    def left(self) -> list[Unit]:
        """The units that are still to be done; of one that was done in part, its files one by one."""
        done = {i for first, (*_, count) in self._places.items() for i in range(first, first + count)}
        found = []
        for unit in units(self.files):
            missing = [i for i in range(unit.first, unit.first + len(unit.files)) if i not in done]
            whole = len(missing) == len(unit.files)
            found += [unit] if whole else [Unit(i, (self.files[i][0],)) for i in missing]
        return found

    def __iter__(self) -> Iterator[tuple[str, dict]]:
        """The recordings that are done, in order.   -> (path or address, its result)"""
        first = 0
        while first < len(self.files):
            found = self._at(first) if first in self._places else []
            for (name, _), result in zip(self.files[first : first + len(found)], found, strict=True):
                yield name, result
            first += max(1, len(found))

    def bytes_of(self, result: dict) -> Iterator[bytes]:
        """The "bytes" of a result that iterating has given, in pieces."""
        for place, length in result["bytes"]:
            yield base64.b64decode(self._value_at(place, length)["bytes"])

    def remove(self) -> None:
        """All is written: the journal is not needed any more, and is removed at the end of the block."""
        self._needed = False

    def close(self) -> None:
        """Leave the file as it is."""
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_):
        self._file.close()  # first: Windows removes no open file
        if not (self._needed and self._places):  # where nothing is done, there is nothing to go on with
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)

    # -- lines -----------------------------------------------------------------------------------------------------

    def _append(self, value, sync=True):
        """-> where the line begins, how long it is"""
        data = json.dumps(value).encode("ascii")
        place = self._file.seek(0, os.SEEK_END)
        line = b"%08x %s\n" % (zlib.crc32(data), data)
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
            if sync:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise Error(f"{visible(self.path)} cannot be written: {error.strerror or error}.") from None
        return place, len(line)

    def _read(self):
        """Take in all whole lines.   -> the settings; None if the work was stopped before it had begun"""
        settings, begun, place, damaged, first, pieces = None, None, 0, 0, b"", set()
        self._file.seek(0)
        with open(self.path, "rb") as file:
            for line in file:
                value = _value(line)
                first = line if not place else first
                if value is None:
                    damaged += 1
                elif "settings" in value:
                    settings = value["settings"]
                    if value.get("format") != FORMAT:
                        raise Error(
                            f"{visible(self.path)} is of a scan by another version of minast: go on with that one, or "
                            "remove it."
                        )
                elif "files" in value:
                    self.files += [(name, size) for name, size in value["files"]]
                elif "begun" in value:
                    begun = value["begun"]
                elif "bytes" in value:
                    pieces.add(place)
                elif all(piece in pieces for result in value["results"] for piece, _ in result.get("bytes", ())):
                    self._places[value["first"]] = place, len(line), len(value["results"])
                else:
                    damaged += 1
                place += len(line)
        if settings is None and not self.files and not self._places and not _begins_a_journal(first):
            raise Error(f"{visible(self.path)} is there, and holds no stopped work: move it, or give another --out.")
        if settings is None or begun != len(self.files):
            return None
        if place and not line.endswith(b"\n"):
            self._file.seek(0, os.SEEK_END)
            self._file.write(b"\n")
        if damaged > 1:  # one is what the last kill left
            note(f"{damaged} lines of {visible(self.path)} are damaged: their recordings are done again.")
        return settings

    def _at(self, first):
        """The results of a line."""
        begin, length, _ = self._places[first]
        return self._value_at(begin, length)["results"]

    def _value_at(self, begin, length):
        self._file.seek(begin)
        value = _value(self._file.read(length))
        if value is None:
            raise Error(f"{visible(self.path)} was changed or damaged while it was in use: go on with --resume.")
        return value

    def _without_bytes(self, result):
        """A result whose bytes are written; in their place it has where."""
        data, lines = memoryview(result["bytes"]), []
        for i in range(0, len(data), PIECE):
            text = base64.b64encode(data[i : i + PIECE]).decode("ascii")
            lines.append(self._append({"bytes": text}, sync=False))
        return {**result, "bytes": lines}


def _value(line):
    """What a line holds; None for one that is not whole."""
    check, _, data = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or len(check) != 8 or b"%08x" % zlib.crc32(data) != check:
        return None
    return json.loads(data)


def _begins_a_journal(line):
    """Whether this can be what is left of a first line, cut anywhere and with a byte that is damaged."""
    wrong = sum(c not in b"0123456789abcdef" for c in line[:8])
    return wrong + sum(a != b for a, b in zip(line[8:], HEAD, strict=False)) <= 1


def _shown(name, value):
    if name == "CHECKPOINT":
        return f"another checkpoint (SHA-256 {str(value)[:12]}...)"
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{name} {visible(text, 200)}"
