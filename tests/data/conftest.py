"""Folders are tested as on a machine without PyAV; one test is about a machine that has it."""

import pytest

from minast.audio import pyav


@pytest.fixture(autouse=True)
def without_pyav(monkeypatch):
    monkeypatch.setattr(pyav, "installed", lambda: False)
