"""Draw every schematic of the notebooks and of the READMEs into pictures/, as SVG.

python tutorials/schematics.py            write them
python tutorials/schematics.py --check    write nothing, name those that differ from what this would draw
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # this checkout's minast, whatever is installed

from drawings import inside, strip, whole  # noqa: E402
from minast.storage.files import atomic  # noqa: E402

FOLDER = HERE / "pictures"
DRAWINGS = {
    **{f"here_{number:02}": lambda number=number: strip.here(number) for number in range(10)},
    "ast": whole.ast,
    "block": inside.block,
    "gpu": inside.gpu,
    "patches": whole.patches,
    "positions": whole.positions,
}


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
