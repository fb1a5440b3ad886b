"""Frames of MPEG audio (mp3, mp2): where they are, and how many a file's Xing header promises.

Without that header libsndfile guesses a file's length from its first frames, and stops there: an mp3 of changing frame
sizes may end after a quarter. With it libsndfile stops where the header says, also where more files were appended.
"""

from dataclasses import dataclass
from typing import BinaryIO

KBIT = {  # (version, layer) -> kbit/s by index; version 2 stands for 2 and 2.5
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by the header's version bits
LIMIT = 1 << 20  # bytes that are searched for the next frame


@dataclass(frozen=True)
class Frame:
    """A frame's header."""

    size: int  # bytes, with the header
    samples: int  # per channel
    kind: tuple[int, int, int]  # version, layer and rate: the same in all frames of a stream


def frame(head: bytes) -> Frame | None:
    """What four bytes say if they are the header of a frame; None if not, and for the rare "free" bit rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, index, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or index in (0, 15) or rate == 3:
        return None
    generation, hertz, padding = (1 if version == 3 else 2), RATES[version][rate], head[2] >> 1 & 1
    bits = 1000 * KBIT[generation, layer][index]
    if layer == 1:
        return Frame((12 * bits // hertz + padding) * 4, 384, (version, layer, hertz))
    samples = 576 if layer == 3 and generation == 2 else 1152
    return Frame(samples // 8 * bits // hertz + padding, samples, (version, layer, hertz))


def first_frame(file: BinaryIO, start: int, end: int) -> int | None:
    """Where the first frame at or behind `start` begins: a header that another one of its kind follows, or the end."""
    start, at = _behind_id3(file, start), 0
    file.seek(start)
    data = file.read(max(0, min(end - start, LIMIT)))
    while (at := data.find(b"\xff", at)) >= 0:
        this = frame(data[at : at + 4])
        if this:
            following = data[at + this.size : at + this.size + 4]
            other = frame(following)
            if (other and other.kind == this.kind) or start + at + this.size == end:
                return start + at
        at += 1
    return None


def _behind_id3(file, start):
    """Where the ID3v2 tags at `start` end: it is `start` without one"""
    while True:
        file.seek(start)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return start
        a, b, c, d = (byte & 0x7F for byte in head[6:])
        start += 10 + (a << 21 | b << 14 | c << 7 | d)


def without_tags(file: BinaryIO, start: int, end: int) -> int:
    """Where the frames end: before the ID3v1 and APE tags at a file's end."""
    if end - start > 128:
        file.seek(end - 128)
        end -= 128 * (file.read(3) == b"TAG")
    if end - start > 32:
        file.seek(end - 32)
        footer = file.read(32)
        if footer[:8] == b"APETAGEX":
            size = int.from_bytes(footer[12:16], "little") + 32 * bool(footer[23] & 0x80)
            end -= size if size < end - start else 0
    return end


def promised(file: BinaryIO, at: int) -> tuple[int | None, int | None]:
    """What the Xing header in the frame at `at` says: (frames, bytes), None for what it does not say."""
    file.seek(at)
    data = file.read(192)
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    if tag < 0 or len(data) < tag + 16:
        return None, None
    flags, numbers = data[tag + 7], [int.from_bytes(data[i : i + 4], "big") for i in (tag + 8, tag + 12)]
    frames = numbers.pop(0) if flags & 1 else None
    return frames or None, (numbers.pop(0) or None) if flags & 2 else None


def gaps(file: BinaryIO, start: int, end: int) -> int:
    """Bytes between the frames from `start` to `end` that belong to none: the sound in them is lost.

    What no other frame follows does not count: many files end with something else.
    """
    first = first_frame(file, start, end)
    lost, position, data, base = 0, end if first is None else first, b"", 0
    while position + 4 <= end:
        if not base <= position <= base + len(data) - 4:
            file.seek(position)
            data, base = file.read(LIMIT), position
        this = frame(data[position - base : position - base + 4])
        if this:
            position += this.size
            continue
        following = first_frame(file, position, end)
        if following is None:
            break
        lost += 0 if data[position - base :][:3] == b"ID3" else following - position
        position = following
    return lost
