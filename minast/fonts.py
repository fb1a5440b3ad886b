"""Fonts for labels in any script: what Matplotlib's own font lacks is taken from others that are installed."""

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREFERRED = ("CJK", "Noto Sans", "Hei", "Gothic")  # parts of names: plain fonts of many characters come first
UNFIT = ("Emoji", "Last Resort")  # coloured ones, which cannot be drawn, and one with boxes for all characters


def fit_fonts(figure: "Figure") -> str:
    """Give each text of a figure fonts that have its characters.   -> the characters that no installed font has"""
    from matplotlib.text import Text

    texts = figure.findobj(Text)
    lacking = lacked_by_default("".join(sorted(set("".join(text.get_text() for text in texts)))))
    families, left = covering(lacking)
    for text in texts:
        text.set_usetex(False)  # a matplotlibrc may ask for it; labels are no LaTeX
        if families and set(text.get_text()) & set(lacking):
            text.set_fontfamily([*text.get_fontfamily(), *families])
    return left


@functools.lru_cache
def lacked_by_default(characters: str) -> str:
    """Those of the characters that are not in the font of an ordinary text."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    return "".join(c for c in characters if not c.isspace() and not font.get_char_index(ord(c)))


@functools.lru_cache
def covering(characters: str) -> tuple[tuple[str, ...], str]:
    """Names of installed fonts that together have as many of the characters as possible, and the characters left."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

    names, left = [], set(characters)
    families = sorted({font.name for font in fontManager.ttflist if not any(part in font.name for part in UNFIT)})
    for name in sorted(families, key=lambda name: not any(part in name for part in PREFERRED)):
        if not left:
            break
        try:  # the face that a text of this family is drawn with
            font = get_font(findfont(FontProperties(family=[name]), fallback_to_default=False))
        except Exception:  # a damaged file, which is FreeType's own exception
            continue
        if found := {c for c in left if font.get_char_index(ord(c))}:
            names.append(name)
            left -= found
    return tuple(names), "".join(sorted(left))
