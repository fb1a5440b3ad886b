"""What each process does in test_mpi.py, by mpiexec -n N python -m tests.parallel.worker, and in test_local.py."""

import math
from dataclasses import replace
from functools import partial
from unittest import mock

import numpy as np

import minast
from minast import parallel
from minast.parallel.group import GRID, SINGLE, pieces
from minast.training import learner
from tests.parallel.test_learning import CONFIG, Gradients, steps


def sums(group):
    """Every operation on arrays, against NumPy's."""
    for n in (1, GRID + 1, 30 * GRID + 5):
        given = np.random.default_rng(n).standard_normal((group.size, n)).astype(np.float32)
        total, own = given.astype(np.float64).sum(axis=0), pieces(n, group.size)[group.rank]
        for wire, error in (("float32", 1e-6), ("bfloat16", 0.05)):
            for fixed in (False, True) if wire == "float32" else (False,):
                whole, piece = given[group.rank].copy(), given[group.rank].copy()
                group.wait([group.begin_all_reduce(whole, wire, fixed), group.begin_reduce_scatter(piece, wire, fixed)])
                np.testing.assert_allclose(whole, total, rtol=0, atol=error * group.size)
                np.testing.assert_allclose(piece[own], total[own], rtol=0, atol=error * group.size)
                assert len(set(group.talk(whole.tobytes()))) == 1
        group.wait([group.begin_all_gather(piece)])
        assert len(set(group.talk(piece.tobytes()))) == 1


def words(group):
    """What is small."""
    assert group.talk(b"x" * group.rank) == [b"x" * rank for rank in range(group.size)]
    assert group.total([0.1, group.rank]) == [math.fsum([0.1] * group.size), sum(range(group.size))]
    assert group.talk(b"y", local=True) == [b"y"] * group.local_size and group.local_size == group.size
    found = group.collect(np.full(group.rank + 1, group.rank), [rank + 1 for rank in range(group.size)])
    assert found is None or found.tolist() == [rank for rank in range(group.size) for _ in range(rank + 1)]
    array = np.full(3, float(group.rank))
    group.broadcast(array)
    assert not array.any() and group.shared(lambda: "here") == "here"


def learning(group):
    """Steps in float64 to 1e-12, and in fixed order bit for bit."""
    with mock.patch.object(learner, "Gradients", partial(Gradients, bucket=2**13)):
        one = steps(SINGLE, CONFIG, "float64")
        for settings in ({}, {"shard_optimizer": True}):
            found = steps(group, replace(CONFIG, **settings), "float64")
            for a, b in zip(found[:3] if group.rank else found[:5], one, strict=False):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
        fixed = replace(CONFIG, grad_accum=4, reduction="fixed")
        one, found = (steps(each, fixed, "float32", backend="fast") for each in (SINGLE, group))
        assert all(np.array_equal(a, b) for a, b in zip(found[:5], one[:5], strict=True))


def everything(_=None):
    """All of these.   -> what the first rank says"""
    group = parallel.world()
    for each in (sums, words, learning):
        each(group)
    return f"{group.size} processes: all is well, {minast.__version__}"


if __name__ == "__main__":
    with parallel.joined() as joined:
        assert parallel.world() is joined
        print(everything())
    assert parallel.world() is SINGLE
