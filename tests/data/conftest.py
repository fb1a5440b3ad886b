"""Folders are tested as on a machine without PyAV, where m4a and the like need conversion; one test is about the other."""

import pytest

from minast.audio import pyav


@pytest.fixture(autouse=True)
def without_pyav(monkeypatch):
    monkeypatch.setattr(pyav, "installed", lambda: False)
