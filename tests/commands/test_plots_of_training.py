"""Learning curves and confusion matrix on a caller's axes: what they draw is what they were given."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib import font_manager

from minast import cli, fonts, plots


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


def test_the_title_of_a_confusion_matrix_has_its_figure(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(plots, "save_figure", lambda fig, path: titles.append(fig.get_suptitle()))
    plots.confusion(np.array([[3, 1], [0, 4]]), ["a", "b"], tmp_path / "a.png")
    assert titles == ["accuracy 87.5%: 7 of 8 clips"]


# -- labels and numbers of classes as people have them -------------------------------------------------------------

ABSURD = [
    "日本語",
    "$x_{",
    "\\frac{",
    "a\nb",
    "\x1b[31m",
    "\udcff",
    "x" * 10**5,
    "",
    " ",
    "مرحبا",
    "\0",
    "👩\u200d🚒",
    "^_^",
    "%s{}",
]


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_absurd_labels_are_drawn_without_a_word(tmp_path, loss, capsys, recwarn):
    targets = np.eye(len(ABSURD))
    plots.per_class(targets, targets, ABSURD, loss, tmp_path / "a.png")
    plots.note_boxes.cache_clear()
    plots.per_class(targets, targets, ABSURD, loss, tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG") and not recwarn
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") <= 2  # what no font has, once


def test_one_note_names_what_no_font_has(tmp_path, capsys):
    plots.note_boxes.cache_clear()
    for _ in range(3):
        plots.class_bars(np.ones(1), ["\U000f0000"], tmp_path / "a.png")  # for private use: no font has it
    assert capsys.readouterr().err.count("note: no installed font has") == 1


def test_a_font_that_has_the_character_is_chosen(tmp_path, capsys):
    """U+2900 is in DejaVu Serif, which comes with Matplotlib, and not in DejaVu Sans, its default."""
    fig = plots.figure()
    title, other = fig.suptitle("two-headed ⤀"), fig.text(0, 0, "plain")
    before = other.get_fontfamily()
    assert fonts.lacked_by_default("plain ⤀") == "⤀" and fonts.fit_fonts(fig) == ""
    families = title.get_fontfamily()
    assert families[: len(before)] == before and len(families) == len(before) + 1
    face = font_manager.get_font(font_manager.findfont(families[-1]))
    assert face.get_char_index(ord("⤀")) and other.get_fontfamily() == before
    plots.save_figure(fig, tmp_path / "a.png")
    assert capsys.readouterr().err == ""


def test_every_third_of_many_classes_is_named():
    axes, labels = plots.figure().subplots(), [str(i) for i in range(250)]
    plots.draw_confusion(axes, np.eye(250, dtype=int), labels)
    assert [t.get_text() for t in axes.get_yticklabels()] == labels[::3]


def test_ten_thousand_classes_cost_the_picture_alone(tmp_path, capsys):
    labels = [str(i) for i in range(10_000)]
    scores = np.zeros((2, 10_000), np.float32)
    path = tmp_path / "a.png"
    cli.try_to_draw(path, lambda: plots.per_class(scores, scores, labels, "ce", path))
    assert capsys.readouterr().err == (
        "note: there is no picture of the confusion matrix: 10000 classes, at most 2000 fit.\n"
    )
    plots.per_class(scores, scores, labels, "bce", path)  # the best hundred
    assert path.exists()


def test_a_users_matplotlibrc_that_asks_for_latex(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"text.usetex": True}):
        plots.class_bars(np.ones(1), ["a_b $ \\"], tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()
