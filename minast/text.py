"""Text from files and file names, made safe to show; numbers of things."""

import unicodedata
from collections.abc import Sequence

JOINERS = "\u200c\u200d"  # zero-width: Persian and Indic spelling and composed emoji need them
CONTROLS = {  # Unicode's categories of characters that no name or sentence holds
    "Cc": "a control character",
    "Cs": "bytes that are not UTF-8",
    "Zl": "a line break",
    "Zp": "a line break",
}
UNSAFE = (*CONTROLS, "Cf")  # and invisible formats, such as the marks of writing direction


def visible(text: str, limit: int = 500) -> str:
    r"""The text on one line, at most `limit` characters long, with nothing in it that a terminal would obey.

    Control characters, line breaks, directional marks and the undecodable bytes of file names become escapes such as
    \x1b and \udcff; the zero-width joiners, with which words and emoji are spelt, stay. What is cut off at the end
    becomes "...".
    """
    text = text[: limit + 1]  # no escape is shorter than its character
    if not text.isprintable():
        text = "".join(_escaped(c) if unicodedata.category(c) in UNSAFE and c not in JOINERS else c for c in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def control(text: str) -> str:
    """What kind of control character a text holds, in words; "" if it has none."""
    return next((CONTROLS[kind] for kind in map(unicodedata.category, text) if kind in CONTROLS), "")


def counted(n: int, noun: str, nouns: str | None = None) -> str:
    """ "1 file", "2 files".   nouns: the plural, if it is not the noun with an s"""
    return f"{n} {noun if n == 1 else nouns or noun + 's'}"


def listed(words: Sequence[str], last: str = "or") -> str:
    """ "a, b or c" """
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def size(count: int) -> str:
    """Bytes, for people: "0 kB", "40 kB", "1.8 MB", "312 MB", "1.2 GB"."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= 0.9995 * unit:
            digits = 1 if name == "GB" or count < 9.95 * unit else 0
            return f"{count / unit:.{digits}f} {name}"
    return f"{count / 1e3:.0f} kB"


def duration(seconds: float) -> str:
    """About how long, for people: "40 s", "17 min", "2.5 h", "3.1 days"."""
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36 * 3600 else f"{seconds / 86400:.1f} days"


def _escaped(character):
    return character.encode("unicode_escape", "surrogatepass").decode()
