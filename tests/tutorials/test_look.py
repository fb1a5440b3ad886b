"""The tutorials' look: pictures keep their colours, names stand beside their lines, schematics are the code's."""

import base64
import io
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.transforms import Affine2D

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tutorials"))

import look
import pages
import palette
import schematics
from figures import fast_attention
from figures import what_does_it_hear as hear
from minast import encoder, positions
from minast.config import ModelConfig
from minast.gpu import cards


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """The figures that a notebook would show, in the common style."""
    figures = []
    with matplotlib.rc_context(), matplotlib.rc_context(look.STYLE):
        monkeypatch.setattr(look.plt, "show", lambda: figures.append(look.plt.gcf()))
        yield figures
    look.plt.close("all")


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=2 * look.STYLE["figure.dpi"])
    return base64.b64encode(buffer.getvalue()).decode()


def pixels(text):
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")).astype(int)


@pytest.mark.parametrize("height", [2.0, 2.6, 3.5])
@pytest.mark.parametrize("kind", sorted(look.KINDS))
def test_a_map_keeps_its_colours_and_its_bar(kind, height, drawn):
    """Also where a part of the scale stands on the bar alone: a palette that forgets it is refused."""
    rng = np.random.default_rng(0)
    values = {title: 0.8 * rng.random((12, 9)) + 0.2 for title in "abc"}
    look.maps(values, kind, "unit", "x", "y", limit=1, height=height, origin="lower")
    large = png(drawn[0])
    small = palette.smaller(large)
    gap = np.abs(pixels(small) - pixels(large)).max(axis=2)
    assert len(small) < len(large) and gap.max() <= palette.FAR and (gap > palette.NEAR).mean() < palette.EDGES
    (bar,) = (a for a in drawn[0].axes if a.get_ylabel() == "unit")
    box = bar.get_window_extent(drawn[0].canvas.get_renderer()).transformed(Affine2D().scale(2))
    height = pixels(large).shape[0]
    inner = gap[int(height - box.y1) + 3 : int(height - box.y0) - 3, int(box.x0) + 3 : int(box.x1) - 3]
    assert inner.size > 500 and inner.max() <= palette.NEAR


def test_a_photograph_stays_whole():
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "png")
    assert np.array_equal(pixels(palette.smaller(base64.b64encode(buffer.getvalue()).decode())), noise)


def test_zero_is_in_the_middle_of_a_signed_map_and_at_the_end_of_a_share(drawn):
    _, axes = look.figure()
    assert look.heatmap(np.array([[-1.0, 3.0]]), "signed", "gradient", axes).get_clim() == (-3, 3)
    assert look.heatmap(np.array([[0.2, 0.4]]), "share", "weight", axes).get_clim() == (0, 0.4)
    assert look.heatmap(np.ones((2, 2)), "count", "bytes") is None  # shown: a cell would print it as well
    with pytest.raises(look.Error, match="no kind of picture 'heat'"):
        look.heatmap(np.ones((2, 2)), "heat", "")


def test_several_maps_share_one_scale_and_one_bar(drawn):
    look.maps({"a": np.ones((2, 3)), "b": 5 * np.ones((2, 3))}, "share", "weight", "key", "query")
    images = [a.get_images()[0] for a in drawn[0].axes if a.get_images()]
    assert [i.get_clim() for i in images] == [(0, 5), (0, 5)]
    assert [a.get_ylabel() for a in drawn[0].axes] == ["query", "", "weight"]


def test_names_of_lines_do_not_run_into_each_other(drawn):
    x = np.arange(10)
    axes = look.figure(height=3)[1]
    look.lines(x, {name: 1 + 1e-6 * i * x for i, name in enumerate("abcde")} | {"low": 0 * x}, axes)
    places = sorted(t.get_position()[1] for t in axes.texts)
    assert len(places) == 6 and np.diff(places).min() > 0.05 and places[0] >= 0 and places[-1] <= 1
    assert {t.get_color() for t in axes.texts} == {line.get_color() for line in axes.get_lines()}


def test_a_spectrogram_marks_few_frequencies_where_there_is_little_room(drawn):
    mel = np.random.default_rng(0).random((98, 128))
    _, axes = look.figure(2, 1, 2.5)
    look.spectrogram(mel, axes=axes[0], unit=None)
    high = look.figure(height=6)[1]
    look.spectrogram(mel, axes=high, unit=None)
    assert len(axes[0].get_yticks()) < len(high.get_yticks())


# -- pages ------------------------------------------------------------------------------------------------------


def test_cuda_in_a_text_is_coloured_as_cpp():
    pytest.importorskip("pygments")
    source = 'source = r"""\n__global__ void f(float *x) { x[0] = 1.0f; }  // one\n"""\nprint("__global__")\n'
    assert "".join(text for _, text in pages.tokens(source)) == source
    kinds = {text: str(kind) for kind, text in pages.tokens(source)}
    assert kinds["float"].startswith("Token.Keyword") and kinds["// one\n"].startswith("Token.Comment")
    assert kinds["print"].startswith("Token.Name.Builtin")
    plain = 'x = """\nfloat\n"""\n'
    assert all(str(kind).startswith("Token.Literal.String") for kind, text in pages.tokens(plain) if text == "float")


# -- schematics --------------------------------------------------------------------------------------------------


def test_the_pictures_are_those_that_are_drawn():
    assert schematics.stale() == []


@pytest.mark.parametrize("name", sorted(schematics.DRAWINGS))
def test_a_schematic_is_whole_and_its_words_stay_inside(name):
    text = schematics.DRAWINGS[name]().text()
    root = ElementTree.fromstring(text)
    width, height = float(root.get("width")), float(root.get("height"))
    for word in root.iter("{http://www.w3.org/2000/svg}text"):
        size, x, y = (float(word.get(k)) for k in ("font-size", "x", "y"))
        length = 0.5 * size * len(word.text)  # of a usual letter
        left = {"start": x, "middle": x - length / 2, "end": x - length}[word.get("text-anchor")]
        assert left >= -4 and left + length <= width + 4 and size <= y <= height, word.text
    assert len(text) < 40_000


def test_shapes_in_the_schematics_are_those_of_the_model():
    c = ModelConfig.preset("base", prefix_tokens=2)
    words = re.findall(r">([^<]+)</text>", schematics.DRAWINGS["ast"]().text())
    for shape in ("(160000,)", "(1024, 128)", "(1212, 256)", "(1214, 768)", "(2, 768)", "(768,)", "(527,)"):
        assert shape in words
    assert (c.frames, c.mel_bins, c.tokens, c.dim, c.classes) == (1024, 128, 1214, 768, 527)
    kept = positions.cut_middle(np.arange(24), 12, 0)
    assert f"rows {kept[0]} to {kept[-1]} stay" in schematics.DRAWINGS["positions"]().text()


def test_the_drawn_block_has_the_layers_of_the_code_in_their_order():
    """Forward from top to bottom: what block_forward calls, recorded."""
    calls = []

    class Recorder:
        def __getattr__(self, name):
            def call(x, *_):
                calls.append(name.removesuffix("_forward"))
                return x.copy(), None

            return call

    c = ModelConfig.preset("nano", classes=2)
    weights = dict.fromkeys(
        f"{layer}.{kind}"
        for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for kind in ("weight", "bias")
    )
    encoder.block_forward(Recorder(), np.zeros((1, 2, c.dim)), weights, c)
    words = re.findall(r">([^<]+)</text>", schematics.DRAWINGS["block"]().text())
    first = words[: words.index("y (1214, 768)")]
    named = {"norm1": "layernorm", "norm2": "layernorm", "GELU": "gelu"}
    drawn = [named.get(w, w.split(":")[0].split(",")[0]) for w in first]
    assert [w for w in drawn if w in ("layernorm", "linear", "attention", "gelu")] == calls


# -- names of rungs and sounds in the notebooks' figures -------------------------------------------------------


def boxes(axes):
    """The texts that a panel holds, and where they lie in pixels."""
    axes.figure.canvas.draw()
    return [(t.get_text(), t.get_window_extent()) for t in axes.texts if t.get_text()]


def test_sounds_that_overlap_are_marked_at_two_heights(drawn):
    plan = [("bird", 0.4, 1.6), ("speech", 2.1, 3.7), ("bell", 3.0, 4.5), ("alarm", 5.2, 6.5)]
    assert hear.heights(plan) == [0, 0, 1, 0]
    assert hear.heights([("a", 0, 2), ("b", 1, 4), ("c", 3, 5), ("d", 5, 6)]) == [0, 1, 0, 0]  # touching is no overlap
    _, axes = look.figure()
    hear.planned(axes, plan)
    levels = [line.get_ydata()[0] for line in axes.lines]
    assert levels[2] > levels[1] == levels[0] == levels[3]


def test_names_of_rungs_lie_apart_and_on_no_roof(drawn):
    """Six rungs of both roofs, of which two share a place in memory: no name on another one, no name on its point."""
    card = cards.A100
    rungs = {str(i): (15 if i == 0 else 300, x, card.float32_peak) for i, x in enumerate((0.09, 0.5, 1.05, 1.9))}
    rungs |= {f"4, 5, 6 (M = {m})": (600, x, card.tensor_peak) for m, x in ((1, 12.8), (2, 25.6))}
    fast_attention.rooflines(rungs, card)
    for axes in drawn[-1].axes[:2]:
        places = boxes(axes)
        for i, (name, box) in enumerate(places):
            assert not [other for other, b in places[:i] if box.overlaps(b)], name
        roofs = [axes.transData.transform(np.column_stack(line.get_data())) for line in axes.lines[:2]]
        fine = [np.column_stack([np.interp(np.linspace(0, 1, 5000), np.linspace(0, 1, len(r)), c) for c in r.T])
                for r in roofs]  # fmt: skip
        named = [(name, box) for name, box in places if any(name.startswith(k) for k in rungs)]
        assert len(named) >= 3
        for name, box in named:
            hit = [(box.x0 < r[:, 0]) & (r[:, 0] < box.x1) & (box.y0 < r[:, 1]) & (r[:, 1] < box.y1) for r in fine]
            assert not np.any(hit), f"a roof runs through {name!r}"
