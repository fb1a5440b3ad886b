"""One stream through libsndfile, block by block, as far as it can be decoded."""

from collections.abc import Iterator
from functools import cache

import numpy as np

from ..errors import reason
from .view import View

VALUES = 2**17  # samples, of all channels together, that are decoded at a time: 0.5 MiB
BROKEN = (OSError, RuntimeError, ValueError, TypeError, OverflowError, AssertionError)  # what soundfile raises
ENDLESS = 2**50  # more frames than any file has: libsndfile's way to say that it does not know


class Unreadable(Exception):
    """A decoder cannot open this; the message is its reason."""


class Stream:
    """What libsndfile finds in a view: `rate` in Hz, `channels`, `format` and `subtype` by libsndfile's names.

    promised: frames that the header states, None if it does not. After `blocks`: `decoded`, the frames there were, and
    `stopped`, why decoding ended before the stream did, or "". Raises Unreadable.
    """

    def __init__(self, view: View):
        self.view, self.decoded, self.stopped = view, 0, ""
        try:
            self.file = _reader()(view)
        except BROKEN as error:
            why = reason(error)  # mpg123's failure to find a frame is reported as a missing file
            raise Unreadable("no MPEG audio in it" if why.startswith("File does not exist") else why) from None
        self.rate, self.channels = self.file.samplerate, self.file.channels
        self.format, self.subtype = self.file.format, self.file.subtype
        self.log = self.file.extra_info
        self.promised = self.file.frames if 0 <= self.file.frames < ENDLESS else None

    def blocks(self) -> Iterator[np.ndarray]:
        """(n, channels) float32, as long as there are any."""
        rows = max(1, VALUES // self.channels)
        with self.file:
            while not self.stopped:
                out, dry = np.full((rows, self.channels), np.nan, np.float32), self.view.dry
                try:
                    count = len(self.file.read(out=out))
                except BROKEN as error:  # what was decoded before it is in `out`
                    self.stopped, count = reason(error), min(_filled(out), (self.promised or ENDLESS) - self.decoded)
                if count == rows and self.view.dry > dry and self.decoded + count < (self.promised or 0):
                    self.stopped, count = "the file ends", len(np.trim_zeros(out.any(axis=1), "b"))  # zeros were added
                if self.view.error:
                    raise self.view.error
                if not count:
                    return
                self.decoded += count
                yield out[:count]


def _filled(out):
    """Rows up to the last one that something was written into."""
    written = ~np.isnan(out).all(axis=1)
    return len(out) - int(written[::-1].argmax()) if written.any() else 0


@cache
def _reader():
    import soundfile

    class Reader(soundfile.SoundFile):
        """A SoundFile that is read from beginning to end.

        soundfile seeks after every block of a seekable file, and does not read beyond the length it was told.
        """

        def seekable(self):
            return False

    return Reader
