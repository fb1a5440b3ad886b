"""Bytes of uncompressed sound -> samples: a wav header that is read on the way, or raw PCM."""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ..audio.chunks import UNKNOWN
from ..audio.resample import MAX_RATE, MIN_RATE
from ..errors import Error

RAW = ("s16le", "f32le")  # ffmpeg's names
HEAD = 12  # bytes that tell a wav file
LARGEST_CHUNK = 2**24  # bytes of a chunk before the sound: texts, at most a picture
CODED = {  # what is no plain wav, by its first bytes
    **{b"fLaC": "a FLAC", b"OggS": "an Ogg", b"FORM": "an AIFF", b"caff": "a CAF", b".snd": "an AU", b"riff": "a W64"},
    **{b"ID3" + bytes([version]): "an mp3" for version in (2, 3, 4)},
    **{b"RIFX": "a big-endian wav", b"RIFF": "a RIFF", b"\x1aE\xdf\xa3": "a WebM"},
}
MOST_CHANNELS = 1024

Read = Callable[[int], bytes]  # at most so many bytes, as soon as there are any; b"" at the end


class Form(NamedTuple):
    """How samples are written."""

    rate: int  # Hz
    channels: int
    kind: str  # "i" or "f"
    width: int  # bytes of a sample
    size: int | None = None  # bytes of sound that the header promises; None: all there are

    @property
    def name(self) -> str:
        """In words."""
        kind = "float" if self.kind == "f" else "integer"
        return f"{8 * self.width}-bit {kind}, {self.rate} Hz, {self.channels} channel{'s' * (self.channels > 1)}"

    def samples(self, data: bytes) -> np.ndarray:
        """Whole frames of bytes -> (n, channels) float32; integers are scaled to [-1, 1), as libsndfile does."""
        if self.kind == "f":
            x = np.frombuffer(data, f"<f{self.width}").astype(np.float32)
        elif self.width == 1:
            x = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
        elif self.width == 3:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            x = (wide.view("<i4")[:, 0] >> 8).astype(np.float32) / 2**23
        else:
            x = np.frombuffer(data, f"<i{self.width}").astype(np.float32) / 2 ** (8 * self.width - 1)
        return x.reshape(-1, self.channels)


def blocks(read: Read, form: Form, before: bytes = b"") -> Iterator[np.ndarray]:
    """The samples as they come, (n, channels) float32.   before: bytes of them that were read already"""
    frame, left, waiting = form.width * form.channels, form.size, before
    while left is None or left > 0:
        usable = len(waiting) if left is None else min(left, len(waiting))
        usable -= usable % frame
        if usable:
            yield form.samples(waiting[:usable])
            waiting, left = waiting[usable:], None if left is None else left - usable
            continue
        more = read(1 << 14)
        if not more:
            return
        waiting += more


def understood(read: Read, raw: Form | None) -> tuple[Form, bytes]:
    """What the stream is.   -> Form, bytes of sound that were read already

    raw: how samples without a header are written, if that was said. Raises minast.Error for a stream that is nothing
    known, for a wav file whose samples are coded, and where `raw` is given for a file that has a header.
    """
    head = exactly(read, HEAD)
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        if raw is not None:
            raise Error("standard input is a wav file, which says itself what its samples are: leave out --format.")
        return wav_form(read), b""
    coded = next((f"{name} file" for magic, name in CODED.items() if head.startswith(magic)), None)
    if head[4:8] == b"ftyp":
        coded = "an MP4 file"
    if raw is not None and not coded:
        return raw, head
    if raw is not None:
        raise Error(f"standard input is {coded}, and not raw samples: decode it (ffmpeg -i FILE -f wav - | ...).")
    if not head:
        raise Error("standard input is empty: no sound came.")
    what = coded or "a stream without a header"
    raise Error(
        f"standard input is {what}, and no wav: decode it (ffmpeg -i FILE -f wav - | ...), or, if it is raw samples, "
        f"say what they are: --format {' or '.join(RAW)}, with --rate and --channels."
    )


def wav_form(read: Read) -> Form:
    """The rest of a wav header, up to its first sample."""
    form, wide = None, None
    while True:
        head = exactly(read, 8)
        if len(head) < 8:
            raise Error("standard input is a wav file that ends before its sound begins.")
        name, size = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"data":
            break
        if size > LARGEST_CHUNK:
            raise Error(f"standard input is a damaged wav file: its header has a chunk of {size} bytes.")
        body = exactly(read, size + size % 2)
        if name == b"fmt ":
            form = _format(body)
        elif name == b"ds64" and len(body) >= 16:
            wide = struct.unpack("<Q", body[8:16])[0]
    if form is None:
        raise Error("standard input is a wav file that does not say what its samples are (no fmt chunk).")
    if size == 0xFFFFFFFF and wide:
        return form._replace(size=wide)
    return form if size == 0 or size >= UNKNOWN else form._replace(size=size)


def _format(body):
    """The fmt chunk -> Form"""
    if len(body) < 16:
        raise Error("standard input is a wav file with a damaged header: its fmt chunk is too short.")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
    if tag == 0xFFFE and len(body) >= 26:  # extensible: the real tag begins the GUID
        tag = struct.unpack("<H", body[24:26])[0]
    known = {1: ("i", (8, 16, 24, 32)), 3: ("f", (32, 64))}
    if tag not in known or bits not in known[tag][1]:
        raise Error(f"standard input is a wav file with coded samples (format {tag}, {bits} bits): decode it before.")
    return checked(Form(rate, channels, known[tag][0], bits // 8))


def checked(form: Form) -> Form:
    """The same. Raises minast.Error for a rate or a number of channels that nothing has."""
    if not MIN_RATE <= form.rate <= MAX_RATE:
        raise Error(f"the rate is {form.rate} Hz: rates from {MIN_RATE} to {MAX_RATE} Hz can be read.")
    if not 1 <= form.channels <= MOST_CHANNELS:
        raise Error(f"there are {form.channels} channels: from 1 to {MOST_CHANNELS} can be read.")
    return form


def exactly(read: Read, count: int) -> bytes:
    """So many bytes; fewer only at the end."""
    found = b""
    while len(found) < count and (more := read(count - len(found))):
        found += more
    return found
