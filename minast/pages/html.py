"""Markup as text: what comes from files, labels and users is escaped, what this package wrote is `Html` and stays.

tag("p", "AP of ", tag("b", label), class_="note")   # label is a user's: escaped
"""

import html
from collections.abc import Iterable

from .. import text
from ..text import visible

LONGEST = 4000  # characters of one piece of text
VOID = {"img", "input", "meta", "br", "circle", "line", "rect", "path"}  # elements without content


class Html(str):
    """Markup that is ready to stand in a page."""

    __slots__ = ()

    def __add__(self, other: str) -> "Html":
        return joined((self, other))


def escaped(value: object) -> Html:
    """A text for a page: on one line, control and direction characters as escapes, &, <, > and quotes as entities."""
    return value if isinstance(value, Html) else Html(html.escape(visible(str(value), LONGEST)))


def joined(parts: Iterable[object]) -> Html:
    """Texts and markup one after another; None and False are left out."""
    return Html("".join(escaped(part) for part in parts if part is not None and part is not False))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. Attributes: a name may end in _, other _ become -; None and False leave it out, True needs no value.

    Raises ValueError for children of an element that has none.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            key = key.rstrip("_").replace("_", "-")
            words.append(key if value is True else f'{key}="{escaped(value)}"')
    if name in VOID:
        if children:
            raise ValueError(f"<{name}> has no content")
        return Html(f"<{' '.join(words)}>" if name in ("img", "input", "meta", "br") else f"<{' '.join(words)}/>")
    return Html(f"<{' '.join(words)}>{joined(children)}</{name}>")


# -- numbers in words ----------------------------------------------------------------------------------------------

NONE = "–"  # where there is no number


def percent(value: float | None, digits: int = 1) -> str:
    """0.934 -> "93.4 %" """
    return NONE if value is None or value != value else f"{100 * value:.{digits}f}\u202f%"


def number(value: object, digits: int = 3) -> str:
    """A number with `digits` decimals, a whole number with none, thousands apart; a dash for None and NaN."""
    if value is None or value != value:
        return NONE
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    return f"{value:.{digits}f}"


def size(count: int | None) -> str:
    """Bytes: "312 MB", "1.8 GB"; a dash for None."""
    return NONE if count is None else text.size(count)
