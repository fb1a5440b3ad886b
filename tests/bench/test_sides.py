"""One job and several libraries: what agrees is timed; what is missing, crashes or differs costs its own row."""

import sys
import types

import numpy as np
import pytest

from minast import AST, Error, ModelConfig
from minast.bench import catalogue, child, libraries, runner, runtimes, stored, table, timing
from minast.bench.cpu import features, models, process
from minast.bench.pytorch import model as theirs
from minast.bench.pytorch import runtime
from minast.bench.pytorch.twin import SETTINGS
from minast.bench.row import Row, Skip
from minast.bench.sides import Side, compared

RIGHT = np.array([1.0, 2.0])


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)


def side(name, result=RIGHT, call=list, **more):
    return Side(name, lambda: (call, np.asarray(result)), **more)


def broken(name, error):
    def make():
        raise error

    return Side(name, make)


def never():
    raise AssertionError("this was timed")


def rows_until_error(*sides):
    """The rows that came, and the Error after them, or None."""
    rows = []
    try:
        rows.extend(compared("job", list, RIGHT, sides, 2))
    except Error as error:
        return rows, str(error)
    return rows, None


# -- who is timed ----------------------------------------------------------------------------------------------------


def test_each_side_has_a_row_with_its_own_goal():
    rows, error = rows_until_error(side("a", goal="1.2x"), side("b"))
    assert error is None and [(r.against, r.goal) for r in rows] == [("a", "1.2x"), ("b", "")]
    assert rows[0].ours == rows[1].ours > 0 and all(r.theirs > 0 and r.ratio > 0 and not r.note for r in rows)


def test_what_cannot_run_is_named_once_with_its_reason():
    missing, library = Skip("torch is not installed"), OSError("Could not load this library: x.so")
    rows, error = rows_until_error(
        broken("a", missing), side("b"), broken("c", library), broken("d", missing), broken("e", Error("No file."))
    )
    assert error is None and [r.against for r in rows] == ["b"]
    assert rows[0].note == (
        "without a and d (torch is not installed); c (OSError: Could not load this library: x.so); e (No file)"
    )


def test_ours_alone():
    (row,), error = rows_until_error(broken("a", Skip("torch is not installed")), broken("b", Skip("no disk")))
    assert row.ours > 0 and row.ratio is None and error is None
    assert row.note == "no comparison: without a (torch is not installed); b (no disk)"
    (row,), _ = rows_until_error(broken("a", Skip("no torch")), broken("b", Skip("no torch")))
    assert row.note == "no comparison: no torch"


def test_a_result_that_differs_is_not_timed_and_costs_no_other_row():
    rows, error = rows_until_error(side("a"), side("b", [1.0, 2.1], never), side("c"))
    assert [r.against for r in rows] == ["a", "c"] and "without b (the result differs" in rows[0].note
    assert error.startswith("job, b: the result differs from the reference by") and "it was not timed" in error
    assert rows_until_error(side("a"), side("b", [1.0, 2.1], tolerance=0.06))[1] is None  # bfloat16


@pytest.mark.parametrize("result", [[1.0, 2.1], [1.0, np.nan], [1.0]])
def test_if_nobody_agrees_the_fault_may_be_ours(result):
    rows, error = rows_until_error(side("a", result, never), broken("b", Skip("missing")))
    assert rows == [] and "nothing was timed" in error


def test_a_library_that_fails_while_it_is_timed():
    calls = []

    def tired():
        calls.append(None)
        if len(calls) > 1:
            raise MemoryError("too much")

    rows, error = rows_until_error(side("a", call=tired), side("b"))
    assert [r.against for r in rows] == ["b"] and "without a (MemoryError: too much)" in rows[0].note and error is None


# -- the table -------------------------------------------------------------------------------------------------------


def test_the_table_names_a_job_once():
    rows = [Row("job", 0.5, "s", name, 1.0, 2.0) for name in ("a", "b")]
    rows += [Row("job", 0.6, "s", "c", 1.2, 2.0), Row("other", 0.6)]
    lines = table.markdown(rows, {"load": 0}).splitlines()[2:6]
    assert [line.split("|")[1:4] for line in lines] == [
        [" job ", " 0.50 s ", " a "], ["  ", "  ", " b "], [" job ", " 0.60 s ", " c "], [" other ", " 0.60 s ", "  "]
    ]  # fmt: skip


def test_rows_of_one_job_come_back_together(tmp_path):
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    old = [Row("job", 1.0, against=name, theirs=1.0, ratio=1.0) for name in ("a", "b")]
    table.write_json(first, [*old, Row("alone", 1.0, note="no comparison")], {})
    new = [Row(name, 2.0, against=against, theirs=2.0, ratio=1.0) for name, against in (("job", "b"), ("alone", "c"))]
    table.write_json(second, new, {})
    found = [(r.name, r.against, r.ours) for r in stored.read([first, second])[0]]
    assert found == [("job", "a", 1.0), ("job", "b", 2.0), ("alone", "c", 2.0)]


# -- libraries that do not load --------------------------------------------------------------------------------------

PACKAGES = {
    "minast_no_library": ("raise OSError('Could not load this library: x.so')", "OSError: Could not load this library"),
    "minast_crash": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
    "minast_no_part": ("import minast_nothing", "No module named 'minast_nothing'"),
    "minast_exit": ("import os; os._exit(3)", "exit status 3"),
}


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A folder of packages that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def plant(name, code):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return tmp_path / name

    return plant


@pytest.mark.parametrize("name", PACKAGES)
def test_a_library_that_does_not_load(name, planted):
    code, says = PACKAGES[name]
    planted(name, code)
    with pytest.raises(Skip, match=f"^{name} does not load: .*{says}"):
        libraries.load(name)
    assert name not in sys.modules


def test_a_library_that_is_not_there_or_loads(planted):
    with pytest.raises(Skip, match="minast_nothing is not installed"):
        libraries.load("minast_nothing")
    planted("minast_fine", "x = 1")
    assert libraries.load("minast_fine").x == 1


def test_a_broken_torchaudio_costs_its_row(planted, monkeypatch, capsys):
    """It is loaded without its shared library; where that does not help either, ours is timed alone."""
    folder = planted("torchaudio", "raise OSError('Could not load this library: libtorchaudio.so')")
    torch = types.SimpleNamespace(from_numpy=lambda a: a)
    monkeypatch.setattr(runtime, "with_transformers", lambda: torch)
    monkeypatch.setattr(features, "clip", lambda: np.zeros(8000, np.float32))
    (folder / "compliance").mkdir()
    (folder / "compliance" / "kaldi.py").write_text("def fbank(x, **_):\n    raise RuntimeError('no operator')")
    names = ["log-mel", "fine"]
    monkeypatch.setitem(catalogue.ROWS, "fine", catalogue.Entry(lambda rounds: [Row("fine", 1.0)], ""))
    rows, _, failed = runner.measure(names, 1)
    assert [r.name for r in rows] == ["log-mel of 10 s", "fine"] and not failed
    assert rows[0].note == "no comparison: RuntimeError: no operator" and rows[0].note in capsys.readouterr().out
    (folder / "compliance" / "kaldi.py").write_text("raise OSError('Could not load this library: libtorchaudio.so')")
    (row,) = catalogue.ROWS["log-mel"].run(1)
    assert row.note == "no comparison: OSError: Could not load this library: libtorchaudio.so"


@pytest.mark.parametrize("where", ["the extractor", "the script"])
def test_a_cold_start_without_the_other_side(where, monkeypatch):
    """transformers' extractor imports torchaudio: if that is broken, our side is timed all the same."""

    def python(*arguments, **_):
        if arguments[0] == "-c":
            raise Skip("OSError: Could not load this library")
        return "LABEL_3  50.0%"

    def save(model, folder):
        if where == "the extractor":
            raise Skip("OSError: Could not load this library")

    toy = AST(ModelConfig.preset("nano", depth=1, frames=1024, classes=5, **SETTINGS), "fast")
    monkeypatch.setattr(models, "setting", lambda *_: (toy, None, None))
    monkeypatch.setattr(process, "python", python)
    monkeypatch.setattr(process, "save_pretrained", save)
    (row,) = process.cold_start(1)
    assert row.ours > 0 and row.ratio is None
    assert row.note.startswith("no comparison: ") and "OSError: Could not load this library" in row.note


def test_what_a_process_says_when_it_fails():
    for code, says in (("1/0", "ZeroDivisionError: division by zero"), ("import os; os._exit(4)", "exit status 4")):
        with pytest.raises(Skip, match=says):
            child.python("-c", code)
    code = "import os; print(os.environ.get('HF_HUB_OFFLINE'))"
    assert child.python("-c", code) == "1\n" and child.python("-c", code, without=["HF_HUB_OFFLINE"]) == "None\n"


# -- the model in other runtimes -------------------------------------------------------------------------------------


@pytest.fixture
def toy(monkeypatch):
    def setting(preset, frames, batch):
        config, rng = ModelConfig.preset(preset, depth=2, frames=48, classes=5, **SETTINGS), np.random.default_rng(0)
        x = rng.standard_normal((batch, 48, config.mel_bins), np.float32)
        return AST(config, "fast"), x, (rng.random((batch, 5)) < 0.5).astype(np.float32)

    monkeypatch.setattr(models, "setting", setting)
    monkeypatch.setattr(theirs, "COMPILE", {"backend": "eager"})  # which generates no code: that takes a minute


@pytest.fixture
def without(monkeypatch):
    """Takes packages away."""

    def hide(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


def test_a_forward_pass_in_onnx_runtime(toy, without):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    without("torch", "openvino")
    (row,) = catalogue.ROWS["forward-nano"].run(1)
    assert row.name == "nano, 1 s, forward, batch 1" and row.against == runtimes.ONNX and row.ratio > 0
    assert "torch is not installed" in row.note and "(openvino is not installed)" in row.note


def test_a_wrong_export_is_not_timed(toy, without, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    without("torch", "openvino")
    build = runtimes.onnx_file.build

    def wrong(model, info):
        other = AST(model.config, "fast", seed=1)
        return build(other, info)

    monkeypatch.setattr(runtimes.onnx_file, "build", wrong)
    with pytest.raises(Error, match=r"forward, batch 1, ONNX Runtime: the result differs .*: nothing was timed"):
        list(catalogue.ROWS["forward-nano"].run(1))


def test_without_any_library(toy, without):
    without("torch", "onnx", "onnxruntime", "openvino")
    for name in ("forward-nano", "nano"):
        (row,) = catalogue.ROWS[name].run(1)
        assert row.ours > 0 and row.note.startswith("no comparison: ") and "torch is not installed" in row.note


def test_all_libraries_that_are_here(toy):
    """With PyTorch: the model compiled and in bfloat16 are stated, without a goal."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    forward, training = (list(catalogue.ROWS[name].run(1)) for name in ("forward-nano", "nano"))
    assert {r.against for r in forward} >= {models.TORCH, models.COMPILED, models.AUTOCAST}
    assert [(r.against, r.goal) for r in training] == [
        (models.TORCH, "1.6x"), (models.COMPILED, ""), (models.AUTOCAST, "")
    ]  # fmt: skip
    assert all(r.ratio > 0 for r in forward + training) and "another precision" in models.AUTOCAST


class FakeOpenVINO:
    """OpenVINO as `Exported` uses it, computing with minast, on a processor that knows float32 alone."""

    def __init__(self, model):
        self.model, self.asked, self.shape = model, {}, None

    Core = property(lambda self: lambda: self)

    def read_model(self, model):
        assert model == b"onnx"
        return self

    def reshape(self, shapes):
        self.shape = shapes

    def compile_model(self, network, where, settings):
        self.asked = settings
        return self

    def get_property(self, name):
        return types.SimpleNamespace(to_string=lambda: "f32")

    def create_infer_request(self):
        return self

    def output(self, name):
        return name

    def infer(self, inputs, share_inputs):
        return {"logits": self.model.forward(inputs["log_mel"])}


def test_openvino_is_asked_for_float32_and_does_not_pass_for_bfloat16(toy, monkeypatch):
    model, x, _ = models.setting("nano", 48, 1)
    fake = FakeOpenVINO(model)
    monkeypatch.setitem(sys.modules, "openvino", fake)
    exported = runtimes.Exported(model, x)
    exported.data = b"onnx"
    monkeypatch.setenv("MINAST_THREADS", "2")
    run, logits = exported.in_openvino()
    assert np.array_equal(run(), logits) and fake.shape == {"log_mel": [1, 48, 128]}
    assert fake.asked["INFERENCE_PRECISION_HINT"] == "f32" and fake.asked["INFERENCE_NUM_THREADS"] == 2
    with pytest.raises(Skip, match="computes in f32 on this processor"):
        exported.in_openvino("bfloat16")
