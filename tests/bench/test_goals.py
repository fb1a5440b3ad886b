"""Rows of a GPU: in which order functions run, how goals are judged, what the tables say."""

import types

import numpy as np
import pytest

from minast.bench import table
from minast.bench.gpu import tables
from minast.bench.gpu.device import Device
from minast.bench.gpu.rows import Goal, row
from minast.bench.kernels import attention, memory_bound
from minast.bench.kernels.cases.case import TOY, Case
from minast.bench.pytorch import kernels as in_torch
from tests.pretended import Pretended, ladder_rows


class FakeCupy:
    """CuPy as a Device uses it, with a clock that each call of a function advances."""

    def __init__(self):
        self.now, self.log = 0.0, []
        self.cuda = types.SimpleNamespace(
            Event=lambda: Event(self), get_elapsed_time=lambda a, b: 1000 * (b.at - a.at), Device=lambda: self
        )

    def synchronize(self):
        self.log.append("wait")

    def get_default_memory_pool(self):
        return types.SimpleNamespace(free_all_blocks=lambda: self.log.append("free"))

    def fill(self, value):
        self.log.append("flush")

    def takes(self, name, seconds):
        """A function that takes `seconds` more each time it is called."""
        calls = []

        def function():
            calls.append(name)
            self.log.append(name)
            self.now += seconds * len(calls)

        return function


class Event:
    def __init__(self, cupy):
        self.cupy = cupy

    def record(self):
        self.at = self.cupy.now

    def synchronize(self):
        pass


@pytest.fixture
def device():
    device = Device(gpu=False)
    device.gpu, device.xp = True, FakeCupy()
    device.flush = device.xp
    return device


def test_functions_alternate_on_the_device(device):
    """Each round all sides once, from a cold cache; two rounds are not counted."""
    times = device.interleaved([device.xp.takes("a", 1.0), device.xp.takes("b", 2.0)], 3)
    assert device.xp.log == ["flush", "a", "flush", "b"] * 5
    assert np.allclose(times, [[3, 4, 5], [6, 8, 10]])


def test_an_idle_device_and_memory_apart(device):
    device.interleaved([device.xp.takes("a", 1.0)], 1, idle=True)
    assert device.xp.log == ["flush", "wait", "a", "wait"] * 3
    device.xp.log.clear()
    times = device.interleaved([device.xp.takes("a", 1.0), device.xp.takes("b", 1.0)], 1, apart=True)
    assert device.xp.log == ["free", "a", "flush", "a", "free", "b", "flush", "b"] * 3
    assert np.allclose(times, 6)  # the first call after memory was given back is not timed
    assert device.median(device.xp.takes("a", 1.0), 3) == 4


def test_a_batch_that_fits_the_memory(device, monkeypatch):
    monkeypatch.setattr(device, "free", lambda: 100)
    assert [device.fitting(32, bytes_each) for bytes_each in (3, 4, 60, 1000)] == [32, 16, 1, 1]
    assert device.fitting(32, 3, share=0.8) == 16 and Device(gpu=False).fitting(32, 10**9) == 32


def test_a_ratio_is_the_median_over_the_rounds():
    """Not the ratio of the medians, which is 2 here."""
    ours, theirs = np.array([1.0, 2.0, 4.0]), np.array([4.0, 2.0, 4.0])
    r = row(Pretended(), "x", "float32", ours, libraries={"torch": theirs}, goals=[Goal("1.5x", 1.5, "torch")])
    assert r.ratio == r.ratios["torch"] == 1.0 and r.theirs == 4.0 and r.goals[0].reached is False
    assert r.goal == "1.5x of torch: 1.00x, missed"


def test_the_best_library_of_its_column_decides_a_goal():
    beside = {"torch: flash": np.full(3, 0.8), "torch: math": np.full(3, 9.0), "other": np.full(3, 0.1)}
    goals = [Goal("0.7x", 0.7, "torch"), Goal("0.9x", 0.9, "torch"), Goal("2x", 2, "nobody"), Goal("80 %", 0.8)]
    r = row(Pretended(), "x", "float32", np.ones(3), 9e8, "GB/s", 1e9, "a copy", beside, goals=goals)
    assert [(g.library, g.reached) for g in r.goals] == [
        ("torch: flash", True), ("torch: flash", False), ("", None), ("", True),
    ]  # fmt: skip
    assert r.goals[0].value == pytest.approx(0.8) and r.goals[3].value == pytest.approx(0.9)
    assert all(type(g.reached) in (bool, type(None)) for g in r.goals)  # what JSON knows, not NumPy's
    assert "2x of nobody: not measured" in r.goal and "80 %: 90%, reached" in r.goal
    assert goals[0].reached is None  # that of the module is not written to


def test_the_emulator_reaches_no_goal():
    r = row(Device(gpu=False), "x", "float32", np.ones(2), libraries={"t": np.ones(2)}, goals=[Goal("1x", 1, "t")])
    assert r.goals[0].reached is None and r.goals[0].value is None and "says nothing about a GPU" in r.note


def test_kernels_that_move_memory_have_a_goal():
    case = Case("Adam, version 1", lambda: (np.ones(3),), lambda: (np.ones(3),), 4500)
    both = [case, case._replace(name="softmax, version 1")]
    adam, softmax = memory_bound.measure(Pretended(bandwidth=5e6), TOY, 2, ("float32",), both)
    assert adam.goals[0].value == pytest.approx(0.9) and adam.goals[0].reached and not softmax.goals
    assert adam.goal == "80 %: 90%, reached"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_meets_the_best_backend_of_sdpa(dtype, monkeypatch):
    """Torch's own CPU stands in: flash and math run there, the others say why not. TF32 is off meanwhile."""
    torch, settings = pytest.importorskip("torch"), []
    before, right = torch.backends.cuda.matmul.allow_tf32, in_torch.sdpa

    def sdpa(*args):
        settings.append(torch.backends.cuda.matmul.allow_tf32)
        return right(*args)

    monkeypatch.setattr(in_torch, "sdpa", sdpa)
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        rows = list(attention.measure(Pretended(torch=torch), attention.TOY, 2, (dtype,)))
        assert settings and not any(settings) and torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    taken = {"float32": 2, "bfloat16": 6}[dtype]  # what the model takes at this length
    for r in rows:
        assert "torch: flash" in r.libraries and ("torch: math" in r.libraries) == (dtype == "float32")
        assert "RuntimeError" in r.without["torch: cudnn"]
        held = r.version == taken if r.job == "attention forward" else dtype == "bfloat16"
        assert [g.library.split(": ")[0] for g in r.goals] == (["torch"] if held else [])
        assert all(g.reached and g.value == 1 for g in r.goals)


def test_the_tables(tmp_path):
    rows = ladder_rows()
    beside = {"transformers: SDPA": np.full(3, 2.0), "transformers: eager attention": np.full(3, 3.0)}
    goals = [Goal("1.0x", 1.0, "transformers: SDPA"), Goal("0.85x", 0.85, "transformers: SDPA, torch.compile")]
    more = {"goals": goals, "job": "step", "without": {"transformers: SDPA, torch.compile": "no compiler"}}
    rows.append(row(Pretended(), "step", "bfloat16", np.ones(3), 32, "clips/s", libraries=beside, **more))
    text = tables.markdown(rows, table.conditions(1), "ladder.png")
    lines = text.splitlines()
    assert "| step | 1.00 s | transformers: SDPA | 2.00 s | 2.00x | 1.0x | reached |" in lines
    assert "| step | 1.00 s | transformers: SDPA, torch.compile |  |  | 0.85x | not measured: no compiler |" in lines
    assert "| step | 1.00 s | transformers: eager attention | 3.00 s | 3.00x |  |  |" in lines
    one = "| attention, version 3, float32 | 0.25 ms | torch: flash | 0.10 ms | 0.40x | 1.0x | **missed** |"
    assert one in lines and text.count("| step |") == 3
    kernel = "| attention, version 3, float32 | float32 | 0.25 ms | 4000 GFLOP/s | 20% | 0.10 ms (0.40x, flash) |"
    assert kernel in lines and sum(line.startswith("![attention") for line in lines) == 1
    assert all(line.count("|") == lines[0].count("|") for line in lines[: lines.index("")])
