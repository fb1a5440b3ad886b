"""Parts of pages: what is escaped, that a page is whole and loads nothing, charts that show what they are given."""

import base64
import hashlib
import io
import re

import numpy as np
import pytest

from minast import pages, text
from minast.audio.write import compressed, wav
from minast.pages import charts, sound
from minast.pages.builder import Column, Section, page, table
from minast.pages.html import Html, escaped, number, percent, size, tag
from tests.pages.made import HOSTILE, Reader


def test_texts_are_escaped_and_markup_stays():
    assert tag("p", "a < b & c", tag("b", '"'), class_="x") == '<p class="x">a &lt; b &amp; c<b>&quot;</b></p>'
    assert tag("td", 3, data_v=0.5, hidden=True, title=None, id=False) == '<td data-v="0.5" hidden>3</td>'
    both = tag("b", "<") + "<" + tag("i", ">")
    assert isinstance(both, Html) and both == "<b>&lt;</b>&lt;<i>&gt;</i>" and escaped(both) is both
    found = escaped(HOSTILE)
    assert "<" not in found and '"' not in found and "\u202e" not in found and "\x1b" not in found
    with pytest.raises(ValueError):
        tag("img", "no content")


def test_numbers_in_words():
    assert percent(0.9375) == "93.8\u202f%" and percent(None) == percent(float("nan")) == "–"
    assert number(1234567) == "1\u202f234\u202f567" and number(0.12345) == "0.123" and number(None) == "–"
    assert size(None) == "–" and size(1.8e9) == "1.8 GB" and size(3e8) == "300 MB"
    assert [text.size(n) for n in (0, 39_800, 999_600, 1_754_000, 9_960_000, 999_600_000)] == [
        "0 kB",
        "40 kB",
        "1.0 MB",
        "1.8 MB",
        "10 MB",
        "1.0 GB",
    ]


def body():
    rows = [[f"{HOSTILE} {i}", i, i / 60, None] for i in range(60)]
    columns = [Column(HOSTILE), Column("n", number), Column("share", percent, bar=True), Column("none", number)]
    chart = charts.line_chart([charts.Line(HOSTILE, [1, 2, 3], [0.1, None, 0.3])], "epoch", "loss", HOSTILE)
    marks = [(0.1, 0.4, HOSTILE)]
    wave = np.zeros(8000, np.float32)
    player = sound.player(
        sound.sound_uri(wave, 16000),
        0.5,
        sound.spectrogram_uri(np.random.default_rng(0).random((48, 128))),
        HOSTILE,
        marks=marks,
        caption=HOSTILE,
        name="one",
    )
    return [
        Section(HOSTILE, table(columns, rows, HOSTILE)),
        Section("chart", pages.figure(chart, HOSTILE)),
        Section("sound", pages.stacked(player, pages.seek("one", 0.25, HOSTILE))),
        Section("more", pages.folded(HOSTILE, pages.tiles((HOSTILE, 1, HOSTILE)), pages.notes([HOSTILE]))),
    ]


def test_a_hostile_page_is_well_formed_and_runs_nothing_of_a_user():
    whole = page(HOSTILE, body(), HOSTILE)
    read = Reader(whole)
    assert len(read.all("script")) == 1 and not [a for a in read.all("img") if not a["src"].startswith("data:")]
    assert not [a for _, a in read.found for name in a if name.startswith("on")]
    shown = "".join(read.text)
    assert shown.count("<script>alert(1)</script>") > 60 and "\\u202e" in shown and "\x1b" not in whole
    assert whole.startswith("<!doctype html>")


def test_a_page_loads_nothing_and_allows_its_own_script_alone():
    whole = page("title", body())
    read = Reader(whole)
    assert not read.all("link") and "@import" not in whole and not re.search(r"url\(", whole)
    for _, attrs in read.found:
        for name in ("src", "href", "data", "action"):
            assert attrs.get(name, "#").startswith(("#", "data:")), attrs
    assert not re.search(r"https?://", whole)
    policy = next(a["content"] for a in read.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*)</script>", whole, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_headings_tables_and_pictures_say_what_they_are():
    read = Reader(page("title", body()))
    assert read.all("html")[0]["lang"] == "en" and len(read.all("h1")) == 1 and len(read.all("main")) == 1
    anchors = {a["id"] for a in read.all("h2")}
    assert {a["href"][1:] for a in read.all("a")} == anchors | {"main"}
    assert {a.get("scope") for a in read.all("th")} == {"col", "row"}
    assert all("alt" in a for a in read.all("img")) and all(a.get("aria-label") for a in read.all("svg"))


def test_a_table_keeps_values_for_sorting():
    rows = [["b", 2, (0.5, Html("<b>half</b>"))], ["a", None, None]]
    whole = table([Column("name"), Column("n", number), Column("x")], rows)
    read = Reader(whole)
    assert [a.get("data-v") for a in read.all("td")] == ["2", "0.5", None, None] and "<b>half</b>" in whole
    assert "".join(read.text).count("–") == 2 and "data-fold" not in whole
    assert 'data-fold="1"' in table([Column("n")], [[1], [2]], fold=1)
    assert Reader(table([Column("n")], [])).all("tbody")


def test_lines_are_where_their_values_are():
    chart = charts.line_chart(
        [charts.Line("a", [1, 2, 4], [0, 50, 100])], "x", "y", "d", low=0, high=100, mark=(2, "two")
    )
    path = next(a["d"] for a in Reader(chart).all("path"))
    xs, ys = np.array([p.split() for p in path.removeprefix("M").split("L")], float).T
    assert np.allclose(np.diff(xs)[1] / np.diff(xs)[0], 2, atol=0.01) and np.allclose(np.diff(ys)[0], np.diff(ys)[1])
    assert ys[0] == charts.HEIGHT - charts.BOTTOM and ys[2] == charts.TOP
    tips = [a["data-tip"] for a in Reader(chart).all("rect")]
    assert tips == ["x 1 · a: 0", "x 2 · a: 50", "x 4 · a: 100"] and "two" in chart
    gap = charts.line_chart([charts.Line("a", [1, 2, 3], [1.0, float("nan"), 2.0])], "x", "y", "d")
    assert next(a["d"] for a in Reader(gap).all("path")).count("M") == 2
    assert "no values" in charts.line_chart([charts.Line("a", [1], [None])], "x", "y", "d")


@pytest.mark.parametrize("low, high", [(0, 1), (0.93, 0.97), (0, 0), (-3, 5), (1e-7, 9e-7), (0, 12345)])
def test_steps_are_round_and_cover(low, high):
    found = charts.steps(low, high)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 12
    assert np.allclose(np.diff(found), found[1] - found[0])


@pytest.mark.parametrize("epochs", [1, 2, 3, 30])
def test_there_is_no_epoch_one_and_a_half(epochs):
    x = list(range(1, epochs + 1))
    drawn = charts.line_chart([charts.Line("a", x, [0.5] * epochs)], "epoch", "loss", "x", low=0, high=1)
    text = "".join(Reader(f"<p>{drawn}</p>").text)
    along = text[text.index("1") :]
    assert "1.5" not in along and "0.75" not in along and "1.2" not in along, text
    halves = charts.line_chart([charts.Line("a", [1, 1.5, 2], [1, 2, 3])], "s", "loss", "x")
    assert "1.4" in halves or "1.5" in halves


def test_a_heat_map_has_a_cell_for_each_pair():
    cells = [[0, 0, 3], [0, 1, 1], [1, 1, 4]]
    tips = [a["data-tip"] for a in Reader(charts.heat_map(cells, ["a", "b"], "d")).all("rect") if "data-tip" in a]
    assert tips == [
        "a: 3 of 4 right (75\u202f%)",
        "a heard as b: 1 of 4 (25\u202f%)",
        "b: 4 of 4 right (100\u202f%)",
    ]


def test_png_is_what_pillow_reads():
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    levels, palette, alpha = rng.integers(0, 7, (5, 9)).astype("u1"), rng.integers(0, 255, (7, 3)), np.arange(7) * 30
    read = np.asarray(image.open(io.BytesIO(sound.png(levels, palette, alpha))).convert("RGBA"))
    assert np.array_equal(read[..., :3], palette[levels]) and np.array_equal(read[..., 3], alpha[levels])


def test_a_spectrogram_is_upright_and_a_relevance_map_small():
    image = pytest.importorskip("PIL.Image")
    mel = np.zeros((40, 128))
    mel[:, 10] = 5  # a low tone: near the lower edge
    uri = sound.spectrogram_uri(mel)
    pixels = np.asarray(image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("L"))
    assert pixels.shape == (128, 40) and pixels.sum(axis=1).argmax() == 127 - 10
    values = np.zeros((41, 130))
    values[20, 60] = 1
    small = image.open(io.BytesIO(base64.b64decode(sound.relevance_uri(values).split(",")[1])))
    assert small.size == (11, 33)
    assert sound.relevance_uri(np.zeros((1, 16)))  # a clip of one frame


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 10000, 96000])
def test_a_sound_is_small_and_is_the_sound(rate):
    import soundfile

    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    kind, content = compressed(wave, rate)
    heard, at = soundfile.read(io.BytesIO(content))
    assert len(content) < 25_000 and abs(len(heard) / at - 1) < 0.15 and kind.startswith("audio/")
    spectrum = np.abs(np.fft.rfft(heard[: at // 2]))
    assert abs(np.fft.rfftfreq(at // 2, 1 / at)[spectrum.argmax()] - 440) < 4


def test_without_libsndfile_a_sound_is_a_wav(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "soundfile", None)
    wave = np.linspace(-1, 1, 1000)
    assert compressed(wave, 16000) == ("audio/wav", wav(wave, 16000))


def test_a_long_curve_is_drawn_to_its_end():
    """A thousand epochs: no text is cut within a path."""
    x = list(range(1, 1001))
    chart = charts.line_chart([charts.Line("loss", x, [1 / n for n in x])], "epoch", "loss", "d")
    (path,) = re.findall(r'<path d="([^"]*)" class="line', chart)
    assert path.count("L") == 999 and "..." not in path
