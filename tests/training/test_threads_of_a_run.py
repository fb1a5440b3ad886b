"""A run keeps its number of threads, in BLAS too: products rounded alike are what makes a resumed run the same run."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from minast import load, optim, threads, train
from minast.training import resume
from tests.conftest import BLAS, TINY_RUN


def numbers():
    return [library.get_num_threads() for library in BLAS]


@pytest.fixture
def seen(monkeypatch):
    """-> BLAS's number of threads at each step"""
    found, step = [], optim.Adam.step

    def noting(self, g, lr):
        found.extend(numbers())
        step(self, g, lr)

    monkeypatch.setattr(optim.Adam, "step", noting)
    return found


def test_blas_has_the_number_that_the_run_records(tones, tmp_path, seen):
    """Also where OPENBLAS_NUM_THREADS or another program has set another number than the cores there are."""
    flags = [str(tones), *TINY_RUN, "--epochs", "2", "--backend", "numpy"]
    for name, other in (("a", 3), ("b", 5)):
        with threadpool_limits(other, "blas"):
            assert train.main([*flags, "--out", str(tmp_path / name)]) == 0
            assert set(numbers()) == {other}  # left as it was
    assert set(seen) == {threads.count()}
    one, other = (load(tmp_path / name / "last.npz", "numpy")[0].w.flat for name in "ab")
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("processes", "reduction", "kept"), [(1, "fast", True), (16, "fast", False), (16, "fixed", True)]
)
def test_another_number_of_processes_divides_the_cores_anew(monkeypatch, processes, reduction, kept):
    """Else sixteen processes would have the sixteen threads that one began with, each."""
    monkeypatch.setattr(resume, "world", lambda: SimpleNamespace(size=processes))
    monkeypatch.setenv(threads.VARIABLE, "1")  # as parallel.settled has divided them
    settings = SimpleNamespace(processes=1, threads=2, backend="numpy", train=SimpleNamespace(reduction=reduction))
    with threads.fixed():
        assert resume.same_machine(SimpleNamespace(threads=None, backend=None), settings) == "numpy"
        assert threads.count() == (2 if kept else 1)


@pytest.mark.parametrize("asked", [None, "2"])
def test_a_fixed_number_ends_with_its_block(monkeypatch, asked):
    monkeypatch.delenv(threads.VARIABLE, raising=False) if asked is None else monkeypatch.setenv(
        threads.VARIABLE, asked
    )
    with threadpool_limits(3, "blas"):
        with threads.fixed():
            assert set(numbers()) == {threads.count()}
            threads.set_count(4)
            assert set(numbers()) == {4} == {threads.count()}
        assert set(numbers()) == {3} and os.environ.get(threads.VARIABLE) == asked


def test_blocks_that_overlap_leave_all_as_it_was(monkeypatch):
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    before = [lib.get_num_threads() for lib in threads._blas.libraries()]
    one, two = threads.fixed(), threads.fixed()
    one.__enter__()
    threads.set_count(1)
    two.__enter__()
    one.__exit__(None, None, None)  # the first to come leaves first, as two runs in two threads may
    two.__exit__(None, None, None)
    assert threads.VARIABLE not in os.environ and [lib.get_num_threads() for lib in threads._blas.libraries()] == before
