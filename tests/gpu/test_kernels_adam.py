"""Adam's kernel against optim.Adam: several steps, every switch, odd lengths."""

import numpy as np
import pytest

from minast import cuda, optim
from tests import kernel_cases
from tests.kernel_cases import CASTS, close, get

put = kernel_cases.put  # a fixture: pytest finds it by this name


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("faded", [False, True])
@pytest.mark.parametrize("n", [1, 13, 4099])
def test_adam(put, version, decoupled, faded, n):
    rng = np.random.default_rng(9)
    w = rng.standard_normal(n).astype(np.float32)
    fade = rng.integers(0, 2, n).astype(np.float32) if faded else None
    settings = {"betas": (0.95, 0.999), "weight_decay": 0.1, "decoupled": decoupled}
    reference = optim.Adam(w.astype(np.float64), decay=fade, **settings)
    kernel = cuda.Adam(put(w), decay=put(fade) if faded else None, **settings)
    for step in range(5):
        g = rng.standard_normal(n).astype(np.float32)
        reference.step(g.astype(np.float64), 0.01 * (step + 1))
        kernel.step(put(g), 0.01 * (step + 1), version=version)
    for name in ("w", "m", "v"):
        close(getattr(kernel, name), getattr(reference, name), 5e-6, name)


@pytest.mark.parametrize("n", [1, 13, 1024, 300_001, 2_162_684, 2_433_030])
def test_gradient_norm(put, n):
    g = np.random.default_rng(10).standard_normal(n).astype(np.float32)
    assert get(cuda.gradient_norm(put(g)))[0] == pytest.approx(optim.gradient_norm(g), rel=1e-6)


@pytest.mark.parametrize("limit", [0.5, 1e6, 0])
@pytest.mark.parametrize("version", [0, 1])
def test_clipping_on_the_device(put, version, limit):
    rng = np.random.default_rng(11)
    w, g = rng.standard_normal((2, 1001)).astype(np.float32)
    reference, kernel = optim.Adam(w.astype(np.float64), weight_decay=0.1), cuda.Adam(put(w), weight_decay=0.1)
    g64 = g.astype(np.float64)
    optim.clip_gradient(g64, limit)
    reference.step(g64, 0.1)
    placed = put(g)
    kernel.step(placed, 0.1, norm=cuda.gradient_norm(placed), max_norm=limit, version=version)
    for name in ("w", "m", "v"):
        close(getattr(kernel, name), getattr(reference, name), 5e-6, name)
    assert (get(placed) == g).all()  # the gradient is left as it was


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("version", [0, 1])
def test_copy_in_16_bits(put, version, dtype):
    rng = np.random.default_rng(12)
    w, g = rng.standard_normal((2, 131)).astype(np.float32)
    kernel, copy = cuda.Adam(put(w)), put(np.zeros_like(CASTS[dtype](w)))
    kernel.step(put(g), 0.1, copy=copy, version=version)
    assert (get(copy) == get(CASTS[dtype](get(kernel.w).astype(np.float32)))).all()


def test_float64_takes_the_reference(put):
    w = np.random.default_rng(13).standard_normal(5)
    one, other = optim.Adam(w.copy()), cuda.Adam(put(w))
    one.step(np.ones(5), 0.1)
    other.step(put(np.ones(5)), 0.1)
    assert (get(other.w) == one.w).all()


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("decoupled", [False, True])
def test_a_learning_rate_for_each_weight(put, version, decoupled):
    rng = np.random.default_rng(14)
    w, g = rng.standard_normal((2, 131)).astype(np.float32)
    rates, settings = rng.random(131).astype(np.float32), {"weight_decay": 0.1, "decoupled": decoupled}
    reference = optim.Adam(w.astype(np.float64), rates=rates, **settings)
    kernel = cuda.Adam(put(w), rates=put(rates), **settings)
    for _ in range(3):
        reference.step(g.astype(np.float64), 0.1)
        kernel.step(put(g), 0.1, version=version)
    close(kernel.w, reference.w, 5e-6)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("limit", [0.5, 1e6, 0])
def test_a_scaled_gradient_is_the_same_step(put, version, limit):
    """Powers of two lose nothing; the length that is clipped is the true one's."""
    rng = np.random.default_rng(15)
    w, g = rng.standard_normal((2, 1001)).astype(np.float32)
    plain, scaled = (cuda.Adam(put(w), weight_decay=0.1) for _ in range(2))
    for adam, factor in ((plain, 1), (scaled, 2**10)):
        dw = put(g * np.float32(factor))
        adam.step(dw, 0.1, norm=cuda.gradient_norm(dw), max_norm=limit, scale=1 / factor, version=version)
    for name in ("w", "m", "v"):
        close(getattr(scaled, name), get(getattr(plain, name)), 1e-6, name)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("version", [0, 1])
def test_a_step_with_an_overflow_does_not_happen(put, version, wrong):
    """Weights, moments, copy and the count of steps stay, bit for bit; 1e30 overflows when it is squared."""
    rng = np.random.default_rng(16)
    w, g = rng.standard_normal((2, 131)).astype(np.float32)
    adam, copy = cuda.Adam(put(w), weight_decay=0.1), put(CASTS["bfloat16"](w))
    adam.clipped_step(put(g), 0.1, 1.0, copy)
    before = [get(x).copy() for x in (adam.w, adam.m, adam.v, copy)]
    bad = g.copy()
    bad[77] = wrong
    placed = put(bad)
    adam.step(placed, 0.1, norm=cuda.gradient_norm(placed), max_norm=1.0, copy=copy, version=version)
    adam.t -= 1
    assert not np.isfinite(adam.clipped_step(placed, 0.1, 0.0, copy)) and adam.t == 1
    assert all((get(x) == old).all() for x, old in zip((adam.w, adam.m, adam.v, copy), before, strict=True))


def test_a_clipped_step(put):
    rng = np.random.default_rng(17)
    w, g = rng.standard_normal((2, 131)).astype(np.float32)
    reference, kernel = optim.Adam(w.astype(np.float64)), cuda.Adam(put(w))
    norm = reference.clipped_step(g.astype(np.float64), 0.1, 2.0)
    assert kernel.clipped_step(put(g * np.float32(8)), 0.1, 2.0, scale=1 / 8) == pytest.approx(norm, rel=1e-6)
    close(kernel.w, reference.w, 5e-6)
    assert kernel.t == reference.t == 1


def test_the_reference_does_not_take_what_is_not_finite():
    w = np.ones(5)
    adam = optim.Adam(w)
    assert np.isnan(adam.clipped_step(np.array([1, np.nan, 0, 0, 0]), 0.1, 1.0)) and adam.t == 0 and (w == 1).all()
