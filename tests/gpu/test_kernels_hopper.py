"""Version 7 of attention, for compute capability 9.0: results and gradients, and when it is chosen."""

import numpy as np
import pytest

from minast import cuda, layers
from minast.cuda import attention, choices
from minast.errors import Error
from minast.gpu import plain_memory
from minast.launch import emulation
from tests import kernel_cases
from tests.gpu.test_kernels_attention import BACKWARD, FORWARD, check_bias, random_case
from tests.kernel_cases import CASTS, close, get

SIZES = [  # B, N, H, D and the warpgroups that compute: partial tiles of 128 keys and of 64 queries
    (2, 1, 3, 16, 1),
    (1, 7, 2, 64, 2),
    (2, 50, 1, 64, 1),
    (1, 128, 2, 32, 2),
    (2, 129, 1, 16, 3),
    (1, 146, 2, 64, 3),
    (1, 384, 1, 32, 3),
    (1, 385, 1, 32, 2),
    (1, 602, 1, 16, 1),
    (1, 1214, 1, 64, 3),
]
HALVES = ("float16", "bfloat16")


@pytest.fixture(params=kernel_cases.PLACES)
def put(request):
    """As kernel_cases.put; a GPU only if it has the instructions."""
    if request.param == "cuda":
        import cupy

        if cupy.cuda.Device().compute_capability != "90":
            pytest.skip("the GPU has no wgmma")
        plain_memory.apply(cupy)
        with kernel_cases.unwritten_is_nan(cupy):
            yield cupy.asarray
    else:
        kernel_cases.need_compiler()
        with emulation(**kernel_cases.ORDERS[request.param]), kernel_cases.unwritten_is_nan():
            yield np.array


def check(put, dtype, size):
    *shape, warpgroups = size
    qkv, _, qkv64, _ = random_case(*shape, dtype)
    want, reference = layers.attention_forward(qkv64, shape[2])
    placed = put(qkv)
    o, cache = cuda.attention_forward(placed, shape[2], version=7, warpgroups=warpgroups)
    close(o, want, FORWARD[dtype], "o")
    close(cache[2], reference[2], 2e-6, "lse")
    assert (get(placed) == qkv64).all(), "without a bias nothing is written to qkv"


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", SIZES, ids=lambda s: "x".join(map(str, s)))
def test_forward(put, dtype, size):
    check(put, dtype, size)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", SIZES[:-2], ids=lambda s: "x".join(map(str, s)))
def test_the_bias_of_qkv_and_gradients(put, dtype, size):
    """The backward kernels take what version 7 leaves: o, lse, and the queries with their bias."""
    *shape, warpgroups = size
    check_bias(put, dtype, shape, version=7, warpgroups=warpgroups)


def check_growth(put, dtype, rise=8.0):
    """Scores that grow from key to key: the running maximum rises in every tile, and o and the sums must follow."""
    N, D = 300, 16
    qkv = np.random.default_rng(6).standard_normal((1, N, 3, D))
    qkv[:, :, 0], qkv[:, :, 1] = 1, np.linspace(-rise, rise, N)[:, None]
    qkv = CASTS[dtype](qkv.reshape(1, N, 3 * D))
    want, reference = layers.attention_forward(get(qkv), 1)
    o, cache = cuda.attention_forward(put(qkv), 1, version=7)
    close(o, want, 5 * FORWARD[dtype], "o")
    close(cache[2], reference[2], 2e-6, "lse")


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("rise", [8.0, -8.0, 0.5])
def test_scores_that_grow_or_fall(put, dtype, rise):
    check_growth(put, dtype, rise)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("sign", [1, -1])
def test_huge_scores(put, dtype, sign):
    """Scores near +-1600: keys beyond the end, whose score is 0, must be left out."""
    N, D = 70, 16
    qkv = np.random.default_rng(7).standard_normal((1, N, 3, D)) * 0.01
    qkv[:, :, 0] += 20
    qkv[:, :, 1] += 20 * sign
    qkv = CASTS[dtype](qkv.reshape(1, N, 3 * D))
    want, reference = layers.attention_forward(get(qkv), 1)
    o, cache = cuda.attention_forward(put(qkv), 1, version=7)
    close(o, want, max(1e-3, 3 * FORWARD[dtype]), "o")
    close(cache[2], reference[2], 1e-6, "lse")


@pytest.mark.parametrize("dtype", HALVES)
def test_the_same_bits_in_any_order_and_with_any_number_of_warpgroups(dtype):
    kernel_cases.need_compiler()
    qkv, _, _, _ = random_case(1, 300, 2, 32, dtype)
    results = []
    for order, seed, warpgroups in (("forward", 0, 1), ("reverse", 0, 2), ("random", 1, 3), ("random", 2, 3)):
        with emulation(order=order, seed=seed):
            o, cache = cuda.attention_forward(qkv, 2, version=7, warpgroups=warpgroups)
            results.append((o, cache[2]))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


# -- backward --------------------------------------------------------------------------------------------------------


def check_backward(put, dtype, size, biased=True):
    """Gradients of version 7 from its own forward pass; dbias is added to what is there."""
    B, N, H, D, warpgroups = size
    qkv, do, qkv64, do64 = random_case(B, N, H, D, dtype)
    bias = np.random.default_rng(9).standard_normal(3 * H * D).astype(np.float32) if biased else None
    _, reference = layers.attention_forward(qkv64 + (0 if bias is None else bias), H)
    wanted = layers.attention_backward(do64, reference).reshape(B, N, 3, -1)
    _, cache = cuda.attention_forward(put(qkv), H, version=7, bias=None if bias is None else put(bias))
    dbias = put(np.full(3 * H * D, 3, np.float32))
    dqkv = get(cuda.attention_backward(put(do), cache, dbias=dbias, version=7, warpgroups=warpgroups))
    for i, name in enumerate(("dq", "dk", "dv")):
        got = dqkv.reshape(wanted.shape)[:, :, i]
        close(got, wanted[:, :, i], BACKWARD[dtype], name, scale=np.abs(wanted).max())
    sums = wanted.sum(axis=(0, 1)).ravel()  # the keys' are 0
    close(get(dbias) - 3, sums, BACKWARD[dtype], "dbias", scale=np.sqrt(B * N) * np.abs(wanted).max())


BACKWARD_SIZES = [(*size[:4], min(2, size[4])) for size in SIZES]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", BACKWARD_SIZES, ids=lambda s: "x".join(map(str, s)))
def test_backward(put, dtype, size):
    check_backward(put, dtype, size, biased=size[1] % 2 == 0)


@pytest.mark.parametrize("dtype", HALVES)
def test_gradients_where_scores_are_huge(put, dtype):
    """At -1600 exp(0 - lse), which keys and queries beyond the end would get, overflows: they must be left out."""
    N, D = 70, 16
    do = CASTS[dtype](np.random.default_rng(5).standard_normal((1, N, D)))
    qkv = np.random.default_rng(7).standard_normal((1, N, 3, D)) * 0.01
    qkv[:, :, 0] += 20
    qkv[:, :, 1] -= 20
    qkv = CASTS[dtype](qkv.reshape(1, N, 3 * D))
    wanted = layers.attention_backward(get(do), layers.attention_forward(get(qkv), 1)[1]).reshape(1, N, 3, D)
    _, cache = cuda.attention_forward(put(qkv), 1, version=7)
    dqkv = get(cuda.attention_backward(put(do), cache, version=7)).reshape(1, N, 3, D)
    close(dqkv[:, :, 2], wanted[:, :, 2], max(2e-3, 3 * BACKWARD[dtype]), "dv")
    assert np.isfinite(dqkv).all() and np.abs(dqkv).max() < 10 * np.abs(wanted).max()


# -- which version runs -----------------------------------------------------------------------------------------------


def test_version_7_is_taken_once_it_has_been_measured(monkeypatch):
    kernel_cases.need_compiler()
    qkv, _, _, _ = random_case(1, 50, 2, 32, "float16")
    assert cuda.attention_version(qkv, 2) == 6
    monkeypatch.setitem(choices.MEASURED, ("90", 32, "forward"), choices.Choice(7, 2))
    assert cuda.attention_version(qkv, 2) == 7
    with kernel_cases.noting() as seen:
        cuda.attention_forward(qkv, 2)
        cuda.attention_forward(qkv, 1)  # heads of 64: not measured
    assert seen == ["attention_wgmma<__half,32,2>", "attention_mma_lean<__half,64,1>"]
    monkeypatch.setitem(choices.MEASURED, ("90", 32, "backward"), choices.Choice(7))
    o, cache = cuda.attention_forward(qkv, 2)
    with kernel_cases.noting() as seen:
        cuda.attention_backward(o, cache)
    assert seen[1:] == ["attention_wgmma_dkv<__half,32,1>", "attention_wgmma_dq<__half,32,1>"]


def test_the_table_names_versions_that_run():
    for (capability, width, way), choice in choices.MEASURED.items():
        assert way in ("forward", "backward")
        assert choice.version in attention.TENSOR_CORES or (
            choice.version == attention.HOPPER and capability == "90" and width in attention.HOPPER_WIDTHS
        )
        assert choice.warpgroups in (None, 1, 2, 3)


@pytest.mark.parametrize(
    "capability, heads, lacks",
    [
        ("80", 2, r"compute capability 9\.0, this GPU has 8\.0"),
        ("100", 2, r"compute capability 9\.0, this GPU has 10\.0"),
        ("90", 4, "heads of width 16, 32, 64, these have 48"),
    ],
)
def test_where_it_cannot_run_it_says_why(monkeypatch, capability, heads, lacks):
    qkv = np.zeros((1, 5, 3 * 192 if heads == 4 else 3 * 64), np.float16)
    monkeypatch.setattr(attention, "_capability", lambda x: capability)
    assert cuda.attention_versions(qkv, heads) == (4, 5, 6)
    with pytest.raises(Error, match=f"version 7 of attention needs {lacks}"):
        cuda.attention_forward(qkv, heads, version=7)


def test_versions_that_can_run():
    qkv = np.zeros((1, 5, 3 * 64), np.float16)
    assert cuda.attention_versions(qkv, 2) == (4, 5, 6, 7)
    assert cuda.attention_versions(qkv.astype(np.float32), 2) == (0, 1, 2, 3)


def test_the_backward_pass_refuses_other_versions(monkeypatch):
    kernel_cases.need_compiler()
    for dtype, version, match in (
        ("float16", 5, "version 5 of attention has no"),
        ("float32", 7, "one version for flo"),
    ):
        qkv, do, _, _ = random_case(1, 5, 1, 16, dtype)
        _, cache = cuda.attention_forward(qkv, 1)
        with pytest.raises(Error, match=match):
            cuda.attention_backward(do, cache, version=version)
    qkv, do, _, _ = random_case(1, 5, 1, 16, "float16")
    _, cache = cuda.attention_forward(qkv, 1)
    monkeypatch.setattr(attention, "_capability", lambda x: "80")
    with pytest.raises(Error, match=r"version 7 of attention needs compute capability 9\.0, this GPU has 8\.0"):
        cuda.attention_backward(do, cache, version=7)


def test_it_is_for_16_bits():
    with pytest.raises(Error, match="version 7 of attention is for 16-bit types, not for float32"):
        cuda.attention_forward(np.zeros((1, 5, 48), np.float32), 1, version=7)
