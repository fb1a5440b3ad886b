"""Text from files and file names, made safe to show."""

import unicodedata


def visible(text: str, limit: int = 500) -> str:
    r"""The text on one line, at most `limit` characters long, with nothing in it that a terminal would obey.

    Control characters, line breaks, directional marks and the undecodable bytes of file names become escapes such as
    \x1b and \udcff; what is cut off at the end becomes "...".
    """
    shown = "".join(_escaped(c) if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def _escaped(character):
    return character.encode("unicode_escape", "surrogatepass").decode()
