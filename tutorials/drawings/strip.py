"""The strip at each notebook's head: you are here."""

from .svg import LINE, SOFT, Drawing

STOPS = [  # the way of a sound, left to right: (name, width, notebooks that are about it)
    ("sound", 96, ()),
    ("spectrogram", 134, (1,)),
    ("patches", 108, (2,)),
    ("attention", 118, (4, 8)),
    ("encoder", 108, (5,)),
    ("label", 96, ()),
]
LANES = [  # what serves it: (name, first stop, last stop, row, arrow to the left, notebooks)
    ("weights learnt from images", 0, 2, 0, False, (6,)),
    ("gradients", 3, 5, 0, True, (3,)),
    ("what did it hear, and where?", 0, 2, 1, True, (9,)),
    ("CUDA kernels", 3, 5, 1, False, (7, 8)),
]


def here(number):
    """The way of a sound through AST, with the part of one notebook marked; notebook 0 is about all of it."""
    d = Drawing(760, 132, f"You are here: notebook {number}")
    gap, ends = 16, []
    for name, width, about in STOPS:
        x = ends[-1][1] + gap if ends else 10
        ends.append((x, x + width))
        d.box(x, 10, width, 40, name, fill=_fill(number, about), size=16)
        if len(ends) > 1:
            d.arrow((x - gap, 30), (x, 30), color=LINE)
    for name, first, last, row, back, about in LANES:
        y, left, right = 60 + 34 * row, ends[first][0], ends[last][1]
        d.box(left, y, right - left, 28, name, fill=_fill(number, about), size=15, bold=number in about, radius=14)
        if back:
            d.arrow((right - 14, y + 14), (right - 44, y + 14), color=SOFT)
    return d


def _fill(number, about):
    return "here" if number == 0 or number in about else "quiet"
