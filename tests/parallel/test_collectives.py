"""Sums over ranks, on threads: what each rank has afterwards, whatever the number of ranks and the length."""

from itertools import pairwise

import numpy as np
import pytest

from minast.bfloat16 import from_float32, to_float32
from minast.parallel.collectives import Begun, Progress, tree_sum
from minast.parallel.gradients import buckets
from minast.parallel.group import GRID, SINGLE, pieces, share_of
from tests.parallel.threaded import together

SIZES = (1, 2, 3, 4, 7)
LENGTHS = (1, GRID - 1, GRID, 3 * GRID + 5, 40 * GRID + 1)


def parts(size, n, dtype=np.float32):
    return np.random.default_rng(n).standard_normal((size, n)).astype(dtype)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 1000])
@pytest.mark.parametrize("n", LENGTHS)
def test_pieces_cover_all_and_are_cut_on_the_grid(n, size):
    cut = pieces(n, size)
    assert len(cut) == size and cut[0].start == 0 and cut[-1].stop == n
    assert all(a.stop == b.start for a, b in pairwise(cut))
    assert all((n - s.stop) % GRID == 0 or s.stop == 0 for s in cut)


def test_buckets_begin_at_the_upper_end():
    cut = buckets(50 * GRID + 7, 4, 8 * GRID)
    assert cut[0].stop == 50 * GRID + 7 and cut[-1].start == 0
    assert all(a.start == b.stop for a, b in pairwise(cut))
    assert {s.stop - s.start for s in cut[:-1]} == {8 * GRID}
    assert buckets(5, 4) == [slice(0, 5)]


def test_shares_of_a_batch():
    for size in SIZES:
        assert np.concatenate([np.arange(7)[share_of(7, rank, size)] for rank in range(size)]).tolist() == [*range(7)]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", LENGTHS)
def test_sums(n, size, fixed):
    given, total = parts(size, n, np.float64), parts(size, n, np.float64).sum(axis=0)

    def work(group):
        whole, piece = given[group.rank].copy(), given[group.rank].copy()
        group.wait([group.begin_all_reduce(whole, fixed=fixed)])
        group.wait([group.begin_reduce_scatter(piece, fixed=fixed)])
        own = pieces(n, size)[group.rank]
        np.testing.assert_allclose(piece[own], total[own], rtol=1e-12, atol=1e-12)
        gathered = np.full(n, np.nan)
        gathered[own] = total[own]
        group.wait([group.begin_all_gather(gathered)])
        assert np.array_equal(gathered, total)
        return whole

    found = together(size, work)
    np.testing.assert_allclose(found[0], total, rtol=1e-12, atol=1e-12)
    assert all(np.array_equal(each, found[0]) for each in found)


@pytest.mark.parametrize("size", SIZES)
def test_in_bfloat16_addends_and_sum_are_rounded_once_each_and_the_sum_is_in_float32(size):
    given = parts(size, 3 * GRID + 5)

    def rounded(x):
        return to_float32(from_float32(x, np.dtype(np.uint16)))

    expected = tree_sum([rounded(row) for row in given])

    def work(group):
        whole, piece = given[group.rank].copy(), given[group.rank].copy()
        group.wait([group.begin_all_reduce(whole, "bfloat16")])
        group.wait([group.begin_reduce_scatter(piece, "bfloat16")])
        own = pieces(piece.size, size)[group.rank]
        assert np.array_equal(piece[own], expected[own])  # a piece that does not travel back is not rounded again
        assert set(group.sent) == {np.dtype(np.uint16)}
        return whole

    for found in together(size, work):
        assert np.array_equal(found, rounded(expected))


def test_a_tree_is_the_same_whoever_adds_its_branches():
    rows = parts(8, 100)
    whole = tree_sum(rows.copy())
    for size in (2, 4):
        branches = [tree_sum(part.copy()) for part in np.split(rows, size)]
        assert np.array_equal(tree_sum(branches), whole)
    assert not np.array_equal(rows.sum(axis=0), whole)  # else this would show nothing
    np.testing.assert_allclose(tree_sum(parts(5, 9)), parts(5, 9).sum(axis=0), rtol=1e-5, atol=1e-6)


def test_what_is_small():
    def work(group):
        assert group.total([0.1, group.rank]) == [0.1 * 4, 6]  # 0.1 + 0.1 + 0.1 + 0.1, rounded once
        assert group.gather([group.rank]).ravel().tolist() == [0, 1, 2, 3]
        assert group.shared(lambda: f"rank {group.rank}\udcff") == "rank 0\udcff"
        array = np.full(3, group.rank)
        group.broadcast(array)
        assert not array.any()

    together(4, work)
    assert SINGLE.total([0.1, 2]) == [0.1, 2] and SINGLE.shared(lambda: "here") == "here"
    assert SINGLE.talk(b"x") == [b"x"] and SINGLE.on(np) is SINGLE


class Request:
    """One that is done after it was asked a few times."""

    def __init__(self, asks):
        self.asks = asks

    def test(self):
        self.asks -= 1
        return self.asks < 0


def test_a_thread_moves_operations_on():
    progress, seen = Progress(Request.test), []

    def steps():
        for i in range(3):
            yield Request(i + 1)
            seen.append(i)

    begun = [progress.begin(steps()) for _ in range(4)]
    progress.wait(begun)
    assert len(seen) == 12 and all(each.done for each in begun) and not progress.open
    assert Begun(iter(())).advance(Request.test)


def test_an_error_on_the_way_is_raised_by_wait():
    def steps():
        yield Request(3)
        raise OSError("the network is gone")

    progress = Progress(Request.test)
    with pytest.raises(OSError, match="the network is gone"):
        progress.wait([progress.begin(steps())])
