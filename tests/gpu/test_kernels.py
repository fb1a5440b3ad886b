"""Memory-bound kernels against the reference: every version, odd sizes, three thread orders, guard pages."""

from types import SimpleNamespace

import numpy as np
import pytest

from minast import cuda, layers
from minast.cuda import attention, patches
from minast.errors import Error
from minast.gpu import dry_run
from minast.gpu.adding import overwriting
from minast.launch import emulation
from tests import kernel_cases
from tests.kernel_cases import CASTS, ROUNDING, close, get, slope

put = kernel_cases.put  # a fixture: pytest finds it by this name
DTYPES = list(CASTS)


def rows(rng, *shape, dtype="float32"):
    """(stored, as float64): random numbers of a storage type"""
    stored = CASTS[dtype](rng.standard_normal(shape))
    return stored, get(stored)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


# -- patches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    "shape,strides",
    [((2, 37, 29), (10, 10)), ((1, 16, 16), (10, 10)), ((3, 50, 128), (16, 7)), ((1, 60, 80), (33, 20)),
     ((1, 17, 145), (10, 10))],
)  # fmt: skip
def test_unfold(put, rng, version, dtype, shape, strides):
    x = rng.standard_normal(shape).astype(np.float32)
    want, _ = layers.unfold_forward(x, *strides)
    got, _ = cuda.unfold_forward(put(x), *strides, version=version, dtype=CASTS[dtype](x).dtype)
    assert (get(got) == get(CASTS[dtype](want))).all()  # only copied and rounded


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape,strides", [((2, 37, 29), (10, 10)), ((1, 16, 16), (3, 5)), ((1, 70, 45), (16, 1)), ((1, 60, 80), (33, 20))]
)
def test_unfold_backward_is_the_adjoint(put, rng, dtype, shape, strides):
    x = rng.standard_normal(shape).astype(np.float32)
    patches, cache = layers.unfold_forward(x, *strides)
    d, exact = rows(rng, *patches.shape, dtype=dtype)
    dx = cuda.unfold_backward(put(d), cache)
    close(dx, layers.unfold_backward(exact, cache), 2e-6, "dx")
    assert np.vdot(patches, exact) == pytest.approx(np.vdot(x, get(dx)), rel=1e-5)


@pytest.mark.parametrize("dtype", [None, "float16"])
def test_unfold_of_float16_is_a_pair_of_kernels(put, rng, dtype):
    """Forward and backward take the kernel alike, and dx is float32 whatever the patches are."""
    x = rng.standard_normal((2, 37, 29)).astype(np.float16)
    with kernel_cases.noting() as seen:
        patches, cache = cuda.unfold_forward(put(x), 10, 7, dtype=dtype)
        dx = cuda.unfold_backward(patches, cache)
    want, reference = layers.unfold_forward(x, 10, 7)
    assert patches.dtype == want.dtype == np.float16 and (get(patches) == want).all()
    assert dx.dtype == np.float32 and [name.split("<")[0] for name in seen] == ["unfold_strip", "unfold_gather"]
    close(dx, layers.unfold_backward(want.astype(np.float64), reference), 2e-6)


def test_unfold_of_bfloat16_is_refused(put, rng):
    x = put(CASTS["bfloat16"](rng.standard_normal((1, 20, 20))))
    with pytest.raises(Error, match="unfold_forward: no kernel fits bfloat16"):
        cuda.unfold_forward(x, 10, 10)


# -- column sums -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("R,C", [(1, 1), (7, 13), (16, 8), (100, 130), (2500, 96), (8500, 7)])
def test_column_sums_are_added(put, rng, version, dtype, R, C):
    (x, exact), start = rows(rng, R, C, dtype=dtype), rng.standard_normal(C).astype(np.float32)
    out = put(start)
    cuda.add_columns(put(x), out, version)
    close(out, start + exact.sum(axis=0), 2e-6)
    out = put(np.full(C, np.nan, np.float32))
    with overwriting():
        cuda.add_columns(put(x), out, version)
    close(out, exact.sum(axis=0), 2e-6, "written")


def test_linear_backward(put, rng):
    x, w, b, dy = (rows(rng, *shape)[0] for shape in [(2, 7, 13), (5, 13), (5,), (2, 7, 5)])
    dw, db = rows(rng, 5, 13)[0], rows(rng, 5)[0]
    want_dw, want_db = dw.copy(), db.copy()
    want = layers.linear_backward(dy, layers.linear_forward(x, w, b)[1], want_dw, want_db)
    dw, db = put(dw), put(db)
    dx = cuda.linear_backward(put(dy), cuda.linear_forward(put(x), put(w), put(b))[1], dw, db)
    for got, expected, name in ((dx, want, "dx"), (dw, want_dw, "dw"), (db, want_db, "db")):
        close(got, expected, 2e-6, name)


# -- layer norm ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (2, 5, 96), (9, 200), (5, 384), (6, 700), (3, 1024)])
def test_layernorm(put, rng, dtype, shape):
    C = shape[-1]
    (x, x64), (dy, dy64) = rows(rng, *shape, dtype=dtype), rows(rng, *shape, dtype=dtype)
    w, b, dw, db = (rng.standard_normal(C).astype(np.float32) for _ in range(4))
    want, cache = layers.layernorm_forward(x64, w, b, 1e-5)
    want_dw, want_db = dw.astype(np.float64), db.astype(np.float64)
    want_dx = layers.layernorm_backward(dy64, cache, want_dw, want_db)
    for version in (0, 1):
        y, cache = cuda.layernorm_forward(put(x), put(w), put(b), 1e-5, version=version)
        close(y, want, 2 * ROUNDING[dtype], f"y of version {version}")
    dw, db = put(dw), put(db)
    dx = cuda.layernorm_backward(put(dy), cache, dw, db)
    close(dx, want_dx, 5 * ROUNDING[dtype], "dx")
    close(dw, want_dw, 1e-5, "dw")
    close(db, want_db, 1e-5, "db")


@pytest.mark.parametrize("version", [0, 1])
def test_layernorm_far_from_zero(put, rng, version):
    """Values around 1000: a variance made as <x^2> - <x>^2 would keep no correct digit."""
    x, one = (1000 + rng.standard_normal((5, 130))).astype(np.float32), np.ones(130, np.float32)
    want, _ = layers.layernorm_forward(x.astype(np.float64), one, one)
    close(cuda.layernorm_forward(put(x), put(one), put(one), version=version)[0], want, 1e-4)


# -- GELU ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["erf", "tanh"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (2, 5, 384), (19, 130), (4300, 4)])
def test_gelu(put, rng, kind, dtype, shape):
    (x, x64), (dy, dy64) = rows(rng, *shape, dtype=dtype), rows(rng, *shape, dtype=dtype)
    bias, start = (rng.standard_normal(shape[-1]).astype(np.float32) for _ in range(2))
    for b in (None, bias):
        want, cache = layers.gelu_forward(x64 if b is None else x64 + b, kind)
        want_dx = layers.gelu_backward(dy64, cache)
        placed = None if b is None else put(b)
        for version in (0, 1):
            y, cache = cuda.gelu_forward(put(x), kind, placed, version=version)
            close(y, want, ROUNDING[dtype], f"y of version {version}")
        dbias = put(start)
        dx, alone = cuda.gelu_backward(put(dy), cache, dbias), cuda.gelu_backward(put(dy), cache)
        close(dx, want_dx, 2 * ROUNDING[dtype], "dx")
        close(dbias, start + want_dx.reshape(-1, shape[-1]).sum(axis=0), 5e-6, "dbias")
        assert (get(alone) == get(dx)).all()
        again, dbias = put(np.full_like(x, 7)), put(start)
        assert (get(cuda.gelu_backward(put(dy), cache, dbias, again)) == get(dx)).all()
        assert (get(again) == get(y)).all() and y.dtype == again.dtype  # bit for bit
    with pytest.raises(Error, match="only together with dbias"):
        cuda.gelu_backward(put(dy), cache, again=again)


# -- softmax ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("R,C", [(1, 1), (7, 13), (5, 128), (4, 516), (3, 1214)])
def test_softmax(put, rng, dtype, R, C):
    (x, x64), (dp, dp64) = rows(rng, R, C, dtype=dtype), rows(rng, R, C, dtype=dtype)
    want, _ = layers.softmax_forward(x64)
    for version in (0, 1):
        p, cache = cuda.softmax_forward(put(x), version)
        close(p, want, ROUNDING[dtype], f"p of version {version}")
    close(cuda.softmax_backward(put(dp), cache), layers.softmax_backward(dp64, (get(p),)), 2 * ROUNDING[dtype], "dx")


@pytest.mark.parametrize("version", [0, 1])
def test_softmax_of_far_apart_values(put, rng, version):
    x = np.sort(rng.uniform(-1000, 1000, (4, 300)), axis=1).astype(np.float32)  # each value is a new maximum
    x[1], x[2, 7:] = -1000, -np.inf
    close(cuda.softmax_forward(put(x), version)[0], layers.softmax_forward(x.astype(np.float64))[0], 2e-6)


# -- losses ----------------------------------------------------------------------------------------------------


def logits_of(rng, B, K, dtype, extreme):
    if not extreme:
        return CASTS[dtype](3 * rng.standard_normal((B, K)))
    return CASTS[dtype](rng.choice([-1000.0, -30.0, 0.0, 30.0, 1000.0], (B, K)))


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("B,K", [(1, 1), (3, 7), (5, 527), (300, 2)])
def test_bce(put, rng, dtype, extreme, B, K):
    logits, y = logits_of(rng, B, K, dtype, extreme), rng.random((B, K)).astype(np.float32)
    want, cache = layers.bce_forward(get(logits), y)
    got, own = cuda.bce_forward(put(logits), put(y))
    assert float(got) == pytest.approx(float(want), rel=2e-6)
    close(cuda.bce_backward(own), layers.bce_backward(cache), 2 * ROUNDING[dtype], "dlogits")


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("B,K", [(1, 1), (3, 7), (5, 527), (300, 2)])
def test_cross_entropy(put, rng, dtype, extreme, soft, B, K):
    logits = logits_of(rng, B, K, dtype, extreme)
    y = rng.random((B, K)).astype(np.float32) if soft else rng.integers(0, K, B)  # soft rows do not sum to 1
    want, cache = layers.ce_forward(get(logits), y)
    got, own = cuda.ce_forward(put(logits), put(y))
    assert float(got) == pytest.approx(float(want), rel=5e-6, abs=1e-7)
    close(cuda.ce_backward(own), layers.ce_backward(cache), 2 * ROUNDING[dtype], "dlogits")


@pytest.mark.parametrize(
    "kind,wrong",
    [("int8", -1), ("uint8", 7), ("int32", -1), ("int32", 7), ("uint32", 2**31 + 1), ("int64", 2**32 + 2),
     ("int64", -(2**32)), ("uint64", 2**32 + 2)],
)  # fmt: skip
def test_a_class_that_there_is_not(put, rng, kind, wrong):
    """NaN as the loss and as that clip's gradient, also where a narrower integer would be some class again."""
    logits, y = rng.standard_normal((6, 7)).astype(np.float32), np.arange(6).astype(kind)
    good, cache = cuda.ce_forward(put(logits), put(y))
    want = get(cuda.ce_backward(cache))
    assert np.isfinite(float(good)) and np.isfinite(want).all()
    y[4] = wrong
    loss, cache = cuda.ce_forward(put(logits), put(y))
    got = get(cuda.ce_backward(cache))
    assert np.isnan(float(loss)) and np.isnan(got[4]).all()
    others = np.arange(6) != 4
    assert (got[others] == want[others]).all()


def test_classes_that_are_not_whole_numbers_are_refused(put, rng):
    with pytest.raises(Error, match="class indices must be integers, not float64"):
        cuda.ce_forward(put(np.zeros((2, 3), np.float32)), put(np.ones(2)))


def test_targets_of_another_shape_are_refused(put, rng):
    logits = put(rng.standard_normal((4, 7)).astype(np.float32))
    for y in (np.ones((4, 6)), np.ones((3, 7)), np.ones(7)):
        with pytest.raises(Error, match=r"targets have shape .*: logits \(4, 7\) need \(4, 7\)"):
            cuda.bce_forward(logits, put(y))
    for y in (np.ones((4, 6)), np.ones(7, int), np.ones(3, int)):
        with pytest.raises(Error, match=r"targets have shape .*: logits \(4, 7\) need \(4,\) or \(4, 7\)"):
            cuda.ce_forward(logits, put(y))


# -- gradients of the kernels alone, without the reference -----------------------------------------------------


def pairs(put, rng):
    """Name -> (arrays to move, forward of them, backward to their gradients)"""
    x = put(rng.standard_normal((3, 5, 13)).astype(np.float32))
    w, b = (put(rng.standard_normal(13).astype(np.float32)) for _ in range(2))
    soft = put(rng.random((4, 7)).astype(np.float32))
    logits = put(rng.standard_normal((4, 7)).astype(np.float32))
    clip = put(rng.standard_normal((2, 37, 29)).astype(np.float32))
    qkv = put(rng.standard_normal((1, 5, 96)).astype(np.float32))

    def norm_backward(dy, cache):
        dw, db = put(np.zeros(13, np.float32)), put(np.zeros(13, np.float32))
        return cuda.layernorm_backward(dy, cache, dw, db), dw, db

    def gelu_backward(dy, cache):
        db = put(np.zeros(13, np.float32))
        return cuda.gelu_backward(dy, cache, db), db

    return {
        "layernorm": ([x, w, b], lambda: cuda.layernorm_forward(x, w, b), norm_backward),
        "gelu": ([x, b], lambda: cuda.gelu_forward(x, "erf", b), gelu_backward),
        "softmax": ([x], lambda: cuda.softmax_forward(x), lambda dy, cache: (cuda.softmax_backward(dy, cache),)),
        "unfold": ([clip], lambda: cuda.unfold_forward(clip, 10, 7), lambda dy, c: (cuda.unfold_backward(dy, c),)),
        "attention": ([qkv], lambda: cuda.attention_forward(qkv, 2), lambda d, c: (cuda.attention_backward(d, c),)),
        "bce": ([logits], lambda: cuda.bce_forward(logits, soft), lambda _, c: (cuda.bce_backward(c),)),
        "ce": ([logits], lambda: cuda.ce_forward(logits, soft), lambda _, c: (cuda.ce_backward(c),)),
    }


@pytest.mark.parametrize("name", ["layernorm", "gelu", "softmax", "unfold", "bce", "ce"])
def test_gradient_of_the_kernels(put, rng, name):
    arrays, forward, backward = pairs(put, rng)[name]
    y, cache = forward()
    dy = rng.standard_normal(y.shape).astype(np.float32) if y.ndim else np.float32(1)
    gradients = backward(put(dy) if y.ndim else dy, cache)
    numeric, directions = slope(lambda: (get(forward()[0]) * dy).sum(), arrays, rng)
    analytic = sum((get(g) * u).sum() for g, u in zip(gradients, directions, strict=True))
    assert analytic == pytest.approx(numeric, rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("name", ["layernorm", "gelu", "softmax", "unfold", "bce", "ce", "attention"])
def test_what_no_kernel_writes_is_nan(put, rng, name):
    """Results come from uninitialised memory, which these tests fill with NaN: so the others see a value left out."""
    _, forward, backward = pairs(put, rng)[name]
    y, cache = forward()
    dy = put(rng.standard_normal(y.shape).astype(np.float32))
    with dry_run.recording(SimpleNamespace(launch=lambda *args: None)):
        assert np.isnan(get(forward()[0])).all() and np.isnan(get(backward(dy, cache)[0])).all()


def test_the_same_bits_in_any_order(rng):
    """No sum depends on which thread or block comes first."""
    kernel_cases.need_compiler()
    x, dy, w, b = (rows(rng, *shape)[0] for shape in [(1100, 130), (1100, 130), (130,), (130,)])
    results = []
    for order, seed in (("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)):
        with emulation(order=order, seed=seed):
            y, cache = cuda.layernorm_forward(x, w, b)
            dw, db, sums = (np.zeros(130, np.float32) for _ in range(3))
            dx = cuda.layernorm_backward(dy, cache, dw, db)
            cuda.add_columns(x, sums)
            results.append((y, dx, dw, db, sums, cuda.gradient_norm(x.ravel()), cuda.bce_forward(x, dy)[0]))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", ["layernorm", "gelu", "softmax", "attention"])
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_a_gradient_of_another_type_is_refused(put, rng, name, dtype):
    """float64 would go to the reference's backward with a kernel's cache, whose parts mean something else."""
    _, forward, backward = pairs(put, rng)[name]
    y, cache = forward()
    with pytest.raises(Error, match=f"{name}_backward: the gradient is {dtype}, the forward pass was float32"):
        backward(put(np.zeros(y.shape, dtype)), cache)


# -- what has no kernel takes the reference ---------------------------------------------------------------------


def test_float64_and_wide_rows_take_the_reference(put, rng):
    x, one = put(rng.standard_normal((4, 48))), put(np.ones(48))
    assert cuda.layernorm_forward(x, one, one)[0].dtype == np.float64
    y, cache = cuda.attention_forward(x.reshape(1, 4, 48), 1)
    assert y.dtype == np.float64 and cuda.attention_backward(y, cache).dtype == np.float64
    wide, one = rng.standard_normal((2, 1025)).astype(np.float32), np.ones(1025, np.float32)
    want, _ = layers.layernorm_forward(wide, one, one)
    close(cuda.layernorm_forward(put(wide), put(one), put(one))[0], want, 1e-6)
    odd = rng.standard_normal((1, 5, 3 * 2 * 20)).astype(np.float32)  # head width 20
    want, cache = layers.attention_forward(odd, 2)
    got, own = cuda.attention_forward(put(odd), 2)
    close(got, want, 1e-6)
    close(cuda.attention_backward(put(want), own), layers.attention_backward(want, cache), 1e-5)


def transposed_and_unaligned(put, rng):
    """A kernel with a transposed array, then each that loads vectors with arrays that begin 4 bytes off a boundary."""
    x = rng.standard_normal((13, 8)).astype(np.float32)
    close(cuda.softmax_forward(put(x).T)[0], layers.softmax_forward(x.T)[0], 2e-6)

    def off(x):
        return put(np.append(np.float32(0), x).astype(np.float32))[1:].reshape(x.shape)

    qkv, do = (rng.standard_normal((2, 5, C)).astype(np.float32) for C in (48, 16))
    (want, cache), (got, own) = layers.attention_forward(qkv, 1), cuda.attention_forward(off(qkv), 1)
    close(got, want, 2e-6)
    close(cuda.attention_backward(off(do), own), layers.attention_backward(do, cache), 5e-6)


def test_arrays_that_are_not_contiguous_or_aligned(put, rng):
    transposed_and_unaligned(put, rng)


@pytest.mark.parametrize("guard", [False, "start", "end"])
def test_arrays_that_are_not_aligned_with_and_without_guards(rng, guard):
    kernel_cases.need_compiler()
    with emulation(guard=guard):
        transposed_and_unaligned(np.array, rng)


@pytest.mark.parametrize("guard", ["start", "end"])
def test_an_unaligned_array_that_is_not_copied_is_noticed(monkeypatch, rng, guard):
    kernel_cases.need_compiler()
    monkeypatch.setattr(attention, "packed", np.ascontiguousarray)
    with emulation(guard=guard), pytest.raises(IndexError, match="not a multiple of the accessed size"):
        transposed_and_unaligned(np.array, rng)


@pytest.mark.parametrize("version", [-1, 2, 7, "1"])
def test_a_version_that_is_not_there(version):
    x = np.ones((4, 8), np.float32)
    calls = (
        lambda: cuda.softmax_forward(x, version=version),
        lambda: cuda.gelu_forward(x, version=version),
        lambda: cuda.layernorm_forward(x, x[0], x[0], version=version),
        lambda: cuda.unfold_forward(np.ones((1, 16, 16), np.float32), 10, 10, version=version),
        lambda: cuda.add_columns(x, x[0].copy(), version=version),
        lambda: cuda.Adam(x[0].copy()).step(x[1], 1e-3, version=version),
    )
    for call in calls:
        with pytest.raises(Error, match=r"version is .*: there are 0 to 1"):
            call()


@pytest.mark.parametrize(("dtype", "version"), [(np.float32, -1), (np.float16, 9)])
def test_a_version_of_attention_that_is_not_there(dtype, version):
    with pytest.raises(Error, match=r"there are 0 to 7"):
        cuda.attention_forward(np.ones((1, 4, 48), dtype), 1, version=version)
    with pytest.raises(Error, match="no version to choose"):  # no kernel is 17 wide
        cuda.attention_forward(np.ones((1, 4, 51), dtype), 1, version=1)
    with pytest.raises(Error, match="the bias would not be added"):
        cuda.attention_forward(np.ones((1, 4, 51), dtype), 1, bias=np.ones(51, np.float32))


def test_arguments_by_name_decide_as_by_place(rng):
    x, qkv = rng.standard_normal((1, 24, 24)).astype(np.float32), rng.standard_normal((1, 5, 96)).astype(np.float32)
    close(cuda.unfold_forward(x, 8, 8, size=8)[0], layers.unfold_forward(x, 8, 8, 8)[0], 0)  # no kernel: 16 alone has
    close(cuda.unfold_forward(x, 8, 8, 16, 1)[0], layers.unfold_forward(x, 8, 8)[0], 0)
    close(cuda.attention_forward(qkv, heads=2)[0], layers.attention_forward(qkv, 2)[0], 2e-6)
    with pytest.raises(Error, match="kind of GELU is 'foo'"):
        cuda.gelu_forward(x, kind="foo")


def test_many_mel_bins_are_unfolded_where_shared_memory_is_small(monkeypatch):
    """T4's 64 KB hold 16 frames of 992 bins."""
    x, launched = np.random.default_rng(0).standard_normal((1, 20, 1024), np.float32), []
    monkeypatch.setattr(patches, "shared_memory", lambda x: 64 * 1024)
    real = patches.launch
    monkeypatch.setattr(patches, "launch", lambda *a: launched.append(a[1]) or real(*a))
    for bins, kernel in ((992, "unfold_strip<float>"), (1024, "unfold_plain<float>")):
        clip = np.ascontiguousarray(x[:, :, :bins])
        close(cuda.unfold_forward(clip, 10, 4)[0], layers.unfold_forward(clip, 10, 4)[0], 0)
        assert launched.pop() == kernel
