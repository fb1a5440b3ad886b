"""The whole model in 16 bits against float32: gradients a tensor, training, the copy of the weights, loss scaling."""

import numpy as np
import pytest

from minast import AST, ModelConfig, cuda
from minast.backend import why_no_gpu
from minast.config import TrainConfig
from minast.cuda import half_encoder
from minast.errors import Error
from minast.launch import emulation
from minast.training.learner import new_learner
from minast.training.loss_scale import LossScale, loss_scale
from tests.kernel_cases import CASTS, ORDERS, get, need_compiler, noting, unwritten_is_nan

BACKENDS = ["emulator"] + (["cuda"] if why_no_gpu() is None else [])
HALF_DTYPES = ("float16", "bfloat16")
SHALLOW = ModelConfig.preset(
    "nano", dim=48, heads=3, depth=2, mel_bins=30, frames=43, fstride=7, tstride=9, classes=5, prefix_tokens=2
)
DEEP = ModelConfig.preset("nano", dim=64, heads=2, mel_bins=32, frames=46, classes=5)  # 12 layers
WORST = {"float16": 5e-3, "bfloat16": 4e-2}  # 2 ** -11 and 2 ** -8 are half a unit of one number


def model(backend, config=SHALLOW, **options):
    if backend == "emulator":
        need_compiler()
    built, rng = AST(config, backend=backend, seed=1, **options), np.random.default_rng(2)
    for name, view in built.w.items():  # biases that are zero hide mistakes
        noise = rng.standard_normal(view.shape).astype(np.float32) * (0.02 if "weight" in name else 0.1)
        view += built.xp.asarray(noise)
    return built


def batch(config=SHALLOW, loss="ce", clips=3):
    rng = np.random.default_rng(3)
    y = rng.integers(0, 5, clips) if loss == "ce" else rng.random((clips, 5)).astype(np.float32)
    return rng.standard_normal((clips, config.frames, config.mel_bins)).astype(np.float32), y


def errors(ours, plain):
    """Name -> |difference| / |gradient|, of the whole tensor"""
    return {
        name: np.linalg.norm(get(ours.dw[name]) - get(dw)) / np.linalg.norm(get(dw)) for name, dw in plain.dw.items()
    }


# -- gradients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("config", [SHALLOW, DEEP], ids=["2 layers", "12 layers"])
def test_gradients_of_the_whole_model(backend, dtype, config):
    x, y = batch(config)
    plain, ours = model("numpy", config), model(backend, config, dtype=dtype)
    (want, logits), (got, own) = plain.loss_and_grad(x, y, "ce"), ours.loss_and_grad(x, y, "ce")
    assert own.dtype == np.float32 and got == pytest.approx(want, rel=WORST[dtype] / 10)
    assert np.abs(get(own) - logits).max() < WORST[dtype] * np.abs(logits).max()
    found = errors(ours, plain)
    worst = max(found, key=found.get)
    assert found[worst] < WORST[dtype], worst
    assert min(found.values()) > 1e-6  # it is not float32 in disguise
    dx, exact = get(ours.input_grad(x, own)), plain.input_grad(x, logits)
    assert np.linalg.norm(dx - exact) < WORST[dtype] * np.linalg.norm(exact)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_patchout_and_frozen_blocks(backend, frozen):
    x, y = batch()
    plain, ours = model("numpy"), model(backend, dtype="bfloat16")
    keep = np.array([[0, 2, 5], [1, 2, 3], [0, 1, 5]])
    plain.frozen = ours.frozen = frozen
    ours.dw.flat[...] = 1
    plain.loss_and_grad(x, y, "ce", keep=keep)
    ours.loss_and_grad(x, y, "ce", keep=keep)
    for view in ours.dw.values():
        view -= 1
    trained = {name for name, dw in plain.dw.items() if dw.any()}
    assert not any(get(ours.dw[name]).any() for name in plain.dw if name not in trained)  # to the last bias
    assert len(trained) == {0: len(plain.dw), 1: 18, 2: 6}[frozen]
    for name in trained:
        gap = np.linalg.norm(get(ours.dw[name]) - plain.dw[name])
        assert gap < WORST["bfloat16"] * np.linalg.norm(plain.dw[name]), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_copy_stays_up_to_date_when_blocks_are_frozen(backend):
    """The optimizer writes the trained part of it: after a step it is the whole of the weights, rounded."""
    ours, (x, y) = model(backend, dtype="bfloat16"), batch(loss="bce")
    before = get(ours.w.flat).copy()
    student = new_learner(ours, TrainConfig(freeze=1, dtype="bfloat16", weight_decay=0.5))
    for _ in range(2):
        student.step(ours.xp.asarray(x), ours.xp.asarray(y), 1e-2)
    changed = get(ours.w.flat) != before
    assert not changed[: ours.trained.start].any() and changed[ours.trained].mean() > 0.9
    logits = get(ours.forward(x))
    ours.weights_changed()
    assert np.array_equal(get(ours.forward(x)), logits)


@pytest.mark.parametrize("place", ORDERS)
@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_gradients_in_every_order(dtype, place):
    """Uninitialised memory is NaN, gradients are added to what is there, a bce loss; head width 16, strides 7 and 9."""
    x, y = batch(loss="bce")
    plain, ours = model("numpy"), model("emulator", dtype=dtype)
    plain.loss_and_grad(x, y)
    ours.dw.flat[...] = 1
    with emulation(**ORDERS[place]), unwritten_is_nan():
        ours.loss_and_grad(x, y)
    for view in ours.dw.values():
        view -= 1
    assert max(errors(ours, plain).values()) < WORST[dtype]


@pytest.mark.parametrize("backend", BACKENDS)
def test_forward_embed_and_encode(backend):
    x, _ = batch()
    plain, ours = model("numpy"), model(backend, dtype="bfloat16")
    for name in ("forward", "embed", "encode"):
        got, want = getattr(ours, name)(x), getattr(plain, name)(x)
        assert got.dtype == np.float32 and got.shape == want.shape
        assert np.linalg.norm(get(got) - want) < 2e-2 * np.linalg.norm(want), name


@pytest.mark.parametrize("backend", ["numpy", *BACKENDS])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_recomputed_activations_give_the_same_bits(backend, dtype):
    if backend == "numpy" and dtype != "float32":
        pytest.skip("no 16 bits on this backend")
    x, y = batch()
    kept, made = (model(backend, dtype=dtype, activation_checkpointing=again) for again in (False, True))
    (one, _), (two, _) = (m.loss_and_grad(x, y, "ce") for m in (kept, made))
    assert one == two and (get(kept.dw.flat) == get(made.dw.flat)).all() and np.any(get(kept.dw.flat))


@pytest.mark.parametrize("backend", BACKENDS)
def test_recomputation_keeps_one_array_a_block(backend):
    x, _ = batch()
    for dtype in ("float32", "bfloat16"):
        ours, tape = model(backend, dtype=dtype, activation_checkpointing=True), []
        ours.encoder.refresh()
        ours._encoder_forward(ours._checked(x), tape)
        assert [b.shape for b in tape[1:-1]] == [(3, SHALLOW.tokens, 48)] * 2


@pytest.mark.parametrize("backend,dtype", [("numpy", "float32"), *[(b, "bfloat16") for b in BACKENDS]])
def test_parts_of_a_batch_add_up(backend, dtype):
    """The gradient of 5 clips in 2 and in 9 parts: the same to rounding, loss and logits included."""
    x, y = batch(clips=5)
    whole = model(backend, dtype=dtype)
    want, logits = whole.loss_and_grad(x, y, "ce")
    for parts, sizes in ((2, [2, 3]), (9, [1] * 5)):
        ours, seen = model(backend, dtype=dtype), []
        encode = ours._encoder_forward

        def noting(x, *rest, encode=encode, seen=seen, **options):
            seen.append(len(x))
            return encode(x, *rest, **options)

        ours._encoder_forward = noting
        got, own = ours.loss_and_grad(x, y, "ce", parts=parts)
        assert seen == sizes and got == pytest.approx(want, rel=1e-6)
        np.testing.assert_allclose(get(own), get(logits), rtol=1e-5, atol=1e-6)
        assert max(errors(ours, whole).values()) < (1e-5 if dtype == "float32" else 1e-2)


# -- the copy of the weights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_the_copy_follows_the_weights(backend, dtype):
    x, y = batch()
    ours, launches = model(backend, dtype=dtype), []

    def same():
        return (get(ours.encoder.half_copy.flat) == get(CASTS[dtype](get(ours.w.flat).astype(np.float32)))).all()

    with pytest.MonkeyPatch.context() as patch:
        narrow = half_encoder.narrow
        patch.setattr(half_encoder, "narrow", lambda *a: (launches.append(a[0].size), narrow(*a))[1])
        first = get(ours.forward(x))
        assert same() and launches.count(ours.w.flat.size) == 1
        assert (get(ours.forward(x)) == first).all() and launches.count(ours.w.flat.size) == 1  # it is still good
        ours.w["mlp_head.1.bias"][...] += 1  # of the head, which computes in float32
        np.testing.assert_allclose(get(ours.forward(x)), first + 1, rtol=1e-5, atol=1e-6)
        ours.w.flat[...] *= 2
        ours.weights_changed()
        ours.forward(x)
        assert same() and launches.count(ours.w.flat.size) == 2
        adam = cuda.Adam(ours.w.flat)
        ours.loss_and_grad(x, y, "ce")
        adam.step(ours.dw.flat, 0.1)  # without the copy: it is made again
        ours.loss_and_grad(x, y, "ce")
        assert same()
        made = len(launches)
        adam.step(ours.dw.flat, 0.1, copy=ours.copy_to_update())
        assert same()
        ours.forward(x)
        assert launches[made:].count(ours.w.flat.size) == 0 and same()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_a_step_that_says_nothing_is_noticed(backend, dtype):
    """Forward passes around an optimizer step without the copy, as validation in a loop of one's own has them."""
    x, y = batch()
    ours, other = (model(backend, dtype=dtype) for _ in range(2))
    for each in (ours, other):
        each.loss_and_grad(x, y, "ce")
    adam = cuda.Adam(ours.w.flat)
    before = get(ours.forward(x))  # brings the copy up to date
    adam.step(ours.dw.flat, 0.1)
    after = get(ours.forward(x))
    other.w.flat[...] = ours.w.flat
    other.weights_changed()
    assert (after == get(other.forward(x))).all() and np.any(after != before)


def test_refusals():
    for backend in ("numpy", "fast"):
        with pytest.raises(Error, match=f"dtype bfloat16 needs the backend cuda or emulator, this is {backend}"):
            AST(SHALLOW, backend=backend, dtype="bfloat16")
    with pytest.raises(Error, match="dtype is 'float8': it must be"):
        AST(SHALLOW, dtype="float8")
    for changes in ({"dim": 60}, {"dim": 1024, "heads": 16}):
        config = ModelConfig(**{"dim": 96, "heads": 3, "frames": 32, "classes": 2, **changes})
        with pytest.raises(Error, match=r"float16 has kernels for heads of width 16, 32, 48, 64 .* use float32"):
            AST(config, backend="emulator", dtype="float16")
    assert AST(SHALLOW, dtype=np.float64, backend="numpy").dtype == np.float64
    assert AST(SHALLOW, backend="emulator", dtype="float16").dtype == np.float32


def test_nothing_falls_back_unnoticed():
    """Which kernels a step takes, and that their arrays have the type they should."""
    need_compiler()
    ours, (x, y) = model("emulator", dtype="bfloat16"), batch()
    with noting() as names:
        ours.loss_and_grad(x, y, "ce")
    seen = {name.split(",")[0] for name in names if " x " not in name}
    T = "<__nv_bfloat16"
    narrow = {"residual_norm_forward", "residual_norm_backward", "gelu_forward", "gelu_backward_sums"}
    narrow |= {"attention_mma_lean", "attention_delta", "attention_mma_dkv", "attention_mma_dq"}
    narrow |= {"class_attention_forward", "class_attention_backward"}
    wanted = {name + T for name in narrow}
    wanted |= {name + T + ">" for name in ("narrow", "unfold_strip", "column_partials", "tokens_backward")}
    norms = {f"{kind}norm_{way}<float" for kind in ("layer", "residual_") for way in ("forward", "backward")}
    ends = {
        "tokens_forward<float>",
        "pool_forward<float>",
        "pool_backward<float>",
        "column_partials<float>",
        "spread<float>",
    }
    assert seen == wanted | norms | ends | {"ce_forward<float", "ce_backward<float", "mean_of_rows", "column_finish"}


def test_the_encoder_is_launches_and_products_alone():
    """No array code: where neither is done, nothing is written, and every array comes from memory.empty."""
    from minast.gpu import dry_run, memory
    from minast.gpu.executor import NullRecorder

    ours, (x, _) = model("emulator", dtype="bfloat16"), batch()
    ours.forward(x)  # the copy of the weights

    class Filled:
        """Arrays of one number each; they can be told from all others."""

        def __init__(self):
            self.made = []

        def empty(self, shape, dtype):
            self.made.append(np.full(shape, 3, dtype))
            return self.made[-1]

    tape, source = [], Filled()
    with dry_run.recording(NullRecorder()), memory.using(source), pytest.MonkeyPatch.context() as patch:
        for name in ("empty", "zeros", "ones", "empty_like", "zeros_like", "ascontiguousarray", "concatenate"):
            patch.setattr(np, name, None)  # a call fails
        y = ours._encoder_forward(x, tape)
        dx = ours._encoder_backward(y, tape, to_input=True)
    assert dx.dtype == np.float32 and all((made == 3).all() for made in source.made) and (dx == 3).all()


# -- training ----------------------------------------------------------------------------------------------------------


def losses(backend, dtype, steps, config, lr=1e-3, scale=None, clips=6):
    x, y = batch(config, clips=clips)
    ours, out = model(backend, config, dtype=dtype), []
    adam, scale = cuda.Adam(ours.w.flat, weight_decay=0.05, decoupled=True), scale or loss_scale(dtype)
    for _ in range(steps):
        ours.zero_grad()
        out.append(ours.loss_and_grad(x, y, "ce", scale=scale.value)[0])
        scale.update(adam.clipped_step(ours.dw.flat, lr, 1.0, ours.copy_to_update(), 1 / scale.value))
    return np.array(out)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_training_reaches_the_loss_of_float32(backend, dtype):
    want, got = (losses(backend, name, 12, SHALLOW, lr=3e-3) for name in ("float32", dtype))
    assert want[-1] < 0.1 * want[0]  # it does learn
    np.testing.assert_allclose(got, want, rtol=0.05, atol=0.02)
    assert np.any(got != want)


@pytest.mark.parametrize("backend", BACKENDS)
def test_float16_finds_its_scale(backend):
    """A scale far too large: steps are skipped until it fits, and training goes the same way from there."""
    scale = LossScale(2.0**30)
    with np.errstate(all="ignore"):
        got = losses(backend, "float16", 16, SHALLOW, lr=3e-3, scale=scale)
    skipped = int(np.log2(2.0**30 / scale.value))
    assert 3 < skipped < 30 and (got[:skipped] == got[0]).all() and got[skipped + 1] != got[0]
    want = losses(backend, "float16", 16 - skipped, SHALLOW, lr=3e-3)
    np.testing.assert_allclose(got[skipped:], want, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_gradients_need_the_scale(backend):
    """Without it, float16 loses what is below 6e-8; with it, nothing."""
    x, y = batch()
    plain = model("numpy")
    plain.loss_and_grad(x, y, "ce")
    found = {}
    for scale in (2.0**-12, 2.0**4):  # so small a scale stands for a loss whose gradients are small
        ours = model(backend, dtype="float16")
        ours.loss_and_grad(x, y, "ce", scale=scale)
        ours.dw.flat[...] /= np.float32(scale)
        found[scale] = max(errors(ours, plain).values())
    assert found[2.0**-12] > 0.05 and found[2.0**4] < WORST["float16"]


def test_loss_scale():
    scale = LossScale(8.0, every=3, most=32.0)
    assert [scale.update(n) and scale.value for n in (1, 1, 1, 1, 1, 1, 1, 1, 1)] == [8, 8, 16, 16, 16, 32, 32, 32, 32]
    assert not scale.update(np.inf) and scale.value == 16 and scale.update(1.0) and scale.update(1.0)
    other = LossScale(every=3)
    other.load_state(scale.state())
    for s in (scale, other):
        assert s.update(1.0) and s.value == 32
    for _ in range(5):
        assert not scale.update(np.nan) and not scale.exhausted
    assert not scale.update(np.nan) and scale.exhausted
    none = loss_scale("bfloat16")
    assert all(none.update(1.0) and none.value == 1 for _ in range(3000))
    assert not none.update(np.nan) and none.exhausted and loss_scale("float16").value == 2**16


@pytest.mark.parametrize("backend", BACKENDS)
def test_models_with_one_set_of_weights_share_the_copy(backend):
    """`with_layers`: whichever runs first after a change brings the copy up to date for both."""
    x, _ = batch()
    ours = model(backend, dtype="bfloat16")
    other = ours.with_layers(ours.layers)
    for first, second in ((ours, other), (other, ours)):
        before = get(first.forward(x))
        ours.w.flat[...] *= 1.5
        ours.weights_changed()
        after = get(first.forward(x))
        assert (get(second.forward(x)) == after).all() and np.any(after != before)
        ours.w.flat[...] *= 1.5
        other.weights_changed()
        assert (get(second.forward(x)) == get(first.forward(x))).all()


def test_no_clips_are_refused():
    for dtype in ("float32", "bfloat16"):
        ours, (x, y) = model("emulator", dtype=dtype), batch()
        for call in (ours.forward, ours.embed, ours.encode):
            with pytest.raises(Error, match="no clips"):
                call(x[:0])
        with pytest.raises(Error, match="no clips"):
            ours.loss_and_grad(x[:0], y[:0], "ce")
