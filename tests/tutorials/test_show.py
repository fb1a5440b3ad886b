"""What notebooks display: real source, found by name; players; tables. Each lookup fails in a script as well."""

import base64
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import minast
from minast import layers
from minast.gpu import kernel_source

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tutorials"))

import show

FILES = sorted(p.name for p in kernel_source.folder().glob("*.cu"))


@pytest.fixture
def shown(monkeypatch):
    """The bundles that a notebook would display."""
    bundles = []
    monkeypatch.setattr(show, "_display", bundles.append)
    return bundles


def test_a_script_shows_nothing(capsys):
    show.source(layers.gelu_forward)
    show.table([(1, 2)], ["a", "b"])
    show.audio(np.zeros(10), 8000)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("file", FILES)
def test_every_kernel_is_found_whole(file, shown):
    for name in kernel_source.load(file).kernels:
        show.kernel(file, name)
        text = shown[-1]["text/plain"]
        code = kernel_source.without_comments(text)
        assert text.count("__global__") == 1 and re.search(rf"\b{name}\(", text)
        assert code.rstrip().endswith("}") and code.count("{") == code.count("}") > 0
        assert shown[-1]["text/markdown"].startswith(f"`kernels/{file}`\n```cpp\n")


def test_a_kernel_comes_with_its_comments_and_template(shown):
    show.kernel("unfold.cu", "unfold_strip")
    lines = shown[-1]["text/plain"].splitlines()
    assert lines[0].startswith("// grid: (grid_t, B)") and lines[2] == "template <typename T>" and lines[-1] == "}"


def test_a_picture_is_the_file(shown, tmp_path):
    path = tmp_path / "x.png"
    with pytest.raises(minast.Error, match=r"no picture x\.png"):
        show.picture(path)
    path.write_bytes(b"PNG")
    show.picture(path, "bars")
    assert base64.b64decode(shown[0]["image/png"]) == b"PNG" and shown[0]["text/plain"] == "Picture: bars"


def test_device_functions_and_overloads(shown):
    show.kernel("common.cuh", "warp_sum", "to_float")
    assert shown[0]["text/plain"].startswith("template <int LANES = WARP>")
    assert shown[1]["text/plain"].count("to_float(") == 3


def test_source_and_a_part_of_it(shown):
    show.source(layers.softmax_forward, minast.log_mel)
    assert [b["text/markdown"].splitlines()[0] for b in shown] == ["`minast/layers.py`", "`minast/features.py`"]
    assert "return p, (p,)" in shown[0]["text/plain"]
    show.source(layers, start="def bce_forward", stop="def bce_backward")
    assert re.fullmatch(r"def bce_forward.*float64\), \(logits, y, weights\)", shown[-1]["text/plain"], re.S)
    show.source(layers.layernorm_backward, start="x, w, mean", stop="return")
    assert shown[-1]["text/plain"].startswith("x, w, mean") and "return" not in shown[-1]["text/plain"]
    show.source(minast.AST.embed, start="return")
    assert shown[-1]["text/plain"].startswith("return")  # a method's lines begin at the left as well
    show.source(layers.softmax_forward, start=0, stop=1)
    assert re.fullmatch(r"def softmax_forward\(x.*:", shown[-1]["text/plain"])


@pytest.mark.parametrize(
    "call",
    [
        *(lambda: show.kernel("none.cu", "f"), lambda: show.kernel("unfold.cu", "none")),
        lambda: show.kernel("unfold.cu", "store4_tail"),  # called there, defined elsewhere
        *(
            lambda: show.source(layers, start="def none"),
            lambda: show.source(layers, start="def gelu_", stop="none at"),
        ),
        *(lambda: show.audio(np.full(5, 1.5), 8000), lambda: show.audio(np.zeros(200_001), 8000)),
        *(lambda: show.audio(np.zeros((2, 5)), 8000), lambda: show.table([(1, 2, 3)], ["a", "b"])),
    ],
)
def test_what_is_not_there_is_an_error(call):
    with pytest.raises(minast.Error):
        call()


def test_a_player_holds_the_sound(shown):
    wave = 0.5 * np.sin(np.arange(800) / 5)
    show.audio(wave, 8000, "a <tone>")
    show.audio(3 * wave, 8000, normalise=True)
    for bundle, scale in zip(shown, (1, 0.9 / np.abs(wave).max()), strict=True):
        data = re.search(r"base64,([^\"]+)", bundle["text/html"])[1]
        back, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
        assert rate == 8000
        np.testing.assert_allclose(back, scale * wave, atol=1.5 / 32768)  # half a step, and 32767 is full scale
    assert "a &lt;tone&gt; (0.10 s)" in shown[0]["text/html"]


def test_a_table(shown):
    show.table([("a", 1.23456), ("b", 2)], ["name", "value"])
    assert shown[0]["text/markdown"] == "| name | value |\n| --- | --- |\n| a | 1.235 |\n| b | 2 |"


def test_a_checkout_may_be_called_minast(monkeypatch, tmp_path):
    """As `git clone` names it; a file outside the package, as a kernel of a checkout, goes by its own name."""
    package = tmp_path / "minast" / "minast"
    monkeypatch.setattr(minast, "__file__", str(package / "__init__.py"))
    assert show._place(package / "layers.py") == "minast/layers.py"
    assert show._place(package / "fast" / "gelu.py") == "minast/fast/gelu.py"
    assert show._place(tmp_path / "minast" / "kernels" / "gelu.cu") == "gelu.cu"
