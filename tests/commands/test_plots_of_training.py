"""Learning curves and confusion matrix on a caller's axes: what they draw is what they were given."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from minast import plots


def test_learning_curves_show_the_history():
    rows = [
        {"epoch": e, "train_loss": 3 - e, "valid_loss": 3.5 - e, "train_top1": e / 4, "accuracy": e / 5}
        for e in (1, 2, 3)
    ]
    left, right = plots.figure().subplots(1, 2)
    plots.draw_learning_curves((left, right), rows)
    drawn = [line.get_ydata() for axes in (left, right) for line in axes.lines]
    for line, name in zip(drawn, ("train_loss", "valid_loss", "train_top1", "accuracy"), strict=True):
        assert list(line) == [row[name] for row in rows]
    assert all(list(line.get_xdata()) == [1, 2, 3] for line in left.lines)
    assert "nats" in left.get_ylabel() and right.get_ylabel() == "accuracy"


def test_confusion_colours_shares_and_writes_counts():
    matrix = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]])  # a class without a clip divides by nothing
    axes = plots.figure().subplots()
    image = plots.draw_confusion(axes, matrix, ["a", "b", "c$"])
    np.testing.assert_allclose(image.get_array(), [[0.75, 0.25, 0], [0, 0, 0], [0.25, 0, 0.75]])
    texts = {t.get_position(): t.get_text() for t in axes.texts}
    assert texts == {(0, 0): "3", (1, 0): "1", (0, 2): "2", (2, 2): "6"}  # (column, row)
    assert axes.get_xlabel() == "predicted" and axes.get_ylabel() == "true"
