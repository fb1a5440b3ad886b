"""Adam's kernel against optim.Adam: several steps, every switch, odd lengths."""

import numpy as np
import pytest

from minast import cuda, optim
from tests import kernel_cases
from tests.kernel_cases import CASTS, close, get

put = kernel_cases.put  # a fixture: pytest finds it by this name


@pytest.mark.parametrize("rung", [0, 1])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("faded", [False, True])
@pytest.mark.parametrize("n", [1, 13, 4099])
def test_adam(put, rung, decoupled, faded, n):
    rng = np.random.default_rng(9)
    w = rng.standard_normal(n).astype(np.float32)
    fade = rng.integers(0, 2, n).astype(np.float32) if faded else None
    settings = {"betas": (0.95, 0.999), "weight_decay": 0.1, "decoupled": decoupled}
    reference = optim.Adam(w.astype(np.float64), decay=fade, **settings)
    kernel = cuda.Adam(put(w), decay=put(fade) if faded else None, **settings)
    for step in range(5):
        g = rng.standard_normal(n).astype(np.float32)
        reference.step(g.astype(np.float64), 0.01 * (step + 1))
        kernel.step(put(g), 0.01 * (step + 1), rung=rung)
    for name in ("w", "m", "v"):
        close(getattr(kernel, name), getattr(reference, name), 5e-6, name)


@pytest.mark.parametrize("n", [1, 13, 1024, 300_001])
def test_gradient_norm(put, n):
    g = np.random.default_rng(10).standard_normal(n).astype(np.float32)
    assert get(cuda.gradient_norm(put(g)))[0] == pytest.approx(optim.gradient_norm(g), rel=1e-6)


@pytest.mark.parametrize("limit", [0.5, 1e6, 0])
@pytest.mark.parametrize("rung", [0, 1])
def test_clipping_on_the_device(put, rung, limit):
    rng = np.random.default_rng(11)
    w, g = rng.standard_normal((2, 1001)).astype(np.float32)
    reference, kernel = optim.Adam(w.astype(np.float64), weight_decay=0.1), cuda.Adam(put(w), weight_decay=0.1)
    g64 = g.astype(np.float64)
    optim.clip(g64, limit)
    reference.step(g64, 0.1)
    placed = put(g)
    kernel.step(placed, 0.1, norm=cuda.gradient_norm(placed), clip=limit, rung=rung)
    for name in ("w", "m", "v"):
        close(getattr(kernel, name), getattr(reference, name), 5e-6, name)
    assert (get(placed) == g).all()  # the gradient is left as it was


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("rung", [0, 1])
def test_copy_in_16_bits(put, rung, dtype):
    rng = np.random.default_rng(12)
    w, g = rng.standard_normal((2, 131)).astype(np.float32)
    kernel, copy = cuda.Adam(put(w)), put(np.zeros_like(CASTS[dtype](w)))
    kernel.step(put(g), 0.1, copy=copy, rung=rung)
    assert (get(copy) == get(CASTS[dtype](get(kernel.w).astype(np.float32)))).all()


def test_float64_takes_the_reference(put):
    w = np.random.default_rng(13).standard_normal(5)
    one, other = optim.Adam(w.copy()), cuda.Adam(put(w))
    one.step(np.ones(5), 0.1)
    other.step(put(np.ones(5)), 0.1)
    assert (get(other.w) == one.w).all()
