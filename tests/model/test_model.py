"""Every weight of 12-layer models against central differences; dtypes; the promises of the API."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

import minast
from minast import gradcheck, layers

TIGHT = 1e-7
SHAPES = {
    "one token": {"dim": 10, "heads": 5, "mel_bins": 21, "frames": 33, "fstride": 5, "tstride": 7, "gelu": "tanh"},
    "two tokens": {
        "dim": 6,
        "heads": 2,
        "mel_bins": 33,
        "frames": 27,
        "fstride": 10,
        "tstride": 10,
        "prefix_tokens": 2,
    },
}


@cache
def setting(name, dtype="float64"):
    """(12-layer model whose biases are not 0, norms not 1 and attention not flat; 3 clips; their targets by loss)"""
    config = minast.ModelConfig(**SHAPES[name], classes=4)
    net = minast.AST(config, backend="numpy", seed=None, dtype=dtype)
    rng = np.random.default_rng(11)
    for key, view in net.w.items():
        matrix = view.ndim == 2 and key != "pos_embed"
        view[...] = rng.standard_normal(view.shape) * (1.3 * view.shape[-1] ** -0.5 if matrix else 0.4)
        view[...] += 1 if key.endswith("weight") and view.ndim == 1 else 0  # norms
    soft = rng.random((3, 4))
    targets = {"bce": rng.random((3, 4)), "hard": np.array([3, 0, 3]), "soft": soft / soft.sum(axis=1, keepdims=True)}
    return net, rng.standard_normal((3, config.frames, config.mel_bins)), targets


def close(got, want, tolerance):
    """Relative to the largest value: each is a sum whose terms are about as large, and may itself be near 0."""
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * abs(want).max())


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kind", ["bce", "hard", "soft"])
def test_every_weight(name, kind):
    net, x, targets = setting(name)
    y, loss = targets[kind], "bce" if kind == "bce" else "ce"
    net.dw.flat[...] = 0.5
    net.loss_and_grad(x, y, loss)
    gradients = {key: view - 0.5 for key, view in net.dw.items()}

    def f():
        return net.loss(net.forward(x), y, loss)

    rng = np.random.default_rng(len(name + kind))  # other entries for each loss
    check = gradcheck.directional(f, list(net.w.values()), list(gradients.values()), rng)
    assert check.error < TIGHT, check
    for key, view in net.w.items():
        check = gradcheck.per_entry(f, view, gradients[key], name=key, entries=1, rng=rng)
        assert check.error < TIGHT, check


KEEP = {"one token": np.array([[0, 1], [2, 3], [0, 3]]), "two tokens": np.array([[0], [1], [1]])}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("frozen", [0, 1, 12])
@pytest.mark.parametrize("patchout", [False, True])
def test_every_weight_with_patchout_and_frozen_blocks(name, frozen, patchout):
    """The pass that is trained: gradients of what was seen and is not frozen, and of nothing else."""
    net, x, targets = setting(name)
    keep = KEEP[name] if patchout else None
    net.frozen = frozen
    net.dw.flat[...] = 0.5
    try:
        net.loss_and_grad(x, targets["soft"], "ce", keep=keep)
    finally:
        net.frozen = 0
    gradients = {key: view - 0.5 for key, view in net.dw.items()}
    lowest = list(net.w).index(f"blocks.{frozen}.norm1.weight" if frozen < 12 else "norm.weight") if frozen else 0
    frozen_names, trained = list(net.w)[:lowest], list(net.w)[lowest:]
    assert not any(gradients[key].any() for key in frozen_names)

    def f():  # no part of the pass under test but the layers
        return net.loss(net._head_forward(net._encoder_forward(x, keep=keep))[0], targets["soft"], "ce")

    rng = np.random.default_rng(15)
    check = gradcheck.directional(f, [net.w[k] for k in trained], [gradients[k] for k in trained], rng)
    assert check.error < TIGHT, check
    for key in trained:
        check = gradcheck.per_entry(f, net.w[key], gradients[key], name=key, entries=1, rng=rng)
        assert check.error < TIGHT, check


@pytest.mark.parametrize("name", SHAPES)
def test_patchout_shows_the_encoder_the_patches_that_stay(name):
    """As if the sequence had been built of them: with all patches nothing changes; positions are the patches' own."""
    net, x, targets = setting(name)
    P, N = net.config.prefix_tokens, net.config.tokens - net.config.prefix_tokens
    tokens = net.encoder.embed_forward(x)[0]
    seen = net.encoder.embed_forward(x, KEEP[name])[0]
    for clip, row, all_tokens in zip(seen, KEEP[name], tokens, strict=True):
        np.testing.assert_array_equal(clip, all_tokens[[*range(P), *(P + row)]])
    results = []
    for keep in (None, np.tile(np.arange(N), (3, 1))):
        net.zero_grad()
        results.append((net.loss_and_grad(x, targets["hard"], "ce", keep=keep)[0], net.dw.flat.copy()))
    assert results[0][0] == results[1][0] and np.array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("name", SHAPES)
def test_patchout_in_parts_and_with_checkpointing(name):
    net, x, targets = setting(name)
    wanted = None
    for parts, checkpointing in ((1, False), (3, False), (1, True), (2, True)):
        net.activation_checkpointing = checkpointing
        net.zero_grad()
        loss, _ = net.loss_and_grad(x, targets["bce"], parts=parts, keep=KEEP[name])
        wanted = wanted or (loss, net.dw.flat.copy())
        assert loss == pytest.approx(wanted[0], rel=1e-14)
        close(net.dw.flat, wanted[1], 1e-12)
    net.activation_checkpointing = False


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (np.zeros((3, 0), int), r"int64 \(3, 0\)"),
        (np.zeros((2, 1), int), "3 clips"),
        (np.zeros((3, 1)), "float64"),
        (np.array([[0, 1], [0, 1], [1, 1]]), "rise within 0 to 5"),
        (np.array([[0, 1], [0, 1], [5, 6]]), "rise within 0 to 5"),
        (np.array([[0, 1], [-1, 1], [0, 1]]), "rise within 0 to 5"),
    ],
)
def test_wrong_patches(keep, message):
    net, x, targets = setting("one token")
    with pytest.raises(minast.Error, match=message):
        net.loss_and_grad(x, targets["bce"], keep=keep)


@pytest.mark.parametrize("name", SHAPES)
def test_input_gradient(name):
    net, x, _ = setting(name)
    x, dlogits = x.copy(), np.random.default_rng(13).standard_normal((3, 4))
    dx = net.input_grad(x, dlogits)

    def f():
        return (net.forward(x) * dlogits).sum()

    rng = np.random.default_rng(14)
    check = gradcheck.directional(f, [x], [dx], rng)
    assert check.error < TIGHT, check
    check = gradcheck.per_entry(f, x, dx, entries=40, rng=rng)
    assert check.error < TIGHT, check
    unseen = dx[:, :, 16 + 5 * ((21 - 16) // 5) :] if name == "one token" else dx[:, 26:]
    assert not unseen.any() and dx.any()


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_add_up_and_forward_agrees(name):
    net, x, targets = setting(name)
    net.zero_grad()
    loss, logits = net.loss_and_grad(x, targets["hard"], "ce")
    once = net.dw.flat.copy()
    net.loss_and_grad(x, targets["hard"], "ce")
    np.testing.assert_allclose(net.dw.flat, 2 * once, rtol=1e-15, atol=1e-18)
    net.zero_grad()
    assert not net.dw.flat.any()
    np.testing.assert_allclose(net.forward(x), logits, rtol=1e-12)
    assert isinstance(loss, float) and np.isclose(net.loss(logits, targets["hard"], "ce"), loss, rtol=1e-14)
    tokens = net.encode(x)
    assert tokens.shape == (3, net.config.tokens, net.config.dim)
    close(tokens[:, : net.config.prefix_tokens].mean(axis=1), net.embed(x), 1e-13)  # all tokens or few: other products


@pytest.mark.parametrize("name", SHAPES)
def test_the_last_block_may_be_pruned(name):
    """The head reads the prefix tokens alone: computing the others in the last block changes no logit."""
    net, x, _ = setting(name)
    np.testing.assert_allclose(net._head_forward(net.encode(x))[0], net.forward(x), rtol=0, atol=1e-12)


def test_clips_do_not_see_each_other():
    net, x, _ = setting("two tokens")
    alone = np.concatenate([net.forward(x[i : i + 1]) for i in range(3)])
    close(net.forward(x), alone, 1e-11)


@pytest.mark.parametrize("name", SHAPES)
def test_float32_stays_float32(name):
    """Every array that passes between layers, forwards and backwards; and close to float64 in value."""
    net, x, targets = setting(name, "float32")
    seen = []

    def watched(function):
        def call(*arguments):
            result = function(*arguments)
            flat = [*arguments, *(result if isinstance(result, tuple) else (result,))]
            seen.extend((function.__name__, a.dtype) for a in flat if isinstance(a, np.ndarray) and a.dtype.kind == "f")
            return result

        return call

    net = net.with_layers(SimpleNamespace(**{n: watched(f) for n, f in vars(layers).items() if n.endswith("ward")}))
    for kind, y in targets.items():
        net.zero_grad()
        loss, logits = net.loss_and_grad(x, y, "bce" if kind == "bce" else "ce")  # x and y are float64 here
        reference = setting(name)[0]
        reference.zero_grad()
        wanted, _ = reference.loss_and_grad(x, y, "bce" if kind == "bce" else "ce")
        assert np.isclose(loss, wanted, rtol=1e-4)
        for key, got in net.dw.items():
            assert abs(got - reference.dw[key]).max() < 2e-3 * abs(reference.dw[key]).max(), key
    net.input_grad(x, np.ones((3, 4)))
    assert {f for f, _ in seen} >= {"unfold_forward", "unfold_backward", "attention_backward", "ce_backward"}
    assert not [entry for entry in seen if entry[1] != np.float32]
    assert logits.dtype == net.forward(x).dtype == net.dw.flat.dtype == np.float32


def test_seed_makes_the_weights():
    config = minast.ModelConfig.preset("nano", classes=3, frames=32)
    a, b, c = (minast.AST(config, backend="numpy", seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(a.w.flat, b.w.flat)
    assert (a.w["blocks.11.mlp.fc2.weight"] != c.w["blocks.11.mlp.fc2.weight"]).any()
    assert a.config.depth == 12 and a.w.flat.ctypes.data % 256 == 0


@pytest.mark.parametrize(
    ("y", "loss", "message"),
    [
        (np.zeros((3, 5)), "bce", "needs"),
        (np.zeros(3, int), "bce", "needs"),
        (np.zeros(3), "ce", "class indices"),
        (np.array([0, 4, 1]), "ce", "classes 0 to 3"),
        (np.array([0, -1, 1]), "ce", "classes 0 to 3"),
        (np.zeros((3, 4)), "mse", "bce"),
    ],
)
def test_wrong_targets(y, loss, message):
    net, x, _ = setting("two tokens")
    with pytest.raises(minast.Error, match=message):
        net.loss_and_grad(x, y, loss)


def test_wrong_input_shape_and_dtype():
    net, x, _ = setting("two tokens")
    with pytest.raises(minast.Error, match="27 frames, 33 mel bins"):
        net.forward(x[:, :26])
    with pytest.raises(minast.Error, match="float32"):
        minast.AST(net.config, backend="numpy", dtype="float16")


@pytest.mark.parametrize(("stride", "patches"), [(10, 1212), (12, 850), (14, 657), (16, 512)])
def test_number_of_patches_is_that_of_the_paper(stride, patches):
    """AST's table of overlaps, for 10 s (1024 frames), and the tokens with one or two in front."""
    for prefix in (1, 2):
        config = minast.ModelConfig(fstride=stride, tstride=stride, prefix_tokens=prefix)
        assert config.grid[0] * config.grid[1] == patches and config.tokens == patches + prefix
    x = np.zeros((1, 1024, 128), np.float32)
    assert layers.unfold_forward(x, stride, stride)[0].shape == (1, patches, 256)


def test_the_default_backend(monkeypatch):
    """MINAST_BACKEND counts where no backend is asked for."""
    from minast.backend import choose

    monkeypatch.setenv("MINAST_BACKEND", "numpy")
    assert choose().name == minast.AST(minast.ModelConfig.preset("nano", depth=1)).backend.name == "numpy"
    assert choose("fast").name == "fast"
    monkeypatch.setenv("MINAST_BACKEND", "tpu")
    with pytest.raises(minast.Error, match=r"MINAST_BACKEND is 'tpu', which is no backend: choose one of numpy, fast"):
        choose()
    with pytest.raises(minast.Error, match="there is no backend 'gpu': choose"):
        choose("gpu")
