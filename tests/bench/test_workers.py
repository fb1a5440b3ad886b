"""The rows of a step by several processes: they train alike, and end with the bench."""

import pytest

from minast.bench.cpu import workers
from minast.bench.row import Skip
from minast.errors import Error


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setenv("MINAST_THREADS", "2")
    monkeypatch.setattr(workers, "SETTINGS", {"a step": ("nano", 98, 2)})


def test_a_row():
    (row,) = workers.steps(1)
    assert (row.name, row.against) == ("a step", "minast --workers 2") and row.ours > 0 and row.theirs > 0


def test_none_with_one_thread(monkeypatch):
    monkeypatch.setenv("MINAST_THREADS", "1")
    with pytest.raises(Skip, match="nothing to divide"):
        next(workers.steps(1))


def test_other_losses_are_not_timed(monkeypatch):
    monkeypatch.setattr(
        workers, "CHILD", workers.CHILD.replace("workers.serve", "workers.child.answer('0.5', print); str")
    )
    with pytest.raises(Error, match="differs from the reference"):
        list(workers.steps(1))
