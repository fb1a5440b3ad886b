"""What libsndfile cannot open, through PyAV (FFmpeg) where that is installed."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import BinaryIO

import numpy as np

from ..errors import reason
from .notes import Note, cut_short
from .sndfile import BROKEN, Unreadable
from .view import View

FORMATS = (  # FFmpeg's demuxers that may be used: none that opens other files, or is a network protocol
    *("aac", "ac3", "eac3", "aiff", "amr", "amrnb", "amrwb", "ape", "asf", "au", "avi", "caf", "dsf", "dts", "flac"),
    *("flv", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "ogg", "oma"),
    *("tak", "tta", "voc", "w64", "wav", "wv"),
)
EXACT = ("matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "flac", "ape", "tta", "tak", "wv", "ogg")  # they store a length


def installed() -> bool:
    """Whether there is a PyAV."""
    return find_spec("av") is not None


def tracks(file: BinaryIO, notes: list[Note]) -> Iterator["Track"]:
    """The first sound track of a file; raises Unreadable. A rate or channels that change begin another `Track`."""
    import av

    whitelist = ",".join(name for names in FORMATS for name in names.split(","))
    try:
        box = av.open(View(file), options={"format_whitelist": whitelist, "protocol_whitelist": ""})
    except (*BROKEN, av.error.FFmpegError) as error:
        raise Unreadable(reason(error)) from None
    with box:
        if box.format.name not in FORMATS or not box.streams.audio:
            raise Unreadable(f"FFmpeg takes it for {box.format.name}, without sound")
        sound, report = box.streams.audio[0], {"stopped": ""}
        frames = _frames(box, sound, report)
        latest, seconds = next(frames, None), 0.0
        while latest is not None:
            track = Track(latest, frames)
            yield track
            latest, seconds = track.following, seconds + track.decoded / track.rate
        length = _length(box, sound) if box.format.name in EXACT else None
        if report["stopped"] or (length and seconds < 0.98 * length - 0.1):
            notes.append(cut_short(seconds, length, report["stopped"]))


def _length(box, sound):
    """Seconds that the file says it lasts, or None."""
    if sound.duration:
        return float(sound.duration * sound.time_base)
    return box.duration / 1e6 if box.duration else None  # of the whole file, in microseconds


def _frames(box, sound, report):
    """Decoded frames; the first failure ends them, and its reason is kept."""
    import av

    try:
        yield from box.decode(sound)
    except (*BROKEN, av.error.FFmpegError) as error:
        report["stopped"] = reason(error)


class Track:
    """As `sndfile.Stream`: `rate`, `channels`, `blocks`, `decoded`; `following` is the next track's first frame."""

    def __init__(self, first, frames):
        self._first, self._frames = first, frames
        self.rate, self.channels = first.sample_rate, first.layout.nb_channels
        self.format, self.subtype, self.promised, self.decoded, self.following = "FFmpeg", "", None, 0, None

    def blocks(self) -> Iterator[np.ndarray]:
        """(n, channels) float32, as long as there are any."""
        frame = self._first
        while frame is not None and (frame.sample_rate, frame.layout.nb_channels) == (self.rate, self.channels):
            block = _samples(frame)
            self.decoded += len(block)
            yield block
            frame = next(self._frames, None)
        self.following = frame


def _samples(frame):
    """A frame's samples, integers scaled to [-1, 1].   -> (n, channels) float32"""
    x = frame.to_ndarray()
    x = x.T if frame.format.is_planar else x.reshape(-1, frame.layout.nb_channels)
    if x.dtype.kind == "u":
        return ((x.astype(np.float32) - 128) / 128).astype(np.float32)
    if x.dtype.kind == "i":
        return (x / np.float32(2.0 ** (8 * x.dtype.itemsize - 1))).astype(np.float32)
    return x.astype(np.float32)
