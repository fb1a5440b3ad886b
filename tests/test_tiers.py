"""The table of slow tests names tests that are there, and marks what it means to."""

from pathlib import Path

import pytest

from tests import tiers

HERE = Path(__file__).parent


@pytest.mark.parametrize("path", tiers.SLOW)
def test_the_table_names_tests_that_are_there(path):
    text = (HERE / path).read_text("utf-8")
    assert not [name for name in tiers.SLOW[path] if f"def {name}(" not in text]


@pytest.mark.parametrize("path", [*tiers.EMULATOR, *tiers.NOTEBOOKS])
def test_the_folders_and_files_are_there(path):
    assert (HERE / path).exists()


def test_a_test_gets_its_marks(monkeypatch):
    monkeypatch.setattr(tiers, "SLOW", {"gpu/test_a.py": {"test_long": None, "test_many": "small.*"}})
    assert tiers.marks("gpu/test_a.py", "test_long", "") == ["emulator", "slow"]
    assert tiers.marks("gpu/test_a.py", "test_many", "large-1") == ["emulator", "slow"]
    assert tiers.marks("gpu/test_a.py", "test_many", "small-1") == ["emulator"]
    assert tiers.marks("gpu/test_a.py", "test_other", "") == ["emulator"]
    assert tiers.marks("gpu/test_kernels_a.py", "test_other", "reverse-1") == ["emulator", "slow"]
    assert tiers.marks("gpu/test_kernels_a.py", "test_other", "forward-1") == ["emulator"]
    assert tiers.marks("tutorials/test_a.py", "test_long", "") == ["notebooks"]
    assert tiers.marks("model/test_a.py", "test_long", "") == []


def test_marks_and_their_meaning(request):
    """`slow` and the others are known to pytest (--strict-markers) and stand in the README of the tests."""
    known = "\n".join(request.config.getini("markers"))
    readme = (HERE / "README.md").read_text("utf-8")
    assert all(f"{name}:" in known and f"`{name}`" in readme for name in ("slow", "emulator", "notebooks"))
