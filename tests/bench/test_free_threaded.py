"""The row of a step in another Python, which is this one here, pretending."""

import os
import sys

import pytest

from minast.bench.cpu import free_threaded
from minast.bench.row import Skip
from minast.errors import Error

CLIPS = ("nano", 98, 2)
PRETEND = f"""
import sys
sys._is_gil_enabled = lambda: False
from minast.bench.cpu import free_threaded
free_threaded.SETTING = {CLIPS}
free_threaded.serve()
"""


@pytest.fixture
def other(tmp_path, monkeypatch):
    """other(code): python3.13t on the PATH, which does this, whatever it is asked for."""
    monkeypatch.setattr(free_threaded, "SETTING", CLIPS)
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(code):
        (tmp_path / "code.py").write_text(code)
        program = tmp_path / "python3.13t"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/code.py"\n')
        program.chmod(0o755)

    return make


@pytest.mark.skipif(os.name != "posix", reason="needs a shell script on the PATH")
def test_a_row(other):
    other(PRETEND)
    (row,) = free_threaded.step(1)
    assert row.ours > 0 and row.theirs > 0 and row.ratio == pytest.approx(row.theirs / row.ours)
    assert row.against.startswith("minast on free-threaded Python 3.") and "with NumPy" in row.against


@pytest.mark.skipif(os.name != "posix", reason="needs a shell script on the PATH")
def test_reasons_for_none(other):
    with pytest.raises(Skip, match="is on the PATH: python"):
        free_threaded.step(1)
    other("import no_such_package")
    with pytest.raises(Skip, match="no_such_package"):
        free_threaded.step(1)
    other(PRETEND.replace("False", "True"))
    with pytest.raises(Skip, match="its lock is on"):
        free_threaded.step(1)


@pytest.mark.skipif(os.name != "posix", reason="needs a shell script on the PATH")
def test_other_weights_or_layers_are_not_timed(other):
    other("print('3.13.5 2.4.6 0.123', flush=True)\nimport time\ntime.sleep(9)")
    with pytest.raises(Error, match="differs from the reference"):
        free_threaded.step(1)
