"""Draw every schematic of the notebooks and of the READMEs into pictures/, as SVG.

python tutorials/schematics.py            write them
python tutorials/schematics.py --check    write nothing, name those that differ from what this would draw
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # this checkout's minast, whatever is installed

from minast.files import atomic  # noqa: E402
from svg import LINE, SOFT, Drawing  # noqa: E402

FOLDER = HERE / "pictures"

STOPS = [  # the way of a sound, left to right: (name, notebooks that are about it)
    ("sound", ()),
    ("spectrogram", (1,)),
    ("patches", (2,)),
    ("attention", (4, 8)),
    ("encoder", (5,)),
    ("label", ()),
]
LANES = [  # what serves it: (name, first stop, last stop, row, arrow to the left, notebooks)
    ("weights learnt from images", 0, 2, 0, False, (6,)),
    ("gradients", 3, 5, 0, True, (3,)),
    ("what did it hear, and where?", 0, 2, 1, True, (9,)),
    ("CUDA kernels", 3, 5, 1, False, (7, 8)),
]


def here(number):
    """The strip at the head of a notebook: the way of a sound through AST, with this notebook's part marked."""
    d = Drawing(760, 132, f"You are here: notebook {number}")
    widths, gap, left = (96, 134, 108, 118, 108, 96), 16, 10
    x = [left + sum(widths[:i]) + gap * i for i in range(len(STOPS))]
    for i, (name, about) in enumerate(STOPS):
        d.box(x[i], 10, widths[i], 40, name, fill=_fill(number, about), size=16)
        if i:
            d.arrow((x[i] - gap, 30), (x[i], 30), color=LINE)
    for name, first, last, row, back, about in LANES:
        y, a, b = 60 + 34 * row, x[first], x[last] + widths[last]
        d.box(a, y, b - a, 28, name, fill=_fill(number, about), size=15, bold=number in about, radius=14)
        if back:
            d.arrow((b - 14, y + 14), (b - 44, y + 14), color=SOFT)
    return d


def _fill(number, about):
    return "here" if number == 0 or number in about else "quiet"


DRAWINGS = {f"here_{number:02}": lambda number=number: here(number) for number in range(10)}


def stale():
    """The names of pictures that differ from what is drawn now, or are missing, or are drawn no more."""
    wanted = {f"{name}.svg": draw().text() for name, draw in DRAWINGS.items()}
    found = {p.name: p.read_text(encoding="utf-8") for p in FOLDER.glob("*.svg")}
    return sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, name the pictures that differ")
    if parser.parse_args(argv).check:
        names = stale()
        print("\n".join(f"pictures/{name} is not what schematics.py draws: run it" for name in names) or "all as drawn")
        return 1 if names else 0
    FOLDER.mkdir(exist_ok=True)
    for name, draw in DRAWINGS.items():
        with atomic(FOLDER / f"{name}.svg", "w", encoding="utf-8", newline="\n") as f:
            f.write(draw().text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
