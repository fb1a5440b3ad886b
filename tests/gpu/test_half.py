"""16-bit products and the fused kernels against float64: odd shapes, three thread orders, guard pages."""

import numpy as np
import pytest

from minast import cuda, layers
from minast.bfloat16 import from_float32, to_float32
from minast.cuda import half
from minast.cuda.gemm import gemm
from minast.errors import Error
from minast.launch import emulation
from tests import kernel_cases
from tests.kernel_cases import CASTS, ROUNDING, close, get

put = kernel_cases.put  # a fixture: pytest finds it by this name
HALF_DTYPES = ("float16", "bfloat16")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def stored(rng, *shape, dtype):
    """(stored, as float64)"""
    x = CASTS[dtype](rng.standard_normal(shape))
    return x, get(x)


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


# -- products ----------------------------------------------------------------------------------------------------------


def operands(rng, dtype, case, M, K, N):
    """a (M, K), b (K, N), a place for out (M, N): as they are, transposed, or rows with others between them."""
    a, b = stored(rng, M, K, dtype=dtype)[0], stored(rng, K, N, dtype=dtype)[0]
    if case == "transposed":
        return np.ascontiguousarray(a.T).T, np.ascontiguousarray(b.T).T
    if case == "rows apart":
        return np.repeat(a[:, None], 3, axis=1)[:, 1], np.repeat(b[:, None], 2, axis=1)[:, 0]
    return a, b


def placed(put, x):
    """put, for an array whose axes are transposed or whose rows lie apart."""
    if x.base is not None and not x.flags.c_contiguous:
        if x.T.flags.c_contiguous:
            return put(x.T).T
        return put(x.base)[:, 1] if len(x.base[0]) == 3 else put(x.base)[:, 0]
    return put(x)


@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("case", ["plain", "transposed", "rows apart"])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("M,K,N", [(1, 1, 1), (5, 1, 3), (1, 7, 13), (33, 20, 9)])
def test_gemm(put, rng, dtype, case, wide, M, K, N):
    a, b = operands(rng, dtype, case, M, K, N)
    kind = "float32" if wide else dtype
    start, start64 = stored(rng, M, N, dtype=kind)
    want = get(a) @ get(b)
    for beta in (0.0, 1.0):
        out = put(start)
        assert gemm(placed(put, a), placed(put, b), out, beta) is out
        close(out, want + beta * start64, ROUNDING[kind], f"beta {beta}")


def test_what_beta_0_finds_is_not_read(put, rng):
    a, b = stored(rng, 3, 4, dtype="bfloat16")[0], stored(rng, 4, 5, dtype="bfloat16")[0]
    close(gemm(put(a), put(b), put(np.full((3, 5), np.nan, np.float32))), get(a) @ get(b), 1e-6)


def test_products_round_once_to_the_nearest():
    """As the hardware converts: ties to even, overflow to infinity, NaN stays NaN."""
    x = np.array([1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8 + 2**-20), 3.4e38, np.inf, -np.inf, 0.0, 1e-40], np.float32)
    want = np.array([1, 1 + 2**-6, -(1 + 2**-7), np.inf, np.inf, -np.inf, 0, 1e-40])
    got = to_float32(from_float32(x, np.uint16))
    assert (got[:7] == want[:7]).all() and got[7] == pytest.approx(1e-40, rel=1e-2)
    for bits in (0x7F800001, 0xFFFFFFFF, 0x7FC00000):
        nan = np.array([bits], np.uint32).view(np.float32)
        assert np.isnan(to_float32(from_float32(nan, np.uint16))).all()
    with np.errstate(over="ignore"):
        assert from_float32(np.float32([7e4]), np.float16)[0] == np.inf


# -- linear layers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("wide", [False, True])
def test_linear(put, rng, dtype, wide):
    kind = "float32" if wide else dtype
    (x, x64), (w, w64), (dy, dy64) = (stored(rng, *s, dtype=dtype) for s in [(2, 7, 13), (5, 13), (2, 7, 5)])
    dw = floats(rng, 5, 13)
    y, cache = half.linear_forward(put(x), put(w), np.dtype(CASTS[kind](x64).dtype))
    close(y, x64 @ w64.T, ROUNDING[kind], "y")
    want_dw = dw + dy64.reshape(-1, 5).T @ x64.reshape(-1, 13)
    dw = put(dw)
    dx = half.linear_backward(put(dy), cache, dw, CASTS[kind](x64).dtype)
    close(dx, dy64 @ w64, ROUNDING[kind], "dx")
    close(dw, want_dw, 2e-6, "dw")  # never rounded to 16 bits
    assert half.linear_forward(put(x), put(w))[0].dtype == x.dtype


# -- residual, bias and norm -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", CASTS)
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (2, 5, 96), (9, 200), (5, 384), (6, 700)])
def test_residual_norm(put, rng, dtype, shape):
    check_residual_norm(put, rng, dtype, shape)


def check_residual_norm(put, rng, dtype, shape):
    C = shape[-1]
    x, dy = floats(rng, *shape), floats(rng, *shape)
    (branch, branch64), (dn, dn64) = (stored(rng, *shape, dtype=dtype) for _ in range(2))
    bias, w, b, *starts = (floats(rng, C) for _ in range(6))
    y64 = x.astype(np.float64) + branch64 + bias
    want, cache = layers.layernorm_forward(y64, w, b, 1e-5)
    sums = [start.astype(np.float64) for start in starts]
    want_dx = dy + layers.layernorm_backward(dn64, cache, *sums[:2])
    sums[2] += want_dx.reshape(-1, C).sum(axis=0)

    dtype_of = CASTS[dtype](x).dtype
    (y, n), own = half.residual_norm_forward(put(x), put(branch), put(bias), put(w), put(b), 1e-5, dtype_of)
    assert y.dtype == np.float32 and n.dtype == dtype_of
    close(y, y64, 2e-6, "y")
    close(n, want, 2 * ROUNDING[dtype], "n")
    (same, again), _ = half.residual_norm_forward(y, None, None, put(w), put(b), 1e-5, dtype_of)
    assert same is y and (get(again) == get(n)).all()  # from the sum alone, bit for bit: what recomputation needs
    outs = [put(start) for start in starts]
    dx, dbranch = half.residual_norm_backward(put(dn), put(dy), own, *outs)
    close(dx, want_dx, 1e-5, "dx")
    assert (get(dbranch) == get(CASTS[dtype](get(dx).astype(np.float32)))).all()
    assert dbranch.dtype == dtype_of and (dbranch is dx) == (dtype == "float32")
    for out, total, name in zip(outs, sums, ("dw", "db", "dbias"), strict=True):
        close(out, total, 1e-5, name)
    first, none = half.residual_norm_backward(put(dn), put(dy), own, *map(put, starts[:2]))
    assert none is None and (get(first) == get(dx)).all()
    without, zero = (
        half.residual_norm_backward(put(dn), past, own, *map(put, starts[:2]))[0] for past in (None, put(0 * dy))
    )
    assert (get(without) == get(zero)).all()


def check_residual_norm_of_a_prefix(put, rng, dtype, B, tokens, P, C):
    """Of x the first P tokens of each clip alone; backwards, a gradient that only these have."""
    x, dy = floats(rng, B, tokens, C), floats(rng, B, P, C)
    branch, branch64 = stored(rng, B, P, C, dtype=dtype)
    bias, w, b, *starts = (floats(rng, C) for _ in range(6))
    kind = branch.dtype
    y64 = x[:, :P].astype(np.float64) + branch64 + bias
    (y, n), _ = half.residual_norm_forward(put(x), put(branch), put(bias), put(w), put(b), 1e-5, kind, P)
    assert y.dtype == np.float32 and n.dtype == kind
    close(y, y64, 2e-6, "y")
    close(n, layers.layernorm_forward(y64, w, b, 1e-5)[0], 2 * ROUNDING[dtype], "n")
    (y, _), _ = half.residual_norm_forward(put(x), None, None, put(w), put(b), 1e-5, kind, P)
    assert (get(y) == x[:, :P]).all()

    (_, n), own = half.residual_norm_forward(put(x), None, None, put(w), put(b), 1e-5, kind)
    dn = CASTS[dtype](rng.standard_normal(x.shape))
    whole = np.zeros(x.shape, np.float32)
    whole[:, :P] = dy
    results = []
    for past in (dy, whole):
        outs = [put(start) for start in starts]
        results.append((*half.residual_norm_backward(put(dn), put(past), own, *outs), *outs))
    assert all((get(one) == get(two)).all() for one, two in zip(*results, strict=True))


@pytest.mark.parametrize("dtype", CASTS)
@pytest.mark.parametrize("B,tokens,P,C", [(1, 1, 1, 13), (3, 7, 2, 96), (2, 5, 1, 130), (2, 4, 3, 700), (2, 2, 2, 20)])
def test_residual_norm_of_a_prefix(put, rng, dtype, B, tokens, P, C):
    check_residual_norm_of_a_prefix(put, rng, dtype, B, tokens, P, C)


def test_residual_norm_far_from_zero(put, rng):
    """Values around 1000: a variance made as <y^2> - <y>^2 would keep no correct digit."""
    x, one, zero = 1000 + floats(rng, 5, 130), np.ones(130, np.float32), np.zeros(130, np.float32)
    branch, branch64 = stored(rng, 5, 130, dtype="bfloat16")
    (_, n), _ = half.residual_norm_forward(put(x), put(branch), put(zero), put(one), put(one), 1e-6, branch.dtype)
    want, _ = layers.layernorm_forward(x.astype(np.float64) + branch64, one, one)
    close(n, want, ROUNDING["bfloat16"])


@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("n", [1, 5, 1023, 1024, 3001])
def test_narrow(put, rng, dtype, n):
    x = floats(rng, n)
    x[0] = 3e38 if dtype == "float16" else -1 - 2**-8
    with np.errstate(over="ignore"):
        want = CASTS[dtype](x)
    assert (get(half.narrow(put(x), want.dtype)) == get(want)).all()
    out = put(np.zeros_like(want))
    assert half.narrow(put(x), want.dtype, out) is out and (get(out) == get(want)).all()


def test_the_same_bits_in_any_order(rng):
    kernel_cases.need_compiler()
    x, dy, (branch, _), (dn, _) = (
        floats(rng, 1100, 130),
        floats(rng, 1100, 130),
        *(stored(rng, 1100, 130, dtype="bfloat16") for _ in range(2)),
    )
    w, b, bias = (floats(rng, 130) for _ in range(3))
    results = []
    for modes in kernel_cases.ORDERS.values():
        with emulation(**modes):
            (y, n), cache = half.residual_norm_forward(x, branch, bias, w, b, 1e-6, branch.dtype)
            sums = [np.zeros(130, np.float32) for _ in range(3)]
            results.append((y, n, *half.residual_norm_backward(dn, dy, cache, *sums), *sums))
    for other in results[1:]:
        assert all(np.array_equal(p, q) for p, q in zip(results[0], other, strict=True))


def test_a_linear_layer_of_cuda_py_still_refuses_bfloat16(put, rng):
    """The float32 functions never read bfloat16's bits as numbers."""
    x = put(stored(rng, 2, 3, dtype="bfloat16")[0])
    with pytest.raises(Error, match="bfloat16"):
        cuda.linear_backward(x, (x, x), None, None)
