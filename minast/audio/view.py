"""A stretch of a file, as libsndfile and PyAV read it through callbacks."""

from typing import BinaryIO

TAG = 128  # bytes of an ID3v1 tag, the last ones of an mp3


class View:
    """The bytes of an open file from `start` to `stop`, some of them replaced.

    patches: {position in the view: bytes}, for a header whose sizes are wrong. length: what a decoder is told about the
    view's length (default: the truth). After reading, `end` is how far the decoder came, `short` whether it asked for
    bytes beyond the last one while there were some left to give, and `dry` how often it was given none.

    No method raises: an exception inside a callback would be printed and lost. A disk that cannot be read looks like
    the file's end, and `error` says why.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int = 0,
        stop: int | None = None,
        patches: dict[int, bytes] | None = None,
        length: int | None = None,
    ):
        if stop is None:
            stop = file.seek(0, 2)
        self.file, self.start, self.size, self.patches = file, start, max(stop - start, 0), patches or {}
        self.length = self.size if length is None else length
        self.position, self.end, self.dry, self.short, self.error = 0, 0, 0, False, None

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file; never before the beginning."""
        self.position = max(0, offset + (0, self.position, self.length)[whence])
        return self.position

    def tell(self) -> int:
        """Bytes from the beginning of the view."""
        return self.position

    def read(self, count: int) -> bytes:
        """At most `count` bytes, b"" at the end: for PyAV, which does not ask for `readinto`."""
        buffer = bytearray(count)
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer as far as there are bytes.   -> their number, 0 at the end"""
        asked, at = memoryview(buffer).cast("B"), self.position
        if (
            at >= self.length - TAG > self.size - TAG
        ):  # mpg123 looks for a tag there, and gives up if it can read nothing
            at = max(0, at - self.length + self.size)
        wanted = min(len(asked), max(0, self.size - at))
        try:
            self.file.seek(self.start + at)
            count = self.file.readinto(asked[:wanted]) if wanted else 0
        except OSError as error:
            self.error, count = error, 0
        for place, data in self.patches.items():
            first, last = max(place, at), min(place + len(data), at + count)
            if first < last:
                asked[first - at : last - at] = data[first - place : last - place]
        self.short |= 0 < count < len(asked)
        self.dry += count == 0
        self.position += count
        self.end = max(self.end, min(self.position, self.size))
        return count
