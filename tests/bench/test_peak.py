"""The processor's peaks, and a forward pass beside them."""

import pytest

from minast.bench.counted import forward_flop, step_flop
from minast.bench.cpu import models, peak
from minast.bench.table import number
from minast.config import ModelConfig
from tests.emulated import needs_emulator as needs_compiler


@pytest.fixture
def small_work(monkeypatch):
    setting = models.setting
    monkeypatch.setattr(peak, "setting", lambda *_: setting("nano", 48, 1))
    monkeypatch.setattr(peak, "ROUNDS", 1000)


@needs_compiler
def test_every_multiply_add_is_done():
    """Each of the sums tends to 1, from another start: x -> x / 2 + 1 / 2."""
    library, lanes = peak.library(), peak.library().per_round()
    assert library.multiply_adds(200, 0.5) == lanes
    registers = 12 if lanes == 12 * 8 else 24
    first = lanes // registers * sum(0.5 * (0.5 * i) + 0.5 for i in range(registers))
    assert library.multiply_adds(1, 0.5) == pytest.approx(first)


@needs_compiler
def test_both_shares(small_work):
    blas, registers = peak.shares(2)
    assert blas.ours > 0 and registers.ours > 0
    assert "GFLOP in all" in blas.note and "base forward" in registers.note


def test_without_a_compiler_only_that_share_is_left_out(small_work, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    (row,) = peak.shares(1)
    assert "without the float32 peak (" in row.note and "no-such-compiler" in row.note


def test_the_time_of_products_alone():
    """Base has 242 GFLOP, as its row says: a second at 242 GFLOP/s. A step of nano has 32 clips."""
    assert peak.products_alone(242).startswith("base forward 1.00 s, small forward ")
    one, step = (work(ModelConfig.preset("nano", frames=98), n) for work, n in ((forward_flop, 1), (step_flop, 32)))
    assert f"nano forward {number(one / 242e9, 's')}" in peak.products_alone(242)
    assert f"nano training step {number(step / 242e9, 's')}" in peak.products_alone(242)
