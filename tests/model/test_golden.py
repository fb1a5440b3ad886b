"""The same inputs as golden/make.py, compared with what PyTorch, torchaudio and Kaldi made of them."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import minast
from minast import encoder, layers, optim
from minast.params import prefix_names
from tests.golden import cases


def load(name):
    with np.load(Path(__file__).parents[1] / "golden" / f"{name}.npz", allow_pickle=False) as stored:
        return dict(stored)


def assert_close(got, wanted, relative, what=""):
    """Every entry, relative to the largest one that is wanted."""
    wanted = np.asarray(wanted)
    assert np.shape(got) == wanted.shape, what
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error <= relative, f"{what}: off by {error:.1e} of the largest entry"


@pytest.mark.parametrize("rate", cases.RATES)
@pytest.mark.parametrize("window", cases.WINDOWS)
def test_log_mel(rate, window):
    mel = minast.log_mel(cases.wave(rate), rate=rate, mel_bins=128, window=window)
    wanted = load("features")[f"{window}_{rate}"]
    assert mel.shape == wanted.shape and mel.dtype == np.float32
    np.testing.assert_allclose(mel, wanted, rtol=0, atol=1e-4)


# -- the model -------------------------------------------------------------------------------------------------


@cache
def golden(name):
    """(12-layer model in float64 with the golden weights, what PyTorch made of them, inputs, targets)"""
    net = minast.AST(minast.ModelConfig(**cases.MODELS[name]["config"]), backend="numpy", seed=None, dtype="float64")
    for key, view in net.w.items():
        view[...] = cases.weight(name, key, view.shape)
    return net, load(name), *cases.batch(name)


@pytest.mark.parametrize("name", cases.MODELS)
def test_logits_and_embedding(name):
    net, wanted, x, _ = golden(name)
    assert_close(net.forward(x), wanted["logits"], 1e-9)
    assert_close(net.embed(x), wanted["embedding"], 1e-9)


@pytest.mark.parametrize("name", cases.MODELS)
def test_tokens_after_each_block(name):
    net, wanted, x, _ = golden(name)
    h, _ = layers.unfold_forward(x, net.config.fstride, net.config.tstride)
    h, _ = layers.linear_forward(h, net.w["patch_embed.proj.weight"], net.w["patch_embed.proj.bias"])
    h, _ = layers.tokens_forward(h, [net.w[name] for name in prefix_names(net.config)], net.w["pos_embed"])
    assert_close(h, wanted["tokens"][0], 1e-9, "before the first block")
    for i, (w, _) in enumerate(net.encoder.blocks):
        h, _ = encoder.block_forward(layers, h, w, net.config)
        assert_close(h, wanted["tokens"][i + 1], 1e-9, f"after block {i}")


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, m in cases.MODELS.items() for kind in m["losses"]])
def test_loss_and_every_weight_gradient(name, kind):
    net, wanted, x, targets = golden(name)
    net.dw.flat[...] = 0.25  # gradients are added to what is there
    loss, logits = net.loss_and_grad(x, targets[kind], loss="bce" if kind == "bce" else "ce")
    assert_close(loss, wanted[f"{kind}/loss"], 1e-9)
    assert_close(logits, wanted["logits"], 1e-9)
    names = wanted["names"].tolist()
    assert set(names) == set(net.w)
    at = 0
    for weight in names:
        got = net.dw[weight] - 0.25
        assert_close(got, wanted[f"{kind}/dw"][at : at + got.size].reshape(got.shape), 1e-9, weight)
        at += got.size
    assert at == wanted[f"{kind}/dw"].size
    assert_close(net.input_grad(x, wanted[f"{kind}/dlogits"]), wanted[f"{kind}/dx"], 1e-9)


# -- layers alone ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored():
    return load("layers")


def check(name, stored, tolerance=1e-12, **got):
    for key, value in got.items():
        assert_close(value, stored[f"{name}/{key}"], tolerance, f"{name} {key}")


def test_layernorm(stored):
    a = cases.inputs("layernorm", cases.LAYERNORM)
    y, cache = layers.layernorm_forward(a["x"], a["w"], a["b"], 1e-6)
    dw, db = np.zeros(13), np.zeros(13)
    check("layernorm", stored, y=y, dx=layers.layernorm_backward(a["dy"], cache, dw, db), dw=dw, db=db)


@pytest.mark.parametrize("kind", ["erf", "tanh"])
def test_gelu(stored, kind):
    a = cases.inputs("gelu", cases.GELU)
    y, cache = layers.gelu_forward(4 * a["x"], kind)
    check(f"gelu_{kind}", stored, y=y, dx=layers.gelu_backward(a["dy"], cache))


def test_attention(stored):
    a = cases.inputs("attention", cases.ATTENTION)
    y, cache = layers.attention_forward(a["qkv"], cases.HEADS)
    check("attention", stored, y=y, dqkv=layers.attention_backward(a["do"], cache))


def test_unfold(stored):
    a = cases.inputs("unfold", cases.UNFOLD)
    y, cache = layers.unfold_forward(a["x"], *cases.STRIDES)
    check("unfold", stored, y=y, dx=layers.unfold_backward(a["dpatches"], cache))


@pytest.mark.parametrize("kind", ["bce", "hard", "soft"])
def test_losses_at_1000(stored, kind):
    logits, targets = cases.losses()
    name = "bce" if kind == "bce" else "ce"
    loss, cache = getattr(layers, f"{name}_forward")(logits, targets[kind])
    check(kind, stored, loss=loss, dlogits=getattr(layers, f"{name}_backward")(cache))


# -- optimizers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cases.OPTIMIZERS)
def test_ten_steps_of_adam(name):
    w, gradients = cases.optimizer_inputs()
    adam = optim.Adam(w, **cases.OPTIMIZERS[name])
    for t, (g, wanted) in enumerate(zip(gradients, load("optim")[name], strict=True)):
        adam.step(g, cases.LR)
        assert_close(w, wanted, 1e-12, f"after step {t + 1}")


def test_clipping():
    _, gradients = cases.optimizer_inputs()
    wanted = load("optim")
    norms = [optim.clip_gradient(g, cases.CLIP) for g in gradients]
    assert min(norms) < cases.CLIP < max(norms)
    assert_close(norms, wanted["norms"], 1e-12)
    assert_close(gradients, wanted["clipped"], 1e-12)


def test_schedules():
    wanted = load("optim")
    got = [optim.milestones(epoch, 1.0, 10, 5, 0.5) for epoch in range(1, 26)]
    np.testing.assert_allclose(got, wanted["milestones"], rtol=1e-12)
    got = [optim.cosine(step, 20, 1.0) for step in range(21)]
    np.testing.assert_allclose(got, wanted["cosine"], rtol=0, atol=1e-12)
