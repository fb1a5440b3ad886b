"""TF32: the rounding, products, attention at odd sizes against float64, and the whole model against float32."""

import numpy as np
import pytest

from minast import AST, ModelConfig, cuda, layers
from minast.backend import choose
from minast.cuda import gemm, tf32
from minast.cuda.gemm import round_to_tf32
from minast.errors import Error
from minast.launch import emulation, launch
from tests import emulated, kernel_cases
from tests.gpu.test_kernels_attention import SIZES, random_case
from tests.kernel_cases import close, get, need_compiler

put = kernel_cases.put  # a fixture: pytest finds it by this name

FORWARD, BACKWARD, LSE = 1.5e-3, 3e-3, 2e-3  # half a unit in the last place is 2^-11 = 4.9e-4 of an operand
TOY = ModelConfig.preset("nano", dim=32, heads=2, depth=2, mel_bins=32, frames=46, classes=5)


# -- the format --------------------------------------------------------------------------------------------------------


def test_rounding():
    """To nearest; a tie goes away from zero; a carry changes the exponent; what is no number stays so."""
    u = 2.0**-10
    x = [1, 1 + u, 1 + 0.49 * u, 1 + 0.5 * u, -1 - 0.5 * u, 1 + 1.5 * u, 2 - 0.25 * u, 1e-45, np.inf, -np.inf, 0, -0.0]
    y = [1, 1 + u, 1, 1 + u, -1 - u, 1 + 2 * u, 2, 0, np.inf, -np.inf, 0, -0.0]
    found = round_to_tf32(np.array(x, np.float32))
    assert found.tolist() == y and np.signbit(found[-1])
    assert np.isnan(round_to_tf32(np.array([np.nan], np.float32)))[0]
    assert round_to_tf32(np.array([np.finfo(np.float32).max], np.float32))[0] == np.inf


def test_the_emulated_instructions(put):
    """The conversion against NumPy's, bit for bit; the product of 16 x 8 by 8 x 8, also of operands not rounded."""
    rng = np.random.default_rng(1)
    x = (rng.standard_normal(256) * 2.0 ** rng.integers(-30, 30, 256)).astype(np.float32)
    a, b = rng.standard_normal((16, 8)).astype(np.float32), rng.standard_normal((8, 8)).astype(np.float32)
    rounded, plain, truncated = put(np.zeros(256, np.float32)), *(put(np.ones((16, 8), np.float32)) for _ in range(2))
    launch(emulated.FEATURES, "tf32_rounded", 8, 32, (put(x), rounded))
    assert np.array_equal(get(rounded), round_to_tf32(x))
    launch(emulated.FEATURES, "tf32_product<true>", 1, 32, (put(a), put(b), plain))
    close(plain, 1 + round_to_tf32(a).astype(np.float64) @ round_to_tf32(b), 1e-6, "product of rounded operands")
    launch(emulated.FEATURES, "tf32_product<false>", 1, 32, (put(a), put(b), truncated))

    def cut(x):
        return (x.view(np.uint32) & 0xFFFFE000).view(np.float32).astype(np.float64)

    close(truncated, 1 + cut(a) @ cut(b), 1e-6, "product of truncated operands")


@pytest.mark.parametrize(("M", "K", "N"), [(1, 1, 1), (7, 13, 5), (64, 96, 33)])
def test_products(put, M, K, N):
    rng = np.random.default_rng(2)
    a, b, start = (rng.standard_normal(s).astype(np.float32) for s in ((M, K), (K, N), (M, N)))
    out = gemm.gemm(put(a), put(b), put(start), 1.0, tf32=True)
    exact = a.astype(np.float64) @ b + start
    close(out, exact, 2e-3, "out")
    if isinstance(out, np.ndarray):  # cuBLAS may round otherwise
        close(out, round_to_tf32(a).astype(np.float64) @ round_to_tf32(b) + start, 2e-6, "out of rounded operands")
    if K > 1:
        assert np.abs(get(out) - exact).max() > 1e-5  # it is not float32


def test_linear(put):
    rng = np.random.default_rng(3)
    x, w, b, dy = (rng.standard_normal(s).astype(np.float32) for s in ((3, 7, 13), (11, 13), (11,), (3, 7, 11)))
    want, reference = layers.linear_forward(x.astype(np.float64), w.astype(np.float64), b.astype(np.float64))
    y, cache = tf32.linear_forward(put(x), put(w), put(b))
    close(y, want, 2e-3, "y")
    dw, db = put(np.full((11, 13), 3, np.float32)), put(np.full(11, 3, np.float32))
    dw64, db64 = np.full((11, 13), 3.0), np.full(11, 3.0)
    wanted = layers.linear_backward(dy.astype(np.float64), reference, dw64, db64)
    close(tf32.linear_backward(put(dy), cache, dw, db), wanted, 2e-3, "dx")
    close(dw, dw64, 2e-3, "dw")
    close(db, db64, 2e-6, "db is a sum, not a product")


# -- attention ---------------------------------------------------------------------------------------------------------


def check_attention(put, size, fragments=None):
    qkv, do, qkv64, do64 = random_case(*size)
    want, reference = layers.attention_forward(qkv64, size[2])
    wanted = layers.attention_backward(do64, reference).reshape(*size[:2], 3, -1)
    o, cache = tf32.attention_forward(put(qkv), size[2], fragments)
    close(o, want, FORWARD, "o")
    close(cache[2], reference[2], LSE, "lse")
    # scores are those of rounded queries and keys, with float32 sums
    rounded = layers.attention_forward(get(round_to_tf32(qkv)), size[2])
    close(cache[2], rounded[1][2], 2e-6, "lse of rounded operands")
    dqkv = get(tf32.attention_backward(put(do), cache)).reshape(wanted.shape)
    for i, name in enumerate(("dq", "dk", "dv")):
        close(dqkv[:, :, i], wanted[:, :, i], BACKWARD, name, scale=np.abs(wanted).max())


@pytest.mark.parametrize("size", [s for s in SIZES if s[1] < 602], ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize("fragments", [1, 2])
def test_attention(put, size, fragments):
    check_attention(put, size, fragments)


def check_one_token(put):
    """N = 1: o is v rounded, dv is do rounded, bit for bit."""
    qkv, do, _, _ = random_case(1, 1, 1, 16)
    o, cache = tf32.attention_forward(put(qkv), 1)
    assert np.array_equal(get(o)[0, 0], round_to_tf32(qkv[0, 0, 32:]))
    dv = get(tf32.attention_backward(put(do), cache))[0, 0, 32:]
    close(dv, round_to_tf32(do[0, 0]), 1e-6, "dv")  # exp(s - lse) is 1 up to float32


def test_one_token(put):
    check_one_token(put)


def check_unbiased(put):
    """With values and do of 1, o and dv are sums of rounded probabilities: truncation would make all of them small."""
    N, D = 200, 16
    qkv = np.random.default_rng(4).standard_normal((1, N, 3, D)).astype(np.float32)
    qkv[:, :, 2] = 1
    o, cache = tf32.attention_forward(put(qkv.reshape(1, N, 3 * D)), 1)
    assert abs(get(o).mean() - 1) < 3e-5
    dqkv = tf32.attention_backward(put(np.ones((1, N, D), np.float32)), cache)
    assert abs(get(dqkv)[:, :, 2 * D :].mean() - 1) < 3e-5


def test_probabilities_are_rounded_to_nearest(put):
    check_unbiased(put)


def check_growing_scores(put):
    """Each tile's maximum is above the last one's: forgetting one rescaling ruins the row."""
    N, D = 200, 16
    _, do, _, do64 = random_case(1, N, 1, D)
    qkv = np.random.default_rng(6).standard_normal((1, N, 3, D))
    qkv[:, :, 0], qkv[:, :, 1] = 1, np.linspace(-8, 8, N)[:, None]
    qkv = round_to_tf32(qkv.reshape(1, N, 3 * D).astype(np.float32))  # so that scores of 32 have no error of 2^-11
    want, reference = layers.attention_forward(get(qkv), 1)
    o, cache = tf32.attention_forward(put(qkv), 1)
    close(o, want, FORWARD, "o")
    close(cache[2], reference[2], 2e-6, "lse")
    dqkv = tf32.attention_backward(put(do), cache)
    close(dqkv, layers.attention_backward(do64, reference), BACKWARD, "dqkv")


def test_scores_that_grow(put):
    check_growing_scores(put)


def check_huge_scores(put, sign=-1):
    """Scores near -1600: exp(0 - lse), which keys beyond the end would get, overflows."""
    N, D = 70, 16
    _, do, _, do64 = random_case(1, N, 1, D)
    qkv = np.random.default_rng(7).standard_normal((1, N, 3, D)) * 0.01
    qkv[:, :, 0] += 20
    qkv[:, :, 1] += 20 * sign
    qkv = round_to_tf32(qkv.reshape(1, N, 3 * D).astype(np.float32))
    want, reference = layers.attention_forward(get(qkv), 1)
    o, cache = tf32.attention_forward(put(qkv), 1)
    close(o, want, 4e-3, "o")
    dqkv = get(tf32.attention_backward(put(do), cache)).reshape(1, N, 3, D)
    wanted = layers.attention_backward(do64, reference).reshape(dqkv.shape)
    close(dqkv[:, :, 2], wanted[:, :, 2], 4e-3, "dv")
    assert np.abs(dqkv).max() < 10 * np.abs(wanted).max()


@pytest.mark.parametrize("sign", [1, -1])
def test_huge_scores(put, sign):
    check_huge_scores(put, sign)


def test_head_widths_without_a_kernel_are_computed_by_the_reference(put):
    qkv, do, qkv64, do64 = random_case(1, 7, 2, 20)
    want, reference = layers.attention_forward(qkv64, 2)
    o, cache = tf32.attention_forward(put(qkv), 2)
    close(o, want, 2e-6, "o")
    close(tf32.attention_backward(put(do), cache), layers.attention_backward(do64, reference), 5e-6, "dqkv")


# -- the model ---------------------------------------------------------------------------------------------------------


def test_the_model():
    """Loss and every gradient near float32's, and not the same; weights, gradients and optimizer are float32."""
    need_compiler()
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 46, 32)).astype(np.float32), np.array([1, 4])
    plain, model = AST(TOY, "emulator"), AST(TOY, "emulator", dtype="tf32")
    assert model.dtype == np.float32 and model.layers is tf32 and plain.layers is cuda and "tf32" in repr(model)
    with emulation(guard=True):
        loss, _ = plain.loss_and_grad(x, y, "ce")
        got, logits = model.loss_and_grad(x, y, "ce")
    assert logits.dtype == np.float32 and 0 < abs(got - loss) < 1e-3 * loss
    for name, dw in plain.dw.items():
        gap = np.linalg.norm(model.dw[name] - dw) / np.linalg.norm(dw)
        assert gap < 5e-3, f"{name}: {gap:.1e}"
    model.backend.Adam(model.w.flat).step(model.dw.flat, lr=1e-3)
    again = model.loss_and_grad(x, y, "ce")[0]
    assert again < got
    assert model.executor.arena is not None  # a dry run plans it as it does float32's


def test_it_is_for_the_kernels():
    for backend in ("numpy", "fast"):
        with pytest.raises(Error, match=f"dtype tf32 needs the backend cuda or emulator, this is {backend}"):
            AST(TOY, backend, dtype="tf32")
    assert choose("emulator").layers_in("float32") is cuda


def test_a_training_run(tones, tmp_path):
    """By the command; its checkpoint is any backend's."""
    from minast import load, train

    need_compiler()
    flags = [str(tones), "--backend", "emulator", "--dtype", "tf32", "--depth", "1", "--epochs", "1", "--batch", "6"]
    assert train.main([*flags, "--out", str(tmp_path / "run")]) == 0
    model, info = load(tmp_path / "run" / "last.npz", "numpy")
    assert model.w.flat.dtype == np.float32 and np.isfinite(model.w.flat).all() and len(info.history) == 1
