"""The ends of the encoder and `spread`: kernels/tokens.cu against the reference in float64."""

import numpy as np
import pytest

from minast import cuda, layers
from minast.cuda import tokens
from minast.errors import Error
from minast.gpu.adding import overwriting
from minast.launch import emulation
from tests import kernel_cases
from tests.kernel_cases import CASTS, ROUNDING, close, get

put = kernel_cases.put  # a fixture: pytest finds it by this name

SIZES = [(1, 1, 1), (3, 7, 13), (2, 12, 96), (9, 5, 130), (2, 130, 20), (1, 1212, 48)]  # B, N, C


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def check_tokens(put, rng, dtype, P, B, N, C):
    x, dy = CASTS[dtype](rng.standard_normal((B, N, C))), floats(rng, B, P + N, C)
    prefix, pos, bias = [floats(rng, C) for _ in range(P)], floats(rng, P + N, C), floats(rng, C)
    starts = [floats(rng, C) for _ in range(P)], floats(rng, P + N, C), floats(rng, C)
    placed = [put(p) for p in prefix], put(pos)
    for b in (None, bias):
        want, _ = layers.tokens_forward(get(x) + (0 if b is None else b), prefix, pos)
        y, cache = cuda.tokens_forward(put(x), *placed, None if b is None else put(b))
        assert y.dtype == np.float32
        close(y, want, 1e-6, "y")

    want_dprefix, want_dpos = [d.astype(np.float64) for d in starts[0]], starts[1].astype(np.float64)
    want_dx = layers.tokens_backward(dy.astype(np.float64), (P,), want_dprefix, want_dpos)
    want_dbias = starts[2] + want_dx.sum(axis=(0, 1))
    for with_bias in (False, True):
        dprefix, dpos, dbias = [put(d) for d in starts[0]], put(starts[1]), put(starts[2])
        dx = cuda.tokens_backward(put(dy), cache, dprefix, dpos, dbias if with_bias else None, x.dtype)
        assert (get(dx) == get(CASTS[dtype](dy[:, P:]))).all()  # only copied and rounded
        for got, wanted in zip((*dprefix, dpos), (*want_dprefix, want_dpos), strict=True):
            close(got, wanted, 2e-6, "a sum over clips")
    close(dbias, want_dbias, 2e-6, "dbias")

    dprefix, others = ([put(np.full_like(d, np.nan)) for d in some] for some in (starts[0], starts[1:]))
    with overwriting():
        cuda.tokens_backward(put(dy), cache, dprefix, *others, x.dtype)
    wanted = zip((*want_dprefix, want_dpos, want_dbias), (*starts[0], *starts[1:]), strict=True)
    for got, (with_start, start) in zip((*dprefix, *others), wanted, strict=True):
        close(got, with_start - start, 2e-6, "written")


@pytest.mark.parametrize("dtype", CASTS)
@pytest.mark.parametrize("P", [0, 1, 2])
@pytest.mark.parametrize("B,N,C", SIZES)
def test_tokens(put, rng, dtype, P, B, N, C):
    check_tokens(put, rng, dtype, P, B, N, C)


def test_the_gradient_is_float32_unless_another_type_is_named(put, rng):
    dx = cuda.tokens_backward(put(floats(rng, 2, 4, 5)), (1,), [put(floats(rng, 5))], put(floats(rng, 4, 5)))
    assert dx.dtype == np.float32


def check_patchout(put, rng, P, B, N, stay, C):
    x, dy = floats(rng, B, P + N, C), floats(rng, B, P + stay, C)
    keep = np.sort(rng.permuted(np.tile(np.arange(N, dtype=np.int32), (B, 1)), axis=1)[:, :stay], axis=1)
    y, cache = cuda.patchout_forward(put(x), put(keep), P)
    dx = cuda.patchout_backward(put(dy), cache)
    assert (get(y) == layers.patchout_forward(x, keep, P)[0]).all()  # only copied
    assert (get(dx) == layers.patchout_backward(dy, (x.shape, keep, P))).all()


@pytest.mark.parametrize("P", [0, 1, 2])
@pytest.mark.parametrize(
    "B,N,stay,C", [(1, 1, 1, 1), (3, 7, 3, 13), (2, 12, 12, 96), (9, 40, 1, 130), (1, 1212, 606, 48)]
)
def test_patchout(put, rng, P, B, N, stay, C):
    check_patchout(put, rng, P, B, N, stay, C)


def check_pool(put, rng, dtype, P, B, T, C):
    x, dy = (CASTS[dtype](rng.standard_normal(shape)) for shape in [(B, T, C), (B, C)])
    y, cache = cuda.pool_forward(put(x), P)
    dx = cuda.pool_backward(put(dy), cache)
    assert y.dtype == dx.dtype == x.dtype
    close(y, layers.pool_forward(get(x), P)[0], ROUNDING[dtype], "y")
    close(dx, layers.pool_backward(get(dy), ((B, T, C), P)), ROUNDING[dtype], "dx")


@pytest.mark.parametrize("dtype", CASTS)
@pytest.mark.parametrize(
    "P,B,T,C", [(1, 1, 1, 1), (2, 3, 2, 13), (1, 9, 7, 96), (2, 2, 130, 20), (3, 2, 9, 130), (2, 1, 1214, 48)]
)
def test_pool(put, rng, dtype, P, B, T, C):
    check_pool(put, rng, dtype, P, B, T, C)


@pytest.mark.parametrize("dtype", CASTS)
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (2, 5, 96), (19, 130)])
def test_spread(put, rng, dtype, shape):
    bias, y = floats(rng, shape[-1]), put(CASTS[dtype](np.full(shape, np.nan)))
    cuda.spread(put(bias), y)
    assert (get(y) == get(CASTS[dtype](np.broadcast_to(bias, shape)))).all()


def test_the_same_bits_in_any_order(rng):
    kernel_cases.need_compiler()
    dy, results = floats(rng, 5, 132, 130), []
    for modes in kernel_cases.ORDERS.values():
        sums = [np.zeros(130, np.float32), np.zeros(130, np.float32)], np.zeros((132, 130), np.float32)
        dbias = np.zeros(130, np.float32)
        with emulation(**modes):
            results.append((cuda.tokens_backward(dy, (2,), *sums, dbias), *sums[0], sums[1], dbias))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_what_has_no_kernel_takes_the_reference(put, rng):
    x, prefix, pos = floats(rng, 2, 5, 8), [floats(rng, 8) for _ in range(3)], floats(rng, 8, 8)
    with kernel_cases.noting() as seen:
        y, cache = cuda.tokens_forward(put(x), [put(p) for p in prefix], put(pos))
        sums = [put(p) for p in prefix], put(pos)
        close(cuda.tokens_backward(y, cache, *sums), get(y)[:, 3:], 0)
        wide = cuda.pool_backward(*cuda.pool_forward(put(x.astype(np.float64)), 2))
    assert not seen and wide.dtype == np.float64 and len(prefix) > tokens.PREFIXES
    with pytest.raises(Error, match="tokens_backward: no kernel fits bfloat16"):
        cuda.tokens_backward(put(CASTS["bfloat16"](x)), (1,), [put(prefix[0])], put(pos[:5]))
