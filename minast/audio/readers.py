"""The streams of a file, one after another, and what is wrong with them. Which reader: `source.streams`.

Each reader is a generator: it yields a stream, has it read to its end by whoever asked, looks at how it ended, adds to
`notes`, and goes on to the next one. Most files have one; chains of Ogg streams and joined mp3 or wav files have more.
"""

from collections.abc import Iterator
from typing import BinaryIO

from . import chunks, claims, mpeg, ogg
from .notes import CUT, Note, cut_short, left_over, unknown_length
from .sndfile import Stream, Unreadable
from .view import View

FLAC = b'fLaC\x00\x00\x00"'  # where a FLAC stream begins
SLACK = 2 * 1152  # frames that an mp3 may have less than its Xing header says: encoders count differently
OPEN_END = 2**40  # bytes: as long as an mp3 without a header is said to be, so that it is read to its end


def chunk_view(file: BinaryIO, start: int, end: int, sound: chunks.Sound | None) -> View:
    """A container with the size of its sound put right, without another one that follows it."""
    return View(file, start, (sound and sound.next) or end, sound and sound.patch())


def plain(file: BinaryIO, end: int, notes: list[Note]) -> Iterator[Stream]:
    """wav, AIFF, FLAC, and everything else but Ogg and MPEG audio."""
    start = 0
    while start is not None:
        sound = chunks.find(file, start, end)
        try:
            stream = Stream(chunk_view(file, start, end, sound))
        except Unreadable as error:
            if not start:
                raise
            notes.append(Note(CUT, f"the file that is joined to it at byte {start} cannot be decoded ({error})."))
            return
        if stream.subtype.startswith("MPEG") and sound:  # mp3 inside a wav
            stream.file.close()
            size = sound.found if sound.unset else sound.claimed or sound.found
            yield from mpeg_audio(file, min(end, start + sound.at + size), notes, start + sound.at)
        else:
            yield stream
            following = _next_flac(file, start, end) if stream.format == "FLAC" else None
            if following is None or stream.decoded < (stream.promised or 0):
                _judge(stream, sound, file, start, end, notes)
        start = sound.next if sound else following


def _judge(stream, sound, file, start, end, notes):
    """Note what is missing of a stream that was read."""
    seconds = stream.decoded / stream.rate
    if sound and (sound.claimed is None or sound.unset):
        notes.append(unknown_length(seconds, sound.unset))
    elif sound and sound.cut:
        notes.append(cut_short(seconds, seconds * sound.claimed / sound.found if sound.found else None))
    elif stream.promised is not None and stream.decoded < stream.promised:
        notes.append(cut_short(seconds, stream.promised / stream.rate, stream.stopped))
    elif stream.stopped and stream.promised is None:
        notes.append(cut_short(seconds, None, stream.stopped))
    elif sound and sound.rest * seconds > 0.5 * (sound.claimed or 1):  # half a second of sound would fit in
        notes.append(left_over(sound.rest))
    elif not sound and not stream.stopped:
        file.seek(start)
        head, log = file.read(4096), stream.log
        ratio = claims.share(stream.format, head, end - start, stream.decoded, log)
        if ratio:
            notes.append(cut_short(seconds, seconds * ratio))


def _next_flac(file, start, end):
    """Where another FLAC stream begins behind the one at `start`, or None"""
    position, overlap = start + 4, len(FLAC) - 1
    while position < end:
        file.seek(position)
        data = file.read(1 << 20)
        if (at := data.find(FLAC)) >= 0:
            return position + at
        position += max(1, len(data) - overlap)
    return None


def mpeg_view(file: BinaryIO, start: int, end: int) -> View:
    """MPEG audio as libsndfile should see it: as long as its Xing header says or, without one, endless."""
    first = mpeg.first_frame(file, start, end)
    size = first is not None and mpeg.promised(file, first)[1]
    return View(file, start, end, length=first - start + size if size else OPEN_END)


def mpeg_audio(file: BinaryIO, end: int, notes: list[Note], start: int = 0) -> Iterator[Stream]:
    """mp3 and mp2: read until there are no more frames, whatever length libsndfile makes of the first ones."""
    end, done, begin = mpeg.without_tags(file, start, end), 0.0, start
    while start is not None:
        first = mpeg.first_frame(file, start, end)
        try:
            stream = Stream(mpeg_view(file, start, end))
        except Unreadable as error:
            if not done:
                raise
            notes.append(cut_short(done, None, str(error)))
            return
        yield stream
        done += stream.decoded / stream.rate
        reached = start + min(stream.view.position, stream.view.size)
        following = _next_frame(file, first, reached, end)
        why = "it ends within a frame" if stream.view.short else stream.stopped
        promised = stream.promised or 0  # far too much without a Xing header
        lacking = (promised - stream.decoded) / stream.rate if promised < OPEN_END // 100 else 0
        if lacking * stream.rate > SLACK:
            notes.append(cut_short(done, done + lacking, why))
        elif following is None and (stream.view.short or (stream.stopped and _matters(file, reached, end))):
            notes.append(cut_short(done, None, why))
        start = following if following is None or following > start else None
    lost = mpeg.gaps(file, begin, end)
    if lost and not notes:
        notes.append(cut_short(done, None, f"{lost} bytes between its frames are damaged"))


def _next_frame(file, first, reached, end):
    """Where the next stream begins, behind one that was read as far as `reached`; None at the end"""
    if first is None or end - reached < 4:
        return None
    file.seek(first)
    kind = mpeg.frame(file.read(4)).kind
    file.seek(max(0, reached - 4))
    latest = mpeg.frame(file.read(4))
    if latest and latest.kind != kind:  # its header was read, and belongs to another kind of frames
        return reached - 4
    return mpeg.first_frame(file, reached, end)


def _matters(file, start, end):
    """Whether anything but zeros is left."""
    file.seek(start)
    return bool(file.read(min(end - start, 1 << 20)).strip(b"\0"))


def ogg_pages(file: BinaryIO, end: int, notes: list[Note]) -> Iterator[Stream]:
    """Vorbis, Opus and FLAC in Ogg: each link of a chain on its own, without the incomplete page at a cut end."""
    done, links = 0.0, ogg.links(file, end)
    for link in links:
        try:
            stream = _ogg_stream(file, link)
        except Unreadable:
            if not done:
                raise
            notes.append(Note(CUT, f"the sound after {done:.2f} s cannot be decoded."))
            continue
        yield stream
        done += stream.decoded / stream.rate
        if why := link.wrong or stream.stopped:
            notes.append(cut_short(done, None, why))


def _ogg_stream(file, link):
    """libsndfile refuses some links with a damaged page: then what comes before it."""
    try:
        return Stream(View(file, link.start, link.end))
    except Unreadable:
        if not link.damaged:
            raise
        return Stream(View(file, link.start, link.whole_until))
