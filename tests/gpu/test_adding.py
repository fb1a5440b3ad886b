"""The first pass of a step overwrites gradients: as zeros and a pass that adds, bit for bit, whatever was there."""

import inspect

import numpy as np
import pytest

from minast import AST, ModelConfig, cuda, layers
from minast import model as model_module
from minast.backend import why_no_gpu
from minast.config import TrainConfig
from minast.cuda import tf32
from minast.cuda.gemm import gemm
from minast.errors import Error
from minast.gpu import executor
from minast.gpu.adding import adding, overwriting
from minast.gpu.graph import Graph
from minast.training.learner import new_learner
from minast.training.loss_scale import LossScale
from tests import fake_cupy
from tests.gpu import test_graphs
from tests.kernel_cases import need_compiler, unwritten_is_nan

device, PLACES = test_graphs.device, test_graphs.PLACES  # a fixture: pytest finds it by this name
BACKENDS = ["emulator"] + (["cuda"] if why_no_gpu() is None else [])
DTYPES = ("float32", "tf32", "bfloat16", "float16")
CONFIG = ModelConfig.preset("nano", dim=48, heads=3, depth=2, mel_bins=30, frames=43, classes=5, prefix_tokens=2)
SHORT = ModelConfig.preset("nano", dim=32, heads=2, depth=1, mel_bins=32, frames=46, classes=3, prefix_tokens=1)


@pytest.fixture(autouse=True)
def compiler():
    need_compiler()


def batch(config=CONFIG, clips=3, seed=3):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((clips, config.frames, config.mel_bins)).astype(np.float32)
    return x, rng.integers(0, config.classes, clips)


def model(config=CONFIG, backend="emulator", **options):
    """With biases that are not 0, and NaN for every gradient; between the gradients there are zeros, as always."""
    built, rng = AST(config, backend, seed=1, **options), np.random.default_rng(2)
    for view in built.w.values():
        view += built.xp.asarray(0.05 * rng.standard_normal(view.shape).astype(view.dtype))
    for view in built.dw.values():
        view[...] = np.nan
    return built


def check(ours, x, y, **options):
    """`add=False` on what is there, against zeros and a pass that adds, by hand: near on a GPU, else bit for bit."""
    ours.loss_and_grad(x, y, "ce", add=False, **options)
    got = ours.numpy(ours.dw.flat).copy()
    ours.zero_grad()
    ours.loss_and_grad(x, y, "ce", **options)
    want, near = ours.numpy(ours.dw.flat).copy(), {"rtol": 1e-5, "atol": 1e-6 * np.abs(got).max()}
    np.testing.assert_allclose(got, want, **(near if ours.backend.name == "cuda" else {"rtol": 0}))
    assert not np.any(got[: ours.trained.start])
    assert all(np.any(view) for view in ours.layout(got).values() if np.shares_memory(view, got[ours.trained]))
    ours.loss_and_grad(x, y, "ce", **options)
    np.testing.assert_allclose(ours.numpy(ours.dw.flat), 2 * got, **near)  # still added


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("config", [CONFIG, SHORT], ids=["2 prefix tokens", "1"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_all_of_the_gradient_is_written(backend, dtype, config, parts):
    with unwritten_is_nan():
        ours = model(config, backend, dtype=dtype)
        assert ours.overwrites
        check(ours, *batch(config), parts=parts)


@pytest.mark.parametrize("frozen", [1, CONFIG.depth])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_of_frozen_blocks_it_is_zero(dtype, frozen):
    """With all blocks frozen a head is trained on fixed features."""
    ours = model(dtype=dtype)
    ours.frozen = frozen
    check(ours, *batch(), parts=2)


@pytest.mark.parametrize("dtype", ["tf32", "float16"])
def test_with_blocks_computed_again_and_patches_left_out(dtype):
    ours = model(dtype=dtype, activation_checkpointing=True)
    keep = np.sort(np.random.default_rng(0).permuted(np.tile(np.arange(6), (3, 1)), axis=1)[:, :4], axis=1)
    check(ours, *batch(), keep=keep, class_weights=np.array([0.5, 2, 1, 0.1, 3], np.float32))


@pytest.mark.parametrize(
    "backend,changes", [("numpy", {}), ("fast", {}), ("emulator", {"heads": 4}), ("emulator", {"dtype": "float64"})]
)
def test_without_kernels_it_is_set_to_zero_and_added_to(backend, changes):
    dtype = {"dtype": changes.pop("dtype", "float32")}
    ours = model(ModelConfig(**{**vars(CONFIG), **changes}), backend, **dtype)
    assert not ours.overwrites
    check(ours, *batch(), parts=2)


def test_hooks_in_place_of_kernels():
    """As explain.py adds them: what is not a kernel adds."""
    ours = model(dtype="bfloat16").with_layers(cuda)
    assert not ours.overwrites
    check(ours, *batch())


# -- training ----------------------------------------------------------------------------------------------------------


def trained(backend, dtype, overwrites, steps=5, scale=None, replay=True, **settings):
    """A learner after some steps with batches of 3 and 2 clips, in turn, and what it returned."""
    learner = new_learner(model(backend=backend, dtype=dtype), TrainConfig(loss="ce", dtype=dtype, batch=3, **settings))
    ours, seen = learner.model, []
    ours.overwrites, ours.cuda_graphs = overwrites, replay
    learner.scale = scale or learner.scale
    for step in range(steps):
        x, y = (ours.xp.asarray(a) for a in batch(clips=3 - step % 2, seed=step))
        loss, norm, _ = learner.step(x, y, 1e-2)
        seen.append((loss, norm))
    return ours, (seen, ours.numpy(ours.w.flat).copy(), ours.numpy(ours.dw.flat).copy())


def same(ours, want):
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(ours, want, strict=True))


@pytest.mark.parametrize("settings", [{}, {"grad_accum": 2}, {"freeze": 2}], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_learner_takes_the_same_steps(dtype, settings):
    _, got = trained("emulator", dtype, True, **settings)
    _, want = trained("emulator", dtype, False, **settings)
    assert same(got, want) and np.isfinite(got[0]).all()


def test_a_learner_takes_the_steps_of_zero_grad_and_a_pass_that_adds():
    settings = {"optimizer": "adam", "grad_accum": 2, "max_grad_norm": 1.0}
    _, (seen, weights, _) = trained("emulator", "float32", True, **settings)
    again, config = model(dtype="float32"), TrainConfig(**settings)
    adam = cuda.Adam(again.w.flat, config.betas, weight_decay=config.weight_decay)
    for step in range(5):
        again.zero_grad()
        again.loss_and_grad(*batch(clips=3 - step % 2, seed=step), "ce", parts=2)
        assert adam.clipped_step(again.dw.flat, 1e-2, 1.0) == seen[step][1]
    assert np.array_equal(again.w.flat, weights)


def test_a_step_that_was_skipped_leaves_nothing():
    """float16 with a scale far too large: infinite gradients, which the next step's pass must not read."""
    scales = LossScale(2.0**24), LossScale(2.0**24)
    with np.errstate(all="ignore"):
        _, got = trained("emulator", "float16", True, 12, scales[0])
        _, want = trained("emulator", "float16", False, 12, scales[1])
    norms = np.array([norm for _, norm in got[0]])
    assert same(got, want) and scales[0].value == scales[1].value < 2**24
    assert 3 < np.sum(~np.isfinite(norms)) < 10 and np.isfinite(norms[-1])


@pytest.mark.parametrize("reduction", ["fixed", "fast"])
def test_parts_that_are_added_in_fixed_order(reduction):
    _, got = trained("emulator", "bfloat16", True, 2, grad_accum=2, reduction=reduction)
    _, want = trained("emulator", "bfloat16", False, 2, grad_accum=2, reduction=reduction)
    assert same(got, want)


# -- CUDA graphs, on a GPU or on the stand-in for CuPy -----------------------------------------------------------------


@pytest.mark.parametrize("device", PLACES[1:], indirect=True)
@pytest.mark.parametrize("dtype", DTYPES)
def test_graphs_that_write_and_graphs_that_add(device, dtype):
    """Batches of 3 and 2 clips in two parts each: passes of 1 clip that write, and of 2 and 1 that add."""
    ours, got = trained("cuda", dtype, True, 6, grad_accum=2)
    graphs = [key[2][-1] for key, graph in ours.executor.graphs.items() if isinstance(graph, Graph)]
    assert sorted(graphs) == [False, False, True, True]  # those that write have the scales 1/3 and 1/2
    if device.ndarray is fake_cupy.ndarray:
        _, want = trained("emulator", dtype, False, 6, grad_accum=2)
    else:
        _, want = trained("cuda", dtype, True, 6, replay=False, grad_accum=2)
    assert same(got, want)


# -- that these tests can fail -----------------------------------------------------------------------------------------


def accumulated(dtype="bfloat16"):
    check(model(dtype=dtype), *batch(), parts=3)


def test_an_accumulating_pass_that_overwrites_is_noticed(monkeypatch):
    accumulated()
    monkeypatch.setattr(model_module, "overwriting", lambda yes: overwriting(True))
    with pytest.raises(AssertionError):
        accumulated()


@pytest.mark.parametrize("place", ["common", "half", "half_encoder", "tokens", "linear"])
def test_a_first_pass_that_adds_is_noticed(monkeypatch, place):
    """In one of the places that ask."""
    dtype = "float32" if place == "linear" else "bfloat16"
    monkeypatch.setattr(f"minast.cuda.{place}.adding", lambda: True)
    with pytest.raises(AssertionError):
        accumulated(dtype)


def test_a_second_prefix_token_that_overwrites_the_first_is_noticed(monkeypatch):
    def overwritten(a, b, out, beta=0.0):
        return gemm(a, b, out, beta if adding() or out.dtype != np.float32 else 0.0)

    monkeypatch.setattr("minast.cuda.half_encoder.gemm", overwritten)
    with pytest.raises(AssertionError):
        check(model(dtype="bfloat16"), *batch())
    check(model(SHORT, dtype="bfloat16"), *batch(SHORT))  # there is but one


def test_a_graph_of_the_wrong_kind_is_noticed(monkeypatch):
    """Of a pass that writes, replayed for one that adds: if the two had one key."""
    _, want = trained("emulator", "float32", False, 6, grad_accum=2)
    key = executor.Pass.key.fget
    monkeypatch.setattr(
        executor.Pass, "key", property(lambda work: (*key(work._replace(settings=work.settings[:-1])),))
    )
    fake_cupy.install(monkeypatch, None)
    assert not same(trained("cuda", "float32", True, 6, grad_accum=2)[1], want)


# -- what has to write -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [cuda, tf32], ids=["cuda", "tf32"])
def test_every_layer_with_weights_has_a_kernel(module):
    """The reference only adds. A new layer with weights needs its gradient in cuda/, by way of `adding`."""
    gradients = {"dw", "db", "dprefix", "dpos"}
    adding_ones = [
        name
        for name, function in inspect.getmembers(layers, inspect.isfunction)
        if name.endswith("_backward") and gradients & inspect.signature(function).parameters.keys()
    ]
    assert adding_ones == ["layernorm_backward", "linear_backward", "tokens_backward"]
    assert all(getattr(module, name) is not getattr(layers, name) for name in adding_ones)


def test_the_reference_does_not_add_to_what_nobody_has_set_to_zero():
    x, w = np.ones((2, 3)), np.ones(3)
    _, cache = cuda.layernorm_forward(x, w, w)
    with overwriting(), pytest.raises(Error, match="layernorm_backward: the reference adds"):
        cuda.layernorm_backward(x, cache, w.copy(), w.copy())
    assert adding()
    with overwriting(), overwriting(False):
        assert adding()
