"""Text from files and file names, made safe to show."""

import unicodedata

JOINERS = "\u200c\u200d"  # zero-width: Persian and Indic spelling and composed emoji need them
UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, invisible formats, undecodable bytes, line and paragraph ends


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


def _escaped(character):
    return character.encode("unicode_escape", "surrogatepass").decode()
