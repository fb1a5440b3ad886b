"""How many frames the headers of further containers promise: where libsndfile reads what there is and says nothing.

PAF, PVF, IRCAM and XI do not say how long they are; nobody can tell that one of them was cut short.
"""

import re
import struct
from typing import BinaryIO

SDS = b"\xf0\x7e"  # how a MIDI sample dump and each of its blocks begin
LOGGED = (  # libsndfile's log of the header: the bytes promised and those found
    re.compile(r"(?:Data Size|BODY|data|SSND)\s*: (?P<promised>\d+) \(should be (?P<found>\d+)\)"),
    re.compile(r"Data length (?P<promised>\d+) should be (?P<found>\d+)"),
    re.compile(r"seems to be truncated\. (?P<found>\d+) <--> (?P<promised>\d+)"),
)


def share(kind: str, head: bytes, size: int, frames: int, log: str) -> float | None:
    """The length that the header promises, as a multiple of what there is; None if it does not say, or 1 or less.

    kind: libsndfile's name of the format; head: the file's first kilobytes; size: of the file; frames: what libsndfile
    found; log: what it wrote about the header.
    """
    for pattern in LOGGED:
        if match := pattern.search(log):
            promised, found = int(match["promised"]), int(match["found"])
            return promised / found if promised > found > 0 and promised < 0x7FFFF000 else None
    count = HEADERS[kind](head, size, frames) if kind in HEADERS else None
    if count is None and re.search("seems to be (a )?truncated", log, re.IGNORECASE):
        return float("inf")
    return count / frames if count and count > frames > 0 else None


def _avr(head, size, frames):
    return struct.unpack_from(">I", head, 26)[0]


def _mpc(head, size, frames):
    return struct.unpack_from("<I", head, 30)[0]


def _nist(head, size, frames):
    match = re.search(rb"sample_count -i (\d{1,18})", head)
    return int(match[1]) if match else None


def _mat5(head, size, frames):
    """The last element of a MATLAB file may claim more bytes than there are."""
    order, position = (">" if head[126:128] == b"MI" else "<"), 128
    while position + 8 <= len(head):
        claimed = struct.unpack_from(order + "I", head, position + 4)[0]
        left = size - position - 8
        if claimed > left + 64 and left > 0:  # libsndfile itself claims some bytes too many
            return int(frames * claimed / left)
        position += 8 + claimed
    return None


HEADERS = {"AVR": _avr, "MPC2K": _mpc, "NIST": _nist, "MAT5": _mat5}


def whole_sds(file: BinaryIO, size: int) -> bool:
    """Whether all blocks of a MIDI sample dump are there: 21 bytes of header, then 127 each, between F0 and F7."""
    file.seek(0)
    data = file.read(size)
    if size < 21 or not 8 <= data[6] <= 28:
        return False
    samples = 120 // -(-data[6] // 7)  # of a block: one takes a byte for each 7 bits
    length = data[10] | data[11] << 7 | data[12] << 14
    places = range(21, 21 + 127 * -(-length // samples), 127)
    return all(data[i : i + 2] == SDS and data[i + 126 : i + 127] == b"\xf7" for i in places)
