"""What a file is by its first bytes, for files that people mistake for sound or for weights."""

from collections.abc import Mapping

PAGE = "a web page, so download the file itself (on a hub, its raw or download link)"
KNOWN = {  # first bytes -> what it is, and what to do
    b"version https://git-lfs": "a git-lfs pointer to the file, so run `git lfs pull` in its folder",
    **dict.fromkeys((b"<!doctype", b"<html", b"<head", b"<!--"), PAGE),
    b"<?xml": "an XML text, as servers send when they refuse a download",
    b"pk\x03\x04": "a zip archive (.zip, .npz, .docx, ...)",
    b"\x1f\x8b": "a gzip archive, so unpack it first",
    b"\x89png": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"gif8": "a GIF picture",
    b"%pdf": "a PDF document",
}
SOUNDS = dict.fromkeys((b"riff", b"rf64", b"form", b"flac", b"oggs", b"id3"), "a sound")


def recognised(start: bytes, known: Mapping[bytes, str] = KNOWN) -> str | None:
    """What a file is that begins like this, as the end of a sentence without its full stop; None if `known` lacks it.

    Letter case and white space in front are ignored, since those of web pages vary.
    """
    start = start.lstrip().lower()
    return next((what for magic, what in known.items() if start.startswith(magic)), None)
