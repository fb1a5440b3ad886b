"""Digests of files, remembered from one run to the next: two million files are not read only to learn their names.

A SQLite file in the cache folder: several processes write to it at the same time, a killed one leaves nothing half
written, and looking up one of two million takes microseconds and no memory. It is a mapping, as `content.digest` takes:

    path -> ((size, times, place on disk), digest)

What cannot be read or written is not remembered, and costs time alone: no function here raises for a fault of the disk.
"""

import hashlib
import os
import struct
import time
import zlib
from threading import Lock

from ..errors import Error
from .cache import private_folder

SETTLED = 3.0  # seconds since a file's last change: until then it may change again without a trace in its times
VALUE = struct.Struct("<3qQ32sI")  # size, modified (ns), changed (ns), inode; digest; CRC-32 of these and the path


class Remembered:
    """remembered[path] = state, digest; remembered.get(path) gives the last such pair, or `default`.

    state: (size, modified, changed, inode, device), as `content.digest` makes it; the device is not kept, since the
    numbers of drives differ from one start of the machine to the next. digest: 32 bytes.
    """

    def __init__(self):
        self._lock, self._database, self._process, self._given_up = Lock(), None, None, False

    def get(self, path: str, default: tuple | None = None) -> tuple | None:
        """What was remembered of a path: its state, with the device that it is on now, and its digest."""
        key = _key(path)
        rows = self._do("SELECT value FROM digests WHERE path = ?", (key,))
        kept = rows[0][0] if rows else None
        if not isinstance(kept, bytes) or len(kept) != VALUE.size:  # a flipped bit can make it a number, text or NULL
            return default
        *state, digest, checksum = VALUE.unpack(kept)
        if zlib.crc32(key + kept[:-4]) != checksum:
            return default
        try:
            return (*state, os.stat(path).st_dev), digest
        except OSError:
            return default

    def __setitem__(self, path: str, value: tuple):
        state, digest = value
        if max(state[1:3]) > (time.time() - SETTLED) * 1e9:
            return
        key, kept = _key(path), VALUE.pack(*state[:3], state[3] % 2**64, digest, 0)[:-4]
        kept += struct.pack("<I", zlib.crc32(key + kept))
        self._do("INSERT OR REPLACE INTO digests VALUES (?, ?)", (key, kept))

    def _do(self, statement, values):
        """-> the rows, [] where there is no database"""
        with self._lock:
            try:
                import sqlite3
            except ImportError:  # some builds of Python lack it
                return []
            try:
                return self._opened(sqlite3).execute(statement, values).fetchall() if not self._given_up else []
            except sqlite3.OperationalError:  # another process writes for long, the disk is full: next time perhaps
                return []
            except sqlite3.DatabaseError:  # it is damaged: begin anew
                self._remove()
                return []
            except (OSError, Error):
                self._given_up = True
                return []

    def _opened(self, sqlite3):
        if self._process != os.getpid():  # a connection must not be used by a forked process
            path = private_folder("digests") / "digests.sqlite"
            database = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
            database.execute("PRAGMA journal_mode = WAL")  # readers and a writer do not wait for each other
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
            )
            self._database, self._process = database, os.getpid()
        return self._database

    def _remove(self):
        self._process, self._given_up = None, True
        for name in ("digests.sqlite", "digests.sqlite-wal", "digests.sqlite-shm"):
            try:
                os.unlink(private_folder("digests") / name)
            except (OSError, Error):
                continue


def _key(path):
    return hashlib.blake2b(os.fsencode(os.path.abspath(path)), digest_size=16).digest()
