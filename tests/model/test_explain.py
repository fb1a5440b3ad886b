"""Attention maps, rollout and relevance: against finite differences, dense products, and models made to ignore."""

from functools import cache

import numpy as np
import pytest

import minast
from minast import explain, gradcheck, layers
from minast.params import prefix_names

SHAPES = {
    "one token": {"dim": 10, "heads": 5, "mel_bins": 21, "frames": 33, "fstride": 5, "tstride": 7, "depth": 4},
    "two tokens": {"dim": 6, "heads": 2, "mel_bins": 33, "frames": 27, "prefix_tokens": 2, "depth": 3},
    "one layer": {"dim": 8, "heads": 2, "mel_bins": 16, "frames": 40, "prefix_tokens": 2, "depth": 1},
}


@cache
def setting(name, backend="numpy", dtype="float64", **changes):
    """(model with attention that is not flat, 3 clips)"""
    config = minast.ModelConfig(**{**SHAPES[name], "classes": 4, **changes})
    model = minast.AST(config, backend=backend, seed=None, dtype=dtype)
    rng = np.random.default_rng(21)
    for key, view in model.w.items():
        matrix = view.ndim == 2 and key != "pos_embed"
        view[...] = rng.standard_normal(view.shape) * (1.5 * view.shape[-1] ** -0.5 if matrix else 0.4)
        view[...] += 1 if key.endswith("weight") and view.ndim == 1 else 0  # norms
    return model, rng.standard_normal((3, config.frames, config.mel_bins)).astype(dtype)


class Nudged:
    """layers.py with `nudge` (B, H, rows, T) added to the probabilities of one layer: attention, written once more."""

    def __init__(self, layer, nudge):
        self.at, self.layer, self.nudge = 0, layer, nudge

    def __getattr__(self, name):
        return getattr(layers, name)

    def _attention(self, q, k, v):
        scores = np.einsum("bihd,bjhd->bhij", q, k) / np.sqrt(q.shape[-1])
        p = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        if self.at == self.layer:
            p = p + self.nudge
        self.at += 1
        return np.einsum("bhij,bjhd->bihd", p, v).reshape(*q.shape[:2], -1), None

    def attention_forward(self, qkv, heads):
        qkv = qkv.reshape(*qkv.shape[:2], 3, heads, -1)
        return self._attention(*(qkv[:, :, i] for i in range(3)))

    def class_attention_forward(self, q, kv, heads):
        kv = kv.reshape(*kv.shape[:2], 2, heads, -1)
        return self._attention(q.reshape(*q.shape[:2], heads, -1), kv[:, :, 0], kv[:, :, 1])


def full(maps, tokens):
    """The last layer's map with zeros for the rows that reach nothing, mean over heads: (B, tokens, tokens) each."""
    out = []
    for p in maps:
        p = p.mean(axis=1)
        out.append(np.concatenate([p, np.zeros((len(p), tokens - p.shape[1], tokens))], axis=1))
    return out


@pytest.mark.parametrize("name", SHAPES)
def test_attention_maps_are_probabilities(name):
    model, x = setting(name)
    c = model.config
    maps = explain.attention_maps(model, x)
    assert [p.shape for p in maps[:-1]] == [(3, c.heads, c.tokens, c.tokens)] * (c.depth - 1)
    assert maps[-1].shape == (3, c.heads, c.prefix_tokens, c.tokens)
    for p in maps:
        assert p.min() >= 0 and np.abs(p.sum(axis=-1) - 1).max() < 1e-12
    h, _ = layers.unfold_forward(x, c.fstride, c.tstride)  # the first layer's, step by step
    h = h @ model.w["patch_embed.proj.weight"].T + model.w["patch_embed.proj.bias"]
    prefix = np.stack([model.w[name] for name in prefix_names(c)])
    h = np.concatenate([np.broadcast_to(prefix, (3, *prefix.shape)), h], axis=1) + model.w["pos_embed"]
    h, _ = layers.layernorm_forward(h, model.w["blocks.0.norm1.weight"], model.w["blocks.0.norm1.bias"])
    qkv = (h @ model.w["blocks.0.attn.qkv.weight"].T + model.w["blocks.0.attn.qkv.bias"]).reshape(
        3, c.tokens, 3, c.heads, -1
    )
    scores = np.einsum("bihd,bjhd->bhij", qkv[:, :, 0], qkv[:, :, 1]) / np.sqrt(c.dim // c.heads)
    want = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    assert np.abs(maps[0] - want[:, :, : maps[0].shape[2]]).max() < 1e-12


@pytest.mark.parametrize("name", SHAPES)
def test_attention_gradients(name):
    """dA against finite differences of the class's logit: one probability moves, all others stay."""
    model, x = setting(name)
    classes = np.array([2, 0, 3])
    maps, gradients = explain.attention_maps(model, x), explain.attention_gradients(model, x, classes)
    untouched = model.forward(x)
    rng = np.random.default_rng(3)
    for layer, (p, dp) in enumerate(zip(maps, gradients, strict=True)):
        assert p.shape == dp.shape
        nudge = np.zeros(p.shape)
        other = minast.AST(model.config, backend="numpy", seed=None, dtype="float64")
        other.w.flat[...] = model.w.flat

        def f(layer=layer, nudge=nudge, other=other):
            return other.with_layers(Nudged(layer, nudge)).forward(x)[np.arange(3), classes].sum()

        assert abs(f() - untouched[np.arange(3), classes].sum()) < 1e-12
        check = gradcheck.directional(f, [nudge], [dp], rng, step=1e-3)
        assert check.error < 1e-7, (layer, check)
        check = gradcheck.per_entry(f, nudge, dp, entries=15, rng=rng, step=1e-3)
        assert check.error < 1e-7, (layer, check)


@pytest.mark.parametrize("name", SHAPES)
def test_rollout_is_the_dense_product(name):
    model, x = setting(name)
    c = model.config
    product = np.eye(c.tokens)
    for p in full(explain.attention_maps(model, x), c.tokens):
        product = (0.5 * p + 0.5 * np.eye(c.tokens)) @ product
    rows = product[:, : c.prefix_tokens].mean(axis=1)
    assert np.abs(rows.sum(axis=1) - 1).max() < 1e-12
    want = rows[:, c.prefix_tokens :].reshape(3, *c.grid)
    got = minast.rollout(model, x)
    assert got.shape == (3, *c.grid) and np.abs(got - want).max() < 1e-14
    assert np.abs(explain.roll(explain.attention_maps(model, x)).sum(axis=1) - 1).max() < 1e-12


@pytest.mark.parametrize("name", SHAPES)
def test_relevance_is_the_dense_recursion(name):
    model, x = setting(name)
    c, classes = model.config, np.array([1, 3, 0])
    maps, gradients = explain.attention_maps(model, x), explain.attention_gradients(model, x, classes)
    R = np.broadcast_to(np.eye(c.tokens), (3, c.tokens, c.tokens))
    for g in full([np.maximum(p * dp, 0) for p, dp in zip(maps, gradients, strict=True)], c.tokens):
        R = R + g @ R  # first layer first, as the paper writes it
    want = R[:, : c.prefix_tokens].mean(axis=1)[:, c.prefix_tokens :].reshape(3, *c.grid)
    got = minast.relevance(model, x, classes)
    assert got.shape == (3, *c.grid) and got.min() >= 0 and got.max() > 0
    assert np.abs(got - want).max() < 1e-12 * want.max()


def test_input_relevance():
    model, x = setting("one token")
    got, classes = minast.input_relevance(model, x, 2), [2, 2, 2]
    assert got.shape == x.shape and not got[:, :, 21:].any() and not got[:, 30:].any()  # (33 - 16) // 7 * 7 + 16 = 30

    def logit(scale):
        return model.forward(x * scale)[:, 2]

    h = 1e-4  # along x itself, the derivative is the sum of the map
    numeric = (8 * (logit(1 + h) - logit(1 - h)) - (logit(1 + 2 * h) - logit(1 - 2 * h))) / (12 * h)
    assert np.abs(got.sum(axis=(1, 2)) - numeric).max() < 1e-8 * np.abs(numeric).max()
    assert np.array_equal(got, minast.input_relevance(model, x, classes))


def test_the_likeliest_class_is_the_default():
    model, x = setting("two tokens")
    best = model.forward(x).argmax(axis=1)
    for function in (minast.relevance, minast.input_relevance):
        assert np.array_equal(function(model, x), function(model, x, best))
        assert not np.allclose(function(model, x), function(model, x, (best + 1) % 4))


def ignoring(patch):
    """A model whose queries are all alike, and to which one patch's key looks as far off as numbers go."""
    config = minast.ModelConfig(dim=8, heads=1, depth=3, mel_bins=32, frames=32, fstride=16, tstride=16, classes=3)
    model = minast.AST(config, backend="numpy", seed=4, dtype="float64")
    model.w["pos_embed"][:, 0] = -20.0
    model.w["pos_embed"][1 + patch, 0] = 20.0  # large against all else, so that every norm keeps its sign
    for weights, _ in model.encoder.blocks:
        qkv, bias = weights["attn.qkv.weight"], weights["attn.qkv.bias"]
        qkv[:16], bias[:16] = 0, 0
        bias[0] = 1e4  # q = (10000, 0, ...)
        qkv[8, 0] = -1  # k = (- first channel, 0, ...)
    return model


@pytest.mark.parametrize("patch", range(4))
def test_a_patch_that_nothing_looks_at(patch):
    model = ignoring(patch)
    f, t = divmod(patch, 2)
    x = np.random.default_rng(5).standard_normal((2, 32, 32))
    changed = x.copy()
    changed[:, 16 * t : 16 * t + 16, 16 * f : 16 * f + 16] += 1.0
    assert np.array_equal(model.forward(x), model.forward(changed))
    others = np.ones((2, 2), bool)
    others[f, t] = False
    for values in (minast.rollout(model, x), minast.relevance(model, x, 1)):
        assert (values[:, f, t] == 0).all() and (values[:, others] > 0).any(axis=1).all()
    dx = minast.input_relevance(model, x, 1)
    seen = explain.on_spectrogram(model.config, np.broadcast_to(others, (2, 2, 2))) > 0
    assert (dx[~seen] == 0).all() and (dx[seen] != 0).all()


@pytest.mark.parametrize("name", SHAPES)
def test_the_fast_backend_agrees(name):
    truth, x = setting(name)
    model = minast.AST(truth.config, backend="fast", seed=None)
    for key, view in model.w.items():
        view[...] = truth.w[key]
    for function in (minast.rollout, minast.relevance, minast.input_relevance):
        got, want = function(model, x.astype(np.float32)), function(truth, x)
        assert got.shape == want.shape and np.abs(got - want).max() < 2e-5 * np.abs(want).max()
    maps = zip(explain.attention_maps(model, x), explain.attention_maps(truth, x), strict=True)
    assert max(np.abs(a - b).max() for a, b in maps) < 1e-5


def test_clips_in_parts(monkeypatch):
    """However many clips go through the model at once, each gets the map it gets alone."""
    model, x = setting("one token")
    functions = (
        minast.rollout,
        minast.relevance,
        minast.input_relevance,
        lambda *a: explain.attention_maps(*a)[0],
        lambda *a: explain.attention_gradients(*a)[-1],
    )
    for function in functions:
        monkeypatch.setattr(explain, "TOKENS", 2 * model.config.tokens)
        parts = function(model, x)
        alone = np.concatenate([function(model, x[i : i + 1]) for i in range(3)])
        monkeypatch.undo()
        assert np.allclose(parts, alone, rtol=1e-10, atol=1e-14)
        assert np.allclose(function(model, x), alone, rtol=1e-10, atol=1e-14)


def test_the_model_stays_as_it_was():
    model, x = setting("two tokens")
    model.dw.flat[...] = 0.25
    weights = model.w.flat.copy()
    for function in (minast.rollout, minast.relevance, minast.input_relevance, explain.attention_gradients):
        function(model, x)
    assert (model.dw.flat == 0.25).all() and np.array_equal(model.w.flat, weights) and model.layers is layers


def test_from_patches_to_the_spectrogram():
    config = minast.ModelConfig(dim=4, heads=1, mel_bins=37, frames=30, fstride=10, tstride=6, classes=2)
    patches = np.random.default_rng(6).random((2, *config.grid))
    got = explain.on_spectrogram(config, patches)
    assert got.shape == (2, 30, 37)
    for t, f in ((0, 0), (11, 12), (27, 35), (28, 3), (5, 36)):
        seen = [
            patches[1, i, j]
            for i in range(config.grid[0])
            for j in range(config.grid[1])
            if 10 * i <= f < 10 * i + 16 and 6 * j <= t < 6 * j + 16
        ]
        assert abs(got[1, t, f] - (np.mean(seen) if seen else 0)) < 1e-14
    assert (got[:, 28:] == 0).all() and (got[:, :, 36] == 0).all()  # (30 - 16) // 6 * 6 + 16 = 28; 36 likewise


def test_deletion():
    model, x = setting("one token", frames=40, tstride=4)
    values = np.zeros(x.shape)
    values[:, 8:16, :16] = 2  # the block of frames 8 to 15 is the most relevant, then all others in order
    got = explain.deletion(model, x, values, 1, [0, 0.2, 1], fill=-3.0)
    assert got.shape == (3, 3) and np.allclose(got[0], model.forward(x)[:, 1])
    one, all_ = x.copy(), x.copy()
    one[:, 8:16, :16] = -3  # a fifth: there are 5 blocks of 8 frames x 16 bins
    all_[:, :, :16] = -3  # five bins more are no whole block
    assert np.allclose(got[1], model.forward(one)[:, 1]) and np.allclose(got[2], model.forward(all_)[:, 1])


def test_what_a_map_leaves_to_hear():
    rate, t = 8000, np.arange(8000) / 8000
    low, high = np.sin(2 * np.pi * 300 * t), np.sin(2 * np.pi * 2500 * t)
    mel = minast.log_mel(low + high, rate, 64)
    everything = explain.heard(low + high, np.ones(mel.shape), rate)
    assert everything.shape == t.shape and np.abs(everything - low - high).max() < 1e-9
    below = np.zeros(mel.shape)
    below[:, : mel.shape[1] // 2] = 3.0  # up to about 1400 Hz; the largest value stands for 1
    inside = slice(800, -800)
    assert np.abs(explain.heard(low + high, below, rate) - low)[inside].max() < 0.02
    late = np.zeros(mel.shape)
    late[50:] = 1  # from 0.5 s + half a frame on
    got = explain.heard(low + high, late, rate)
    assert np.abs(got[:3600]).max() < 1e-9 and np.abs(got - low - high)[4600:-800].max() < 1e-9
    assert not explain.heard(low, np.zeros(mel.shape), rate).any()
    for wrong in (np.ones((7, 64)), np.ones(64), -np.ones(mel.shape)):
        with pytest.raises(minast.Error, match=r"must be \(98 frames of this sound"):
            explain.heard(low, wrong, rate)


@pytest.mark.parametrize("function", [minast.relevance, minast.input_relevance, explain.attention_gradients])
def test_wrong_classes_are_refused(function):
    model, x = setting("one token")
    for classes in (4, -1, [0, 1], [0, 1, 9]):
        with pytest.raises(minast.Error, match="class"):
            function(model, x, classes)
    with pytest.raises(minast.Error, match="one class index"):
        function(model, x, 1.0)


@pytest.mark.parametrize(
    "function",
    [minast.attention_maps, minast.rollout, minast.relevance, minast.input_relevance, explain.attention_gradients],
)
def test_wrong_shapes_are_refused(function):
    model, x = setting("one token")
    for wrong in (x[0], x[:, :-1], x[:, :, :-1], x.swapaxes(1, 2), "sound"):
        with pytest.raises(minast.Error, match=r"this model takes \(clips, 33 frames, 21 mel bins\)"):
            function(model, wrong)
    with pytest.raises(minast.Error, match="no clips"):
        function(model, x[:0])


def test_wrong_maps_are_refused():
    model, x = setting("one token")
    with pytest.raises(minast.Error, match=r"\(1, 3, 2\): this model's are \(clips, 2 along frequency, 3 along time\)"):
        explain.on_spectrogram(model.config, np.zeros((1, 3, 2)))
    with pytest.raises(minast.Error, match="must be the same"):
        explain.deletion(model, x, np.zeros((3, 2, 3)), 0, [0.5])


def test_names():
    assert "rollout" in minast.__all__ and minast.rollout is explain.rollout
    with pytest.raises(AttributeError, match="no attribute 'roll_out'"):
        minast.roll_out  # noqa: B018
