"""Where a file of chunks (wav, RF64, W64, AIFF, CAF, 8SVX) keeps its sound, and how many bytes it says that is.

libsndfile takes whatever there is of a file that was cut short and says nothing, takes nothing of one whose size was
never filled in, and refuses a cut CAF. So sizes are looked up here.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

W64_RIFF, W64_GUID = b"riff\x2e\x91\xcf\x11", b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
CONTAINERS = (b"RIFF", b"RF64", b"RIFX", b"FORM")
UNKNOWN = 0x7FFFF000  # a 32-bit size from here on is a writer's who could not come back to fill it in


@dataclass(frozen=True)
class Layout:
    """How one container writes its chunks."""

    first: int  # where the first chunk begins
    name: int  # bytes of a chunk's name
    size: str  # struct format of its size
    sound: bytes  # beginning of the name of the chunk with the sound
    align: int  # chunks begin at multiples of this
    inclusive: bool = False  # whether a size counts name and size as well


@dataclass(frozen=True)
class Sound:
    """The chunk with the sound. Positions count from the beginning of the container."""

    at: int  # where its bytes begin
    claimed: int | None  # how many the header promises; None if it says that it does not know
    found: int  # how many there are, up to the file's end
    field: tuple[int, str]  # where that number is written, and its struct format
    next: int | None  # where another container begins right after this one
    rest: int = 0  # bytes behind the chunk that are neither another chunk nor a container nor a tag
    unset: bool = False  # whether the header says 0 and there is something all the same

    @property
    def cut(self) -> bool:
        """Whether there is less than the header promises."""
        return self.claimed is not None and self.found < self.claimed

    def patch(self) -> dict[int, bytes]:
        """The number as it should be, for a `View`; nothing to change if it is right."""
        if not (self.claimed is None or self.unset or self.cut):
            return {}
        position, form = self.field
        return {position: struct.pack(form, min(self.found, 2**32 - 2 if form[1] == "I" else self.found))}


def layout(head: bytes) -> Layout | None:
    """The layout of the container that begins with these 40 bytes, if it is one of chunks."""
    kind, form = head[:4], head[8:12]
    if kind in (b"RIFF", b"RF64", b"RIFX") and form == b"WAVE":
        return Layout(12, 4, ">I" if kind == b"RIFX" else "<I", b"data", 2)
    if kind == b"FORM" and form in (b"AIFF", b"AIFC"):
        return Layout(12, 4, ">I", b"SSND", 2)
    if kind == b"FORM" and form in (b"8SVX", b"16SV"):
        return Layout(12, 4, ">I", b"BODY", 2)
    if kind == b"caff":
        return Layout(8, 4, ">q", b"data", 1)
    if head.startswith(W64_RIFF):
        return Layout(40, 16, "<q", b"data" + W64_GUID, 8, inclusive=True)
    return None


def find(file: BinaryIO, start: int, end: int) -> Sound | None:
    """The sound chunk of the container at `start`; None without one, or for another kind of file. end: the file's."""
    file.seek(start)
    head = file.read(40)
    form = layout(head)
    if form is None:
        return _au(head, end - start)
    width, position, wide = struct.calcsize(form.size), start + form.first, None
    while position + form.name + width <= end:
        file.seek(position)
        name, number = file.read(form.name), file.read(width)
        size = struct.unpack(form.size, number)[0] - (form.name + width) * form.inclusive
        body, field = position + form.name + width, (position + form.name - start, form.size)
        if name == b"ds64":  # RF64 writes here what does not fit into 32 bits
            wide = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))[1], (body + 8 - start, "<Q")
        if name.startswith(form.sound):
            if wide and size == 0xFFFFFFFF:
                size, field = wide
            return _sound(file, form, start, body, size, end, field)
        if size < 0:
            return None
        position = body + size + -(body + size - start) % form.align
    return None


def _sound(file, form, start, body, size, end, field):
    header = 8 if form.sound == b"SSND" else 4 if form.first == 8 else 0  # counted in the size, but no sound
    found = end - body
    if size < 0 or (field[1][1] == "I" and size >= UNKNOWN and size > found):
        return Sound(body - start, None, found, field, None)
    after = body + size + -(body + size - start) % form.align
    file.seek(min(after, end))
    behind = file.read(4)
    if size <= header < found and not _is_name(behind):
        return Sound(body - start, 0, found, field, None, unset=True)
    another = after if behind in CONTAINERS else None
    known = another or _is_name(behind) or behind[:3] in (b"ID3", b"TAG")
    return Sound(body - start, size, found, field, another, 0 if known else max(0, end - after))


def _au(head, size):
    """The sound of an AU file, which has no chunks: magic, position of the sound, its size."""
    form = {b".snd": ">I", b"dns.": "<I"}.get(head[:4])
    if form is None or len(head) < 24:
        return None
    at, claimed = struct.unpack(form[0] + "II", head[4:12])
    found = max(0, size - at)
    unset = claimed == 0 < found
    return Sound(at, None if claimed == 0xFFFFFFFF else claimed, found, (8, form), None, unset=unset)


def _is_name(name):
    return len(name) == 4 and all(32 <= c < 127 for c in name)
