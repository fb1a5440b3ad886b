"""The attention kernels, every version and head width, against the reference in float64."""

import numpy as np
import pytest

from minast import cuda, layers
from minast.cuda import attention
from minast.errors import Error
from minast.launch import emulation
from tests import kernel_cases
from tests.kernel_cases import CASTS, close, get, slope

put = kernel_cases.put  # a fixture: pytest finds it by this name

SIZES = [  # B, N, H, D: every kind of N that leaves a partial tile, and AST's own 602 and 1214
    (2, 1, 3, 16),
    (2, 7, 2, 48),
    (2, 50, 3, 32),
    (2, 50, 1, 64),
    (1, 50, 2, 48),
    (3, 64, 1, 16),
    (1, 128, 1, 32),
    (1, 146, 2, 64),
    (2, 130, 1, 32),
    (1, 257, 2, 16),
    (1, 602, 1, 48),
    (1, 1214, 1, 64),
]
VERSIONS = {"float32": (0, 1, 2, 3), "float16": (4, 5, 6), "bfloat16": (4, 5, 6)}
FORWARD = {"float32": 3e-6, "float16": 1.5e-3, "bfloat16": 1.2e-2}  # p and o are rounded to 11 or 8 bits
BACKWARD = {"float32": 5e-6, "float16": 3e-3, "bfloat16": 2e-2}  # p, ds and the result are


def random_case(B, N, H, D, dtype="float32", scale=1.0, seed=5):
    """(qkv, do) as stored, and as float64"""
    rng = np.random.default_rng(seed)
    qkv = CASTS[dtype](scale * rng.standard_normal((B, N, 3 * H * D)))
    do = CASTS[dtype](rng.standard_normal((B, N, H * D)))
    return qkv, do, get(qkv), get(do)


@pytest.mark.parametrize("dtype", VERSIONS)
@pytest.mark.parametrize("size", SIZES, ids=lambda s: "x".join(map(str, s)))
def test_forward_and_backward(put, dtype, size):
    qkv, do, qkv64, do64 = random_case(*size, dtype)
    want, reference = layers.attention_forward(qkv64, size[2])
    wanted = layers.attention_backward(do64, reference).reshape(*size[:2], 3, -1)
    for fragments in (None,) if dtype == "float32" else (1, 2):
        for version in VERSIONS[dtype]:
            o, cache = cuda.attention_forward(put(qkv), size[2], version=version, fragments=fragments)
            close(o, want, FORWARD[dtype], f"o of version {version}")
            close(cache[2], reference[2], 2e-6, f"lse of version {version}")
        dbias = put(np.full(wanted[0, 0].size, 3, np.float32))
        dqkv = get(cuda.attention_backward(put(do), cache, fragments, dbias)).reshape(wanted.shape)
        for i, name in enumerate(("dq", "dk", "dv")):
            close(dqkv[:, :, i], wanted[:, :, i], BACKWARD[dtype], name, scale=np.abs(wanted).max())
        sums = wanted.sum(axis=(0, 1)).ravel()  # the keys' are 0
        close(get(dbias) - 3, sums, BACKWARD[dtype], "dbias", scale=np.sqrt(size[0] * size[1]) * np.abs(wanted).max())


def check_bias(put, dtype, size, version=6, fragments=None, warpgroups=None):
    """The bias added on the way, against the reference that has it in qkv beforehand, the keys' too."""
    qkv, do, qkv64, do64 = random_case(*size, dtype)
    B, N, H, D = size
    bias = np.random.default_rng(9).standard_normal(3 * H * D).astype(np.float32)
    want, reference = layers.attention_forward(qkv64 + bias, H)
    wanted = layers.attention_backward(do64, reference).reshape(B, N, 3, -1)
    placed = put(qkv)
    o, cache = cuda.attention_forward(placed, H, version, fragments, put(bias), warpgroups)
    close(o, want, FORWARD[dtype], f"o of version {version}")
    left = get(placed).reshape(wanted.shape)
    assert (left[:, :, 1:] == qkv64.reshape(wanted.shape)[:, :, 1:]).all(), "keys or values were written to"
    queries = qkv64.reshape(wanted.shape)[:, :, 0] + bias[: H * D]
    assert (left[:, :, 0] == get(CASTS[dtype](queries.astype(np.float32)))).all(), (
        "queries are not left with their bias"
    )
    dqkv = get(cuda.attention_backward(put(do), cache, fragments=fragments)).reshape(wanted.shape)
    for i, name in enumerate(("dq", "dk", "dv")):
        close(dqkv[:, :, i], wanted[:, :, i], BACKWARD[dtype], name, scale=np.abs(wanted).max())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("version", [4, 5, 6])
@pytest.mark.parametrize("fragments", [1, 2])
@pytest.mark.parametrize("size", [s for s in SIZES if s[1] != 602], ids=lambda s: "x".join(map(str, s)))
def test_the_bias_of_qkv(put, dtype, size, version, fragments):
    check_bias(put, dtype, size, version, fragments)


@pytest.mark.parametrize("version", [4, 5, 6])
def test_without_a_bias_nothing_is_written_to_qkv(put, version):
    qkv, _, before, _ = random_case(2, 130, 2, 16, "float16")
    qkv = put(qkv)
    cuda.attention_forward(qkv, 2, version)
    assert (get(qkv) == before).all()


def test_a_bias_is_for_16_bit_types(put):
    qkv, _, _, _ = random_case(1, 7, 1, 16)
    with pytest.raises(Error, match="adds a bias for 16-bit types only"):
        cuda.attention_forward(put(qkv), 1, bias=put(np.ones(48, np.float32)))


def test_one_token_gets_its_own_value(put):
    """N = 1: p = 1, so o = v, dv = do, and dq = dk = 0 up to rounding."""
    qkv, do, _, _ = random_case(1, 1, 1, 16)
    o, cache = cuda.attention_forward(put(qkv), 1)
    assert (get(o)[0, 0] == qkv[0, 0, 32:]).all()
    dqkv = get(cuda.attention_backward(put(do), cache))[0, 0]
    assert np.abs(dqkv[:32]).max() < 1e-5 and np.abs(dqkv[32:] - do[0, 0]).max() < 1e-5


@pytest.mark.parametrize("dtype", VERSIONS)
def test_scores_that_grow_from_key_to_key(put, dtype):
    """The running maximum rises at every tile, and by so much that forgetting one rescaling ruins the row."""
    N, D = 200, 16
    _, do, _, do64 = random_case(1, N, 1, D, dtype)
    qkv = np.random.default_rng(6).standard_normal((1, N, 3, D))
    qkv[:, :, 0], qkv[:, :, 1] = 1, np.linspace(-8, 8, N)[:, None]  # scores from -32 to 32
    qkv = CASTS[dtype](qkv.reshape(1, N, 3 * D))
    want, reference = layers.attention_forward(get(qkv), 1)
    for version in VERSIONS[dtype]:
        o, cache = cuda.attention_forward(put(qkv), 1, version=version)
        close(o, want, 5 * FORWARD[dtype], f"o of version {version}")
    dqkv = cuda.attention_backward(put(do), cache)
    close(dqkv, layers.attention_backward(do64, reference), 5 * BACKWARD[dtype], "dqkv")


@pytest.mark.parametrize("dtype", VERSIONS)
def test_scores_that_grow_a_little_from_tile_to_tile(put, dtype):
    """Each tile's maximum is above the last one's, by less than version 6 lets it lag behind, then by more."""
    N, D = 64 * 5 + 3, 16
    _, do, _, do64 = random_case(1, N, 1, D, dtype)
    qkv = np.random.default_rng(6).standard_normal((1, N, 3, D))
    qkv[:, :, 0], qkv[:, :, 1] = 1, (np.arange(N) // 64 * 0.75)[:, None]  # scores of a tile: 3 more than before
    qkv[:, 200:, 0] *= -1  # and less than before for the last queries
    qkv = CASTS[dtype](qkv.reshape(1, N, 3 * D))
    want, reference = layers.attention_forward(get(qkv), 1)
    for version in VERSIONS[dtype]:
        o, cache = cuda.attention_forward(put(qkv), 1, version=version)
        close(o, want, 2 * FORWARD[dtype], f"o of version {version}")
        close(cache[2], reference[2], 2e-6, f"lse of version {version}")
    dqkv = cuda.attention_backward(put(do), cache)
    close(dqkv, layers.attention_backward(do64, reference), 2 * BACKWARD[dtype], "dqkv")


@pytest.mark.parametrize("dtype", VERSIONS)
@pytest.mark.parametrize("sign", [1, -1])
def test_huge_scores(put, dtype, sign):
    """Scores near +-1600. At -1600 exp(0 - lse), which keys beyond the end would get, overflows: leave them out."""
    N, D = 70, 16
    _, do, _, do64 = random_case(1, N, 1, D, dtype)
    qkv = np.random.default_rng(7).standard_normal((1, N, 3, D)) * 0.01
    qkv[:, :, 0] += 20
    qkv[:, :, 1] += 20 * sign
    qkv = CASTS[dtype](qkv.reshape(1, N, 3 * D))
    want, reference = layers.attention_forward(get(qkv), 1)
    for version in VERSIONS[dtype]:
        o, cache = cuda.attention_forward(put(qkv), 1, version=version)
        # a score of 1600 has an error of 1e-4 in float32, and so have the probabilities made of it
        close(o, want, max(1e-3, 3 * FORWARD[dtype]), f"o of version {version}")
        close(cache[2], reference[2], 1e-6, f"lse of version {version}")
    dqkv = get(cuda.attention_backward(put(do), cache)).reshape(1, N, 3, D)
    wanted = layers.attention_backward(do64, reference).reshape(dqkv.shape)
    close(dqkv[:, :, 2], wanted[:, :, 2], max(2e-3, 3 * BACKWARD[dtype]), "dv")
    assert np.abs(dqkv).max() < 10 * np.abs(wanted).max()


@pytest.mark.parametrize("D", cuda.HEAD_WIDTHS)
def test_gradient_of_the_kernels(put, D):
    """d sum(o dy) along a random direction: the forward kernel's own differences, not the reference's gradient."""
    rng = np.random.default_rng(8)
    qkv, dy, _, _ = random_case(1, 19, 2, D)
    qkv = put(qkv)
    _, cache = cuda.attention_forward(qkv, 2)
    gradient = get(cuda.attention_backward(put(dy), cache))
    numeric, (u,) = slope(lambda: (get(cuda.attention_forward(qkv, 2)[0]) * dy).sum(), [qkv], rng)
    assert (gradient * u).sum() == pytest.approx(numeric, rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("dtype", VERSIONS)
def test_the_same_bits_in_any_order(dtype):
    """No sum depends on which thread or block comes first."""
    kernel_cases.need_compiler()
    qkv, do, _, _ = random_case(2, 146, 2, 32, dtype)
    results = []
    for order, seed in (("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)):
        with emulation(order=order, seed=seed):
            o, cache = cuda.attention_forward(qkv, 2)
            results.append((o, cache[2], cuda.attention_backward(do, cache)))
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_version_of_the_other_type_is_refused(put):
    qkv, _, _, _ = random_case(1, 5, 1, 16)
    with pytest.raises(Error, match="version 6 of attention is for 16-bit types"):
        cuda.attention_forward(put(qkv), 1, version=6)


@pytest.mark.parametrize("version", [None, 4, 5, 6])
def test_bfloat16_is_refused_where_tensor_cores_lack_it(monkeypatch, version):
    kernel_cases.need_compiler()
    qkv, do, _, _ = random_case(1, 5, 1, 16, "bfloat16")
    _, cache = cuda.attention_forward(qkv, 1, version=version)
    monkeypatch.setattr(attention, "_capability", lambda x: "75")
    for refused in (
        lambda: cuda.attention_forward(qkv, 1, version=version),
        lambda: cuda.attention_backward(do, cache),
    ):
        with pytest.raises(Error, match=r"bfloat16 attention needs compute capability 8\.0, this GPU has 7\.5"):
            refused()
    qkv, do, _, _ = random_case(1, 5, 1, 16, "float16")
    _, cache = cuda.attention_forward(qkv, 1, version=version)
    assert np.isfinite(cuda.attention_backward(do, cache)).all()
