"""A run keeps its number of threads, in BLAS too: products rounded alike are what makes a resumed run the same run."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from minast import load, optim, train
from tests.conftest import BLAS, TINY_RUN


@pytest.fixture
def seen(monkeypatch):
    """-> BLAS's number of threads at each step"""
    numbers, step = [], optim.Adam.step

    def noting(self, g, lr):
        numbers.extend(library.get_num_threads() for library in BLAS)
        step(self, g, lr)

    monkeypatch.setattr(optim.Adam, "step", noting)
    return numbers


def test_blas_obeys_the_number_that_the_run_keeps(tones, tmp_path, monkeypatch, seen):
    """As where OPENBLAS_NUM_THREADS or another program has set another number than the cores there are."""
    flags = [str(tones), *TINY_RUN, "--epochs", "2", "--backend", "numpy"]
    with threadpool_limits(3, "blas"):
        assert train.main([*flags, "--out", str(tmp_path / "a")]) == 0
    begun = set(seen)
    with threadpool_limits(5, "blas"):
        assert train.main([*flags, "--out", str(tmp_path / "b")]) == 0
    assert begun == set(seen) and len(begun) == 1
    one, other = (load(tmp_path / name / "last.npz", "numpy")[0].w.flat for name in "ab")
    assert np.array_equal(one, other)
