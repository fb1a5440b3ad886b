"""Is a notebook that of its source? The cells are compared as text, the outputs word by word and number by number.

A number agrees if it differs by at most 1 %, or by one unit of its last digit; numbers like 3e-16, errors of rounding,
if both are below 1e-6 or of the same size to a factor of ten. Numbers of cells that begin with `# varies: why` (times,
trained weights) may differ: this list, a notebook's own, is what may vary. Pictures and sounds are not compared.
"""

import math
import re

TOLERANCE = 0.01
ROUNDING = 1e-6
NUMBER = re.compile(r"(?<![A-Za-z_\d.])[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?(?![\w.]*\w\()", re.I)
VARIES = re.compile(r"# varies: \S")


def changed_cells(new, old):
    """None, or where the texts of two notebooks' cells begin to differ: the number of the cell, from 1."""
    new, old = ([(c.cell_type, c.source) for c in notebook.cells] for notebook in (new, old))
    if new == old:
        return None
    return next((i for i, (a, b) in enumerate(zip(new, old, strict=False), 1) if a != b), min(len(new), len(old)) + 1)


def changed_outputs(new, old):
    """Sentences about outputs that differ, one a cell, of two notebooks with the same cells."""
    found = []
    for number, (a, b) in enumerate(zip(new.cells, old.cells, strict=True), 1):
        if a.cell_type == "code" and not VARIES.match(a.source):
            problem = difference(text_of(a), text_of(b))
            if problem:
                found.append(f"cell {number}: {problem}")
    return found


def text_of(cell):
    """What a code cell printed and displayed, without pictures and sounds."""
    parts = []
    for output in cell.outputs:
        data = output.get("data", {})
        text = output.get("text") or data.get("text/markdown") or data.get("text/plain") or ""
        if "image/png" not in data:
            parts.append(text)
    return "\n".join(parts)


def difference(new, old):
    """None, or the first difference of two outputs in words."""
    words = [NUMBER.sub("#", text).split() for text in (new, old)]
    if words[0] != words[1]:
        pairs = zip(*words, strict=False)
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(map(len, words)))
        said = [" ".join(w[max(0, at - 3) : at + 4]) or "nothing" for w in words]
        return f"a fresh run says `{said[0]}`, the notebook `{said[1]}` (# stands for a number)"
    for a, b in zip(NUMBER.findall(new), NUMBER.findall(old), strict=True):
        if not agree(a, b):
            line = next(line for line in new.splitlines() if a in line).strip()
            return f"a fresh run gives {a}, the notebook {b}, in `{line[:100]}`"
    return None


def agree(a, b):
    """Do two printed numbers mean the same?   "0.31", "0.32" -> True"""
    if a == b:
        return True
    x, y = float(a), float(b)
    if max(abs(x), abs(y)) < ROUNDING:
        return True
    gap = abs(x - y)
    if gap <= TOLERANCE * max(abs(x), abs(y)):
        return True
    if re.fullmatch(r"[-+]?\de[-+]?\d+", a) and re.fullmatch(r"[-+]?\de[-+]?\d+", b) and x * y > 0:
        return abs(math.log10(x / y)) <= 1
    return "." in a and gap <= 1.01 * max(last_digit(a), last_digit(b))


def last_digit(text):
    """One unit of the last digit of a printed number.   "0.31" -> 0.01"""
    mantissa, _, exponent = text.lower().partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


# -- reading ----------------------------------------------------------------------------------------------------

WORDS, LINES, FORMULAS = 200, 20, 2  # a minute


def reading_minutes(notebook):
    """Minutes to read a notebook, without answering the exercises; hints and formulas within a line cost no words."""
    words = lines = formulas = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            lines += len(cell.source.splitlines())
            continue
        text = re.sub(r"<details>.*?</details>", " ", cell.source, flags=re.S)
        text, displayed = re.subn(r"\$\$.*?\$\$", " ", text, flags=re.S)
        text = re.sub(r"\$[^$]*\$|\]\([^)]*\)|<[^>]*>", " ", text)
        words += len(re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text))
        formulas += displayed
    return words / WORDS + lines / LINES + formulas / FORMULAS
