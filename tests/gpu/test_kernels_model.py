"""The whole model on kernels: the numpy backend's gradients, and its losses over ten steps of training."""

import numpy as np
import pytest

from minast import AST, ModelConfig, cuda, optim
from minast.backend import why_no_gpu
from minast.errors import Error
from tests.kernel_cases import get, need_compiler, noting

BACKENDS = ["emulator"] + (["cuda"] if why_no_gpu() is None else [])
CONFIG = ModelConfig.preset("nano", dim=64, heads=2, mel_bins=32, frames=46, classes=5, prefix_tokens=2)  # 12 layers


def model(backend, config=CONFIG):
    if backend == "emulator":
        need_compiler()
    built, rng = AST(config, backend=backend, seed=1), np.random.default_rng(2)
    for name, view in built.w.items():  # biases that are zero hide mistakes
        noise = rng.standard_normal(view.shape).astype(np.float32) * (0.02 if "weight" in name else 0.1)
        view += built.xp.asarray(noise)
    return built


def batch(loss):
    rng = np.random.default_rng(3)
    y = rng.integers(0, 5, 3) if loss == "ce" else rng.random((3, 5)).astype(np.float32)
    return rng.standard_normal((3, 46, 32)).astype(np.float32), y


@pytest.mark.parametrize("loss", ["bce", "ce"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_the_whole_model(backend, loss):
    x, y = batch(loss)
    plain, ours = model("numpy"), model(backend)
    for m in (plain, ours):
        m.dw.flat[...] = 1  # gradients are added to what is there
    (want, logits), (got, own) = plain.loss_and_grad(x, y, loss), ours.loss_and_grad(x, y, loss)
    assert got == pytest.approx(want, rel=1e-5)
    np.testing.assert_allclose(get(own), logits, rtol=1e-4, atol=1e-5)
    for name, dw in plain.dw.items():
        scale = np.abs(dw - 1).max() + 1e-6
        assert np.abs(get(ours.dw[name]) - dw).max() <= 1e-3 * scale, name
    np.testing.assert_allclose(
        get(ours.input_grad(x, own)), plain.input_grad(x, logits), rtol=1e-3, atol=1e-4 * float(np.abs(logits).max())
    )


@pytest.mark.parametrize("frozen", [0, 1, 12])
@pytest.mark.parametrize("backend", ["fast", *BACKENDS])
def test_patchout_and_frozen_blocks(backend, frozen):
    """Other clips than before on the same model: its memory is planned anew for each number of patches and blocks."""
    plain, ours, rng = model("numpy"), model(backend), np.random.default_rng(4)
    x, y = batch("ce")
    patches = CONFIG.tokens - CONFIG.prefix_tokens
    for stay in (patches, 3, 5, 3):
        keep = np.stack([np.sort(rng.choice(patches, stay, replace=False)) for _ in x])
        plain.frozen = ours.frozen = frozen
        for m in (plain, ours):
            m.dw.flat[...] = 1
        (want, _), (got, _) = plain.loss_and_grad(x, y, "ce", keep=keep), ours.loss_and_grad(x, y, "ce", keep=keep)
        assert got == pytest.approx(want, rel=1e-5)
        for name, dw in plain.dw.items():
            scale = np.abs(dw - 1).max() + 1e-6
            assert np.abs(get(ours.dw[name]) - dw).max() <= 1e-3 * scale, name


@pytest.mark.parametrize("loss", ["bce", "ce"])
@pytest.mark.parametrize("backend", ["fast", *BACKENDS])
def test_class_weights(backend, loss):
    """In parts, with other weights the next time, and then with none."""
    plain, ours, (x, y) = model("numpy"), model(backend), batch(loss)
    for weights in (np.array([0.5, 2, 1, 0.1, 3], np.float32), np.ones(5, np.float32), None):
        for m in (plain, ours):
            m.zero_grad()
        want, _ = plain.loss_and_grad(x, y, loss, class_weights=weights)
        got, _ = ours.loss_and_grad(x, y, loss, parts=2, class_weights=weights)
        assert got == pytest.approx(want, rel=1e-5)
        for name, dw in plain.dw.items():
            assert np.abs(get(ours.dw[name]) - dw).max() <= 1e-3 * (np.abs(dw).max() + 1e-6), name
    with pytest.raises(Error, match=r"class_weights has shape \(4,\)"):
        ours.loss_and_grad(x, y, loss, class_weights=np.ones(4))


@pytest.mark.parametrize("backend", BACKENDS)
def test_ten_steps_of_training(backend):
    """12 layers, AdamW with clipping: the losses of the numpy backend to 1e-4."""
    x, y = batch("ce")

    def losses(name, module):
        m, out = model(name), []
        optimizer = module.Adam(m.w.flat, weight_decay=0.05, decoupled=True)
        for _ in range(10):
            m.zero_grad()
            out.append(m.loss_and_grad(x, y, "ce")[0])
            if module is optim:
                optim.clip_gradient(m.dw.flat, 1.0)
                optimizer.step(m.dw.flat, 1e-3)
            else:
                optimizer.step(m.dw.flat, 1e-3, norm=cuda.gradient_norm(m.dw.flat), max_norm=1.0)
        return np.array(out)

    want, got = losses("numpy", optim), losses(backend, cuda)
    assert want[-1] < 0.8 * want[0]  # it does learn
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_the_emulator_takes_the_kernels():
    """Nothing of the hot path may fall back unnoticed."""
    m = model("emulator")
    with noting() as seen:
        for loss in ("bce", "ce"):
            x, y = batch(loss)
            m.loss_and_grad(x, y, loss)
    names = {name.split("<")[0].split("_")[0] for name in seen if " x " not in name}
    assert names == {
        "unfold", "layernorm", "column", "attention", "class", "gelu", "bce", "ce", "mean", "tokens", "pool", "spread"
    }  # fmt: skip
    assert m.layers is cuda
