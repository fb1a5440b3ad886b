"""Changes of plain bytes and of texts, and the values that go wrong most often. rng: numpy's Generator."""

import struct

HUGE = (2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 10**30, 10**400)
NASTY = (
    None, True, False, 0, -1, 1, 2, 3, 7, 96.0, 0.5, -0.0, 1e-320, 1e38, 1e39, 1e308, float("nan"), float("inf"),
    float("-inf"), 10**7, *HUGE, -(2**63), "", " ", "x", "ce", "0", "hann", "NaN", "\x1b[31mred", "a\nb", "\x00",
    "\ud800", "\u202eevil", "\u00e9", "e\u0301", "=1+1", "a" * 5000, [], {}, [[]], [None], {"a": 1}, {"": {}},
    ["a"] * 3, [1, 2, 3], [0.9, 0.999],
)  # fmt: skip
TEXTS = (
    "", "\0", "\x1b]0;title\x07", '"', '""', ",", ";", "\r", "\n\n", "\ufeff", "\u202e", "\u00e9", "a" * 200_000,
    "=cmd()", "../..",
)  # fmt: skip
RIFF = ((4, "<I"), (16, "<I"), (20, "<H"), (22, "<H"), (24, "<I"), (28, "<I"), (32, "<H"), (34, "<H"), (40, "<I"))


def pick(rng, values):
    """One of a sequence."""
    return values[int(rng.integers(len(values)))]


def flipped(rng, data):
    """One to four bits changed."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if out:
            out[int(rng.integers(len(out)))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def cut(rng, data):
    """The end is missing."""
    return data[: int(rng.integers(len(data) + 1))]


def without_a_piece(rng, data):
    """A piece in the middle is missing."""
    at, size = int(rng.integers(len(data) + 1)), int(rng.integers(1, 64))
    return data[:at] + data[at + size :]


def with_a_piece(rng, data):
    """Random bytes, zeros or a copy of another piece in the middle."""
    at, size = int(rng.integers(len(data) + 1)), int(rng.integers(1, 64))
    from_ = int(rng.integers(len(data) + 1))
    piece = pick(rng, (rng.bytes(size), bytes(size), b"\xff" * size, data[from_ : from_ + size]))
    return data[:at] + piece + data[at:]


def overwritten(rng, data):
    """A 2, 4 or 8 byte number somewhere becomes a large or small one."""
    out, size = bytearray(data), pick(rng, (2, 4, 8))
    if len(out) < size:
        return data
    value = pick(rng, (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)) % 2 ** (8 * size)
    at = int(rng.integers(len(out) - size + 1))
    out[at : at + size] = value.to_bytes(size, pick(rng, ("little", "big")))
    return bytes(out)


def grown(rng, data):
    """Rubbish behind the end."""
    return data + rng.bytes(int(rng.integers(1, 200)))


PLAIN = (flipped, flipped, flipped, cut, without_a_piece, with_a_piece, overwritten, overwritten, grown)


def plain(rng, data):
    """Any of these changes."""
    return pick(rng, PLAIN)(rng, data)


def text(rng, data):
    """A file of text with lines cut, swapped, doubled, or with something strange in a cell."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    at = int(rng.integers(len(lines)))
    what = int(rng.integers(7))
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, lines[int(rng.integers(len(lines)))])
    elif what == 2:
        other = int(rng.integers(len(lines)))
        lines[at], lines[other] = lines[other], lines[at]
    elif what == 3:
        cells = lines[at].split(",")
        cells[int(rng.integers(len(cells)))] = pick(rng, TEXTS)
        lines[at] = ",".join(cells)
    elif what == 4:
        place = int(rng.integers(len(lines[at]) + 1))
        lines[at] = lines[at][:place] + pick(rng, TEXTS) + lines[at][place:]
    elif what == 5:
        return pick(rng, (b"\xff\xfe", b"\xef\xbb\xbf", b"\xfe\xff", b"PK\x03\x04")) + data
    else:
        return "\n".join(lines).encode(pick(rng, ("utf-16", "utf-32", "latin-1")), "replace")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def wav_header(rng, data):
    """A field of a RIFF header: a size, the format, channels, rate, bits."""
    out = bytearray(data)
    at, kind = pick(rng, RIFF)
    top = 2 ** (8 * struct.calcsize(kind)) - 1
    value = pick(rng, (0, 1, 2, 3, 7, 8, 16, 17, 24, 49, 64, 100, 8000, 44100, 2**16 - 1, 2**31, 2**32 - 1))
    out[at : at + struct.calcsize(kind)] = struct.pack(kind, min(value, top))
    return bytes(out)
