"""Sounds in a page: a player, whose cursor moves over the spectrogram, from nothing but data URIs."""

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from .. import plots
from ..audio.write import compressed
from ..features import FRAME, bin_of, hop_seconds
from .charts import steps
from .html import Html, percent, tag

MOST_SECONDS = 20.0  # of a sound in a page: 160 kB
LEVELS = 64  # of relevance


def data_uri(kind: str, content: bytes) -> Html:
    """What a browser reads in place of a file.   kind: its media type, such as "image/png" """
    return Html(f"data:{kind};base64,{base64.b64encode(content).decode()}")


def sound_uri(wave: np.ndarray, rate: int) -> Html:
    """A waveform as a small file.   wave (S,) in [-1, 1] at `rate` Hz; more than MOST_SECONDS is left out"""
    return data_uri(*compressed(wave[: round(MOST_SECONDS * rate)], rate))


def spectrogram_uri(mel: np.ndarray) -> Html:
    """A log-mel spectrogram as a picture, a pixel a value, in the colours of `plots`.   mel (T, F)"""
    low, high = np.percentile(mel, (1, 99.8))
    levels = np.clip((mel - low) / ((high - low) or 1) * 255, 0, 255).astype(np.uint8)
    return data_uri("image/png", png(levels.T[::-1], plots.colours(plots.SPECTROGRAM, 256)))


def relevance_uri(values: np.ndarray) -> Html:
    """`relevance_png` as a data URI."""
    return data_uri("image/png", relevance_png(values))


def relevance_png(values: np.ndarray) -> bytes:
    """A relevance map as a picture to lay over its spectrogram: the more relevant, the less transparent.   (T, F) >= 0

    It is a quarter of the size along both axes, since relevance is known by patches of 16 x 16.
    """
    small = _quarter(_quarter(values).T)  # (F/4, T/4)
    limit = np.percentile(values, 99.5) or values.max() or 1.0
    levels = np.clip(small / limit * (LEVELS - 1), 0, LEVELS - 1).astype(np.uint8)
    alpha = np.linspace(0, 204, LEVELS)
    return png(levels[::-1], plots.colours(plots.RELEVANCE, LEVELS), alpha)


def _quarter(x):
    """The mean of each four rows.   (n, m) -> (n / 4 rounded up, m)"""
    starts = np.arange(0, len(x), 4)
    return np.add.reduceat(x, starts) / np.diff([*starts, len(x)])[:, None]


def png(levels: np.ndarray, palette: np.ndarray, alpha: np.ndarray | None = None) -> bytes:
    """A PNG with a palette.   levels (height, width) uint8, palette (n, 3) 0 to 255, alpha (n,) 0 to 255 -> its bytes

    Source: the PNG specification, third edition, sections 5 and 11.
    """
    height, width = levels.shape
    rows = np.c_[np.zeros((height, 1), np.uint8), levels]  # each begins with its filter: none
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))]
    chunks.append((b"PLTE", np.asarray(palette, np.uint8).tobytes()))
    if alpha is not None:
        chunks.append((b"tRNS", np.asarray(alpha).astype(np.uint8).tobytes()))
    chunks += [(b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    file = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        file += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return file


def player(
    audio: str,
    seconds: float,
    picture: str = "",
    describe: str = "",
    overlay: str = "",
    overlay_name: str = "relevance",
    rate: int = 16000,
    mel_bins: int = 128,
    start: float = 0.0,
    marks: Sequence[tuple[float, float, str]] = (),
    caption: object = "",
    name: str = "",
) -> Html:
    """A sound with its spectrogram, over which a cursor moves; a click on the picture plays from there.

    audio: a data URI, or the address of a file beside the page; "": the picture alone. seconds: the length of the
    sound. picture, overlay: of `spectrogram_uri` and `relevance_uri`; the overlay can be switched off. describe: the
    picture in words. rate, mel_bins: of its frequency axis, in Hz. start: where the picture begins, in s. marks:
    (start, end, what), in s, are bars over the picture. name: for `seek`.
    """
    span = max(seconds - start, 1e-3)
    image = [tag("img", src=picture, alt=describe, class_="mel")] if picture else []
    if overlay:
        image.append(tag("img", src=overlay, alt="", class_="over"))
    image += [
        tag("i", class_="event", style=f"left:{_part(a - start, span)};width:{_part(b - a, span)}", data_tip=what)
        for a, b, what in marks
    ]
    along = [t for t in steps(start, seconds, 5) if start <= t <= seconds]
    across = [tag("span", f"{t:g} s", style=f"left:{_part(t - start, span)}") for t in along]
    shown = tag(
        "div",
        hertz(rate, mel_bins),
        tag("div", *image, tag("i", class_="cursor"), class_="picture"),
        tag("div", *across, class_="seconds", aria_hidden="true"),
        class_="sound",
    )
    switch = (
        tag("label", tag("input", type="checkbox", checked=True, class_="switch"), overlay_name, class_="toggle")
        if overlay
        else None
    )
    return tag(
        "figure",
        shown if picture else None,
        tag("audio", controls=True, preload="metadata", src=audio) if audio else None,
        switch,
        tag("figcaption", caption) if caption else None,
        class_="player",
        id=name or None,
        data_start=f"{start:g}",
        data_seconds=f"{seconds:g}",
    )


def hertz(rate: int, mel_bins: int) -> Html:
    """The frequency axis of a spectrogram, to its left.   rate: in Hz"""
    shown = [f for f in plots.TICKS_HZ if bin_of(f, rate, mel_bins) < mel_bins - 0.5][1::2]
    up = [
        tag("span", f"{f / 1000:g}k" if f >= 1000 else f, style=f"bottom:{_part(bin_of(f, rate, mel_bins), mel_bins)}")
        for f in shown
    ]
    return tag("div", *up, class_="hertz", aria_hidden="true")


def seek(name: str, seconds: float, text: object) -> Html:
    """A button that plays the player of this name from a place, in s."""
    return tag("button", text, type="button", class_="seek", data_player=name, data_seek=f"{seconds:g}")


def frames_of(seconds: float, rate: int) -> int:
    """Frames of a log-mel that lie within the first `seconds`, at least 1."""
    return max(1, int((seconds - FRAME) / hop_seconds(rate)) + 1)


def _part(value, whole):
    return percent(min(max(value / whole, 0), 1), 2).replace("\u202f", "")
