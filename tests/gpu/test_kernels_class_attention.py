"""Attention of few queries: kernels/class_attention.cu against the reference in float64."""

import numpy as np
import pytest

from minast import cuda, layers
from minast.errors import Error
from minast.launch import emulation
from tests import kernel_cases
from tests.kernel_cases import CASTS, close, get, slope

put = kernel_cases.put  # a fixture: pytest finds it by this name

SIZES = [  # B, P, T, H, D: one key, fewer than groups, more than a round of the block, AST's own
    (2, 1, 1, 3, 16),
    (1, 2, 1, 1, 64),
    (2, 2, 7, 2, 48),
    (3, 1, 7, 1, 32),
    (1, 2, 130, 2, 16),
    (2, 1, 130, 1, 48),
    (1, 2, 65, 2, 64),
    (1, 2, 130, 1, 32),
    (1, 2, 1214, 1, 64),
]
FORWARD = {"float32": 2e-6, "float16": 1e-3, "bfloat16": 8e-3}  # every sum is float32, a result is rounded once
BACKWARD = {"float32": 5e-6, "float16": 3e-3, "bfloat16": 2e-2}  # delta comes from the rounded o


def random_case(B, P, T, H, D, dtype="float32", seed=5):
    """(q, kv, do, bias) as stored"""
    rng = np.random.default_rng(seed)
    q, kv, do = (
        CASTS[dtype](rng.standard_normal(shape)) for shape in [(B, P, H * D), (B, T, 2 * H * D), (B, P, H * D)]
    )
    return q, kv, do, rng.standard_normal(3 * H * D).astype(np.float32)


def check_attend(put, dtype, size, biased):
    """o, dq and dkv against the reference, which gets the biases added beforehand: the keys' too."""
    H, (q, kv, do, bias) = size[3], random_case(*size, dtype)
    C = q.shape[-1]
    q64, kv64 = (get(q) + bias[:C], get(kv) + bias[C:]) if biased else (get(q), get(kv))
    want, reference = layers.class_attention_forward(q64, kv64, H)
    want_dq, want_dkv = layers.class_attention_backward(get(do), reference)
    q, kv = put(q), put(kv)
    before = get(q), get(kv)
    o, cache = cuda.class_attention_forward(q, kv, H, put(bias) if biased else None)
    assert o.dtype == q.dtype
    close(o, want, FORWARD[dtype], "o")
    dq, dkv = cuda.class_attention_backward(put(do), cache)
    scale = max(np.abs(want_dq).max(), np.abs(want_dkv).max())
    close(dq, want_dq, BACKWARD[dtype], "dq", scale)
    for i, name in enumerate(("dk", "dv")):
        close(dkv[..., i * C : (i + 1) * C], want_dkv[..., i * C : (i + 1) * C], BACKWARD[dtype], name, scale)
    assert (get(q) == before[0]).all() and (get(kv) == before[1]).all()


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("dtype", CASTS)
@pytest.mark.parametrize("size", SIZES, ids=lambda s: "x".join(map(str, s)))
def test_forward_and_backward(put, dtype, size, biased):
    check_attend(put, dtype, size, biased)


@pytest.mark.parametrize("dtype", CASTS)
@pytest.mark.parametrize("sign", [1, -1])
def test_huge_scores_that_grow(put, dtype, sign):
    """Scores up to +-1600: exp(0 - lse) would overflow for keys that are not there, and the maximum rises all along."""
    T, D = 70, 16
    _, _, do, _ = random_case(1, 2, T, 1, D, dtype)
    rng = np.random.default_rng(7)
    q, kv = 20 + 0.01 * rng.standard_normal((1, 2, D)), 0.01 * rng.standard_normal((1, T, 2, D))
    kv[:, :, 0] += sign * (20 + np.linspace(-0.1, 0.1, T)[:, None])
    q, kv = CASTS[dtype](q), CASTS[dtype](kv.reshape(1, T, 2 * D))
    want, reference = layers.class_attention_forward(get(q), get(kv), 1)
    _, want_dkv = layers.class_attention_backward(get(do), reference)
    o, cache = cuda.class_attention_forward(put(q), put(kv), 1)
    close(o, want, max(1e-3, 3 * FORWARD[dtype]), "o")  # a score of 1600 has an error of 1e-4 in float32
    dq, dkv = cuda.class_attention_backward(put(do), cache)
    close(dkv[..., D:], want_dkv[..., D:], max(1e-3, 3 * BACKWARD[dtype]), "dv")
    assert np.isfinite(get(dq)).all() and np.isfinite(get(dkv)).all()


@pytest.mark.parametrize("D", cuda.HEAD_WIDTHS)
def test_gradient_of_the_kernels(put, D):
    """d sum(o dy) along a random direction: the forward kernel's own differences, not the reference's gradient."""
    q, kv, dy, bias = random_case(1, 2, 19, 2, D, seed=8)
    q, kv, bias = put(q), put(kv), put(bias)
    _, cache = cuda.class_attention_forward(q, kv, 2, bias)
    gradients = cuda.class_attention_backward(put(dy), cache)
    rng = np.random.default_rng(9)
    numeric, directions = slope(lambda: (get(cuda.class_attention_forward(q, kv, 2, bias)[0]) * dy).sum(), [q, kv], rng)
    analytic = sum((get(g) * u).sum() for g, u in zip(gradients, directions, strict=True))
    assert analytic == pytest.approx(numeric, rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("dtype", CASTS)
def test_the_same_bits_in_any_order(dtype):
    kernel_cases.need_compiler()
    q, kv, do, bias = random_case(2, 2, 146, 2, 32, dtype)
    results = []
    for order, seed in (("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)):
        with emulation(order=order, seed=seed):
            o, cache = cuda.class_attention_forward(q, kv, 2, bias)
            results.append((o, cache[3], *cuda.class_attention_backward(do, cache)))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("what,P,D", [("three queries", 3, 16), ("heads of 20", 2, 20)])
def test_what_has_no_kernel_takes_the_reference_both_ways(put, what, P, D):
    q, kv, do, _ = random_case(2, P, 9, 2, D)
    want, reference = layers.class_attention_forward(q, kv, 2)
    with kernel_cases.noting() as seen:
        o, cache = cuda.class_attention_forward(put(q), put(kv), 2)
        got = cuda.class_attention_backward(put(do), cache)
    assert not seen
    close(o, want, 1e-6)
    for mine, wanted in zip(got, layers.class_attention_backward(do, reference), strict=True):
        close(mine, wanted, 1e-5)
    with pytest.raises(Error, match="class_attention_forward: no kernel fits bfloat16"):
        cuda.class_attention_forward(*(put(CASTS["bfloat16"](x)) for x in (q, kv)), 2)


def test_a_gradient_of_another_type_is_refused(put):
    q, kv, do, _ = random_case(1, 2, 9, 2, 16)
    _, cache = cuda.class_attention_forward(put(q), put(kv), 2)
    with pytest.raises(Error, match="class_attention_backward: the gradient is float64, the forward pass was float32"):
        cuda.class_attention_backward(put(do.astype(np.float64)), cache)


def test_arrays_that_are_not_contiguous_or_aligned(put):
    q, kv, do, bias = random_case(2, 2, 9, 1, 16)
    want, reference = layers.class_attention_forward(q + bias[:16], kv + bias[16:], 1)

    def off(x):
        return put(np.append(np.float32(0), x).astype(np.float32))[1:].reshape(x.shape)

    o, cache = cuda.class_attention_forward(put(np.repeat(q, 2, axis=1))[:, ::2], off(kv), 1, off(bias))
    close(o, want, 2e-6)
    for mine, wanted in zip(
        cuda.class_attention_backward(off(do), cache), layers.class_attention_backward(do, reference), strict=True
    ):
        close(mine, wanted, 5e-6)
