"""The checker itself: right gradients pass, planted mistakes are found, and nothing is left moved."""

import numpy as np
import pytest

import minast
from minast import gradcheck

TIGHT = 1e-7


@pytest.fixture
def problem():
    """f = sum(c * tanh(x a^T + b)), x (B, C), a square so that it can be transposed by mistake; and its gradients."""
    rng = np.random.default_rng(1)
    x, a, b, c = (rng.standard_normal(shape) for shape in ((3, 5), (5, 5), (5,), (3, 5)))

    def f():
        return (c * np.tanh(x @ a.T + b)).sum()

    slope = c * (1 - np.tanh(x @ a.T + b) ** 2)
    return f, [x, a, b], [slope @ a, slope.T @ x, slope.sum(axis=0)], slope


def both(f, arrays, gradients):
    """The errors that the two checks report: of everything at once, and of the worst entry of any array."""
    rng = np.random.default_rng(2)
    entries = [gradcheck.per_entry(f, a, g).error for a, g in zip(arrays, gradients, strict=True)]
    return gradcheck.directional(f, arrays, gradients, rng).error, max(entries)


def test_right_gradients_pass_and_arrays_are_put_back(problem):
    f, arrays, gradients, _ = problem
    before = [a.copy() for a in arrays]
    assert max(both(f, arrays, gradients)) < 1e-9
    for a, original in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, original)


@pytest.mark.parametrize("factor", [0.5, -1.0, 1 + 1e-5])
def test_wrong_factor(problem, factor):
    f, arrays, (dx, da, db), _ = problem
    assert min(both(f, arrays, [dx, factor * da, db])) > TIGHT


def test_dropped_term(problem):
    f, (x, a, b), (dx, da, db), slope = problem
    da_without_last_clip = slope[:-1].T @ x[:-1]
    assert min(both(f, [x, a, b], [dx, da_without_last_clip, db])) > 1e-3
    assert min(both(f, [x, a, b], [dx, da, 0 * db])) > 1e-3


def test_transposed_matrix(problem):
    f, (x, a, b), (dx, da, db), slope = problem
    assert min(both(f, [x, a, b], [slope @ a.T, da, db])) > 1e-3
    assert min(both(f, [x, a, b], [dx, da.T, db])) > 1e-3


def test_the_wrong_entry_is_named(problem):
    f, (_, a, _), (_, da, _), _ = problem
    da[3, 1] += 1e-3 * np.abs(da).max()
    check = gradcheck.per_entry(f, a, da, name="a")
    assert check.index == (3, 1) and check.error > 1e-4
    assert str(check).startswith("a[3, 1]: analytic ") and "relative error 1." in str(check)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0), (2, 4)])
def test_a_gradient_that_is_not_finite_fails(problem, bad, place):
    f, arrays, gradients, _ = problem
    gradients[0][place] = bad
    assert min(both(f, arrays, gradients)) == np.inf


def test_sampled_entries(problem):
    f, (x, _, _), (dx, _, _), _ = problem
    calls = []

    def counted():
        calls.append(1)
        return f()

    rng = np.random.default_rng(3)
    assert gradcheck.per_entry(counted, x, dx, entries=4, rng=rng).error < 1e-9
    assert len(calls) == 4 * 4  # a fourth-order difference takes four values


def test_shapes_and_dtypes_must_agree(problem):
    f, (x, a, b), (dx, da, _), slope = problem
    rng = np.random.default_rng(4)
    with pytest.raises(minast.Error, match=r"\(3, 5\)"):  # summed over nothing: broadcasting would let it pass
        gradcheck.directional(f, [x, a, b], [dx, da, slope], rng)
    with pytest.raises(minast.Error, match="float32"):
        gradcheck.per_entry(f, x, dx.astype(np.float32))
    with pytest.raises(ValueError):
        gradcheck.directional(f, [x, a], [dx], rng)
