"""What --check compares: words and numbers of outputs, and what may vary. And how long a notebook takes to read."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tutorials"))

import compare


def cell(source, *texts, kind="code"):
    outputs = [{"output_type": "stream", "text": text} for text in texts]
    return SimpleNamespace(cell_type=kind, source=source, outputs=outputs)


def notebook(*cells):
    return SimpleNamespace(cells=list(cells))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("3.14", "3.14", True),
        ("1000", "1009", True),  # within 1 %
        ("0.31", "0.32", True),  # one unit of the last digit
        ("0.31", "0.33", False),
        ("4", "5", False),  # a count is a count
        ("-1.2", "1.2", False),
        ("3e-16", "8e-15", True),  # rounding
        ("2e-05", "9e-05", True),  # one digit: a size
        ("2e-05", "9e-03", False),
        ("2.1e-05", "2.4e-05", False),
        ("0.65", "0.44", False),
    ],
)
def test_numbers(a, b, same):
    assert compare.agree(a, b) is same and compare.agree(b, a) is same


@pytest.mark.parametrize(
    ("new", "old", "words"),
    [
        ("a share of 28 %", "a share of 55 %", "gives 28, the notebook 55"),
        ("bell above", "bell below", "a fresh run says `bell above`"),
        ("one", "one two", "the notebook `one two`"),
        ("[0.5 0.25]", "[0.5 0.26]", None),
        ("layer1 conv2d", "layer1 conv2d", None),
        ("x 1\n  y 2", "x 1\ny 2", None),  # spaces may differ
    ],
)
def test_outputs(new, old, words):
    said = compare.difference(new, old)
    assert said is None if words is None else words in said


def test_what_varies_is_marked_in_its_cell():
    old = notebook(cell("print(x)", "0.5"), cell("# varies: times\nprint(t)", "3 s"), cell("text", kind="markdown"))
    new = notebook(cell("print(x)", "0.7"), cell("# varies: times\nprint(t)", "9 s"), cell("text", kind="markdown"))
    assert compare.changed_outputs(new, old) == ["cell 1: a fresh run gives 0.7, the notebook 0.5, in `0.7`"]
    assert compare.changed_cells(new, old) is None
    assert compare.changed_cells(notebook(*new.cells, cell("more")), old) == 4


def test_pictures_are_not_text():
    one = cell("draw()")
    one.outputs = [
        {"data": {"image/png": "abc", "text/plain": "<Figure size 864x268>"}},
        {"data": {"text/markdown": "7"}},
    ]
    assert compare.text_of(one) == "7"


def test_reading_counts_words_lines_and_formulas_in_the_open():
    text = "word " * 200 + "$$x$$ $y z$ [link](http://a/b/c) <details><summary>Hint</summary>not this</details>"
    minutes = compare.reading_minutes(notebook(cell(text, kind="markdown"), cell("a = 1\n" * 20)))
    assert minutes == pytest.approx(1 + 1 / 200 + 1 + 0.5)
