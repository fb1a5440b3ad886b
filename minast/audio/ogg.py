"""The pages of an Ogg file: its links, and whether pages are missing. Source: RFC 3533.

libsndfile reads the first link of a chain and drops damaged pages in silence; so pages are looked at here.
"""

import struct
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

from ..text import counted

HEADER = struct.Struct("<4sBBqIIIB")  # capture, version, flags, granule, serial, sequence, checksum, segments
FIRST, LAST = 2, 4  # flags: of a stream's first page, of its last
REVERSED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))
LIMIT = 65536  # bytes that are searched for the next page where one should be and is not


@dataclass
class Link:
    """One link of a chain: a complete Ogg stream, or several side by side (sound and pictures)."""

    start: int  # of its first page, in the file
    end: int  # of its last complete page
    whole_until: int = 0  # the same, of the pages before the first that is damaged or missing
    damaged: int = 0  # pages that are missing or fail their checksum
    open: set[int] = field(default_factory=set)  # streams whose last page is not there
    sequence: dict[int, int] = field(default_factory=dict)  # stream -> number of its latest page

    @property
    def wrong(self) -> str:
        """Why sound is missing, or ""."""
        if self.damaged:
            return counted(self.damaged, "page is damaged or missing", "pages are damaged or missing")
        return "its last page is missing" if self.open else ""


def links(file: BinaryIO, end: int) -> list[Link]:
    """The links of the Ogg file, in order; what lies beyond the last complete page belongs to none."""
    found, position, began = [], 0, False
    while (page := _page(file, position, end)) is not None:
        at, size, flags, serial, number, whole = page
        if flags & FIRST and not began:
            found.append(Link(at, at))
        if not found:
            return []
        link, began = found[-1], bool(flags & FIRST)
        expected = number if flags & FIRST else link.sequence.get(serial, number - 1) + 1
        link.damaged += (not whole) + (min(number - expected, 1000) if number > expected else 0)
        link.sequence[serial], link.end = number, at + size
        link.whole_until = link.whole_until if link.damaged else link.end
        if whole:
            (link.open.discard if flags & LAST else link.open.add)(serial)
        position = at + size
    return found


def _page(file, position, end):
    """The page at a position or the next one behind it: (at, size, flags, serial, number, whole), or None"""
    file.seek(position)
    head = file.read(HEADER.size + 255)
    if head[:4] != b"OggS":
        file.seek(position)
        ahead = file.read(LIMIT).find(b"OggS")
        if ahead < 0:
            return None
        position += ahead
        file.seek(position)
        head = file.read(HEADER.size + 255)
    if len(head) < HEADER.size:
        return None
    _, _, flags, _, serial, number, checksum, segments = HEADER.unpack_from(head)
    size = HEADER.size + segments + sum(head[HEADER.size : HEADER.size + segments])
    if position + size > end:
        return None
    file.seek(position)
    return position, size, flags, serial, number, checksum == crc(file.read(size))


def crc(page: bytes) -> int:
    """The checksum of a page: CRC-32 with the highest bit first, no inversion, its own field read as 0.

    zlib's begins with the lowest bit, so it is given every byte reversed.
    """
    plain = page[:22] + bytes(4) + page[26:]
    reflected = zlib.crc32(plain.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
