"""Every layer and loss of the reference against central differences, in float64, at odd sizes."""

import numpy as np
import pytest

from minast import gradcheck, layers

TIGHT = 1e-7


def normal(*shape, seed=0, scale=1.0):
    return scale * np.random.default_rng(seed + sum(shape)).standard_normal(shape)


def without_cache(f):
    return lambda *a: f(*a)[0]


def add_second(gradients, total):
    """Two inputs: the second's gradient is tested as if it were a weight's."""
    total += gradients[1]
    return gradients[0]


# name -> (forward of the arrays alone, backward(dy, cache, *weight gradients), x, weights)
LAYERS = {
    "linear": (layers.linear_forward, layers.linear_backward, normal(1, 7, 13), [normal(5, 13), normal(5)]),
    "linear, no batch": (layers.linear_forward, layers.linear_backward, normal(3, 13), [normal(1, 13), normal(1)]),
    "layernorm": (layers.layernorm_forward, layers.layernorm_backward, normal(2, 7, 13), [normal(13), normal(13)]),
    "layernorm, C = 2": (
        lambda x, w, b: layers.layernorm_forward(x, w, b, 1e-2),
        layers.layernorm_backward,
        normal(1, 2),
        [normal(2), normal(2)],
    ),
    "gelu erf": (lambda x: layers.gelu_forward(x, "erf"), layers.gelu_backward, normal(2, 7, 13, scale=2), []),
    "gelu tanh": (lambda x: layers.gelu_forward(x, "tanh"), layers.gelu_backward, normal(2, 7, 13, scale=2), []),
    "softmax": (layers.softmax_forward, layers.softmax_backward, normal(2, 7, 13, scale=2), []),
    "attention": (lambda x: layers.attention_forward(x, 3), layers.attention_backward, normal(2, 7, 45), []),
    "attention, 1 head": (lambda x: layers.attention_forward(x, 1), layers.attention_backward, normal(1, 5, 39), []),
    "attention, T = 1": (lambda x: layers.attention_forward(x, 2), layers.attention_backward, normal(1, 1, 12), []),
    "attend": (
        lambda q, kv: layers.class_attention_forward(q, kv, 3),
        lambda do, cache, dkv: add_second(layers.class_attention_backward(do, cache), dkv),
        normal(2, 2, 15),
        [normal(2, 7, 30)],
    ),
    "attend, 1 of 1": (
        lambda q, kv: layers.class_attention_forward(q, kv, 1),
        lambda do, cache, dkv: add_second(layers.class_attention_backward(do, cache), dkv),
        normal(1, 1, 5),
        [normal(1, 1, 10)],
    ),
    "unfold": (lambda x: layers.unfold_forward(x, 5, 3), layers.unfold_backward, normal(2, 29, 23), []),
    "unfold, gaps": (lambda x: layers.unfold_forward(x, 17, 2), layers.unfold_backward, normal(1, 19, 35), []),
    "unfold, size 3": (lambda x: layers.unfold_forward(x, 1, 2, 3), layers.unfold_backward, normal(2, 7, 5), []),
    "tokens, 1": (
        lambda x, cls, pos: layers.tokens_forward(x, [cls], pos),
        lambda dy, cache, dcls, dpos: layers.tokens_backward(dy, cache, [dcls], dpos),
        normal(3, 7, 13),
        [normal(13), normal(8, 13)],
    ),
    "tokens, 2": (
        lambda x, cls, dist, pos: layers.tokens_forward(x, [cls, dist], pos),
        lambda dy, cache, dcls, ddist, dpos: layers.tokens_backward(dy, cache, [dcls, ddist], dpos),
        normal(2, 6, 5),
        [normal(5), normal(5, seed=1), normal(8, 5)],
    ),
    "patchout": (
        lambda x: layers.patchout_forward(x, np.array([[0, 2, 3], [1, 2, 4]], np.int32), 2),
        layers.patchout_backward,
        normal(2, 7, 13),
        [],
    ),
    "pool, 1": (lambda x: layers.pool_forward(x, 1), layers.pool_backward, normal(2, 7, 13), []),
    "pool, 2": (lambda x: layers.pool_forward(x, 2), layers.pool_backward, normal(1, 3, 5), []),
}


def assert_gradients(f, arrays, gradients):
    """Both checks: along random directions, and every entry of every array."""
    check = gradcheck.directional(f, arrays, gradients, np.random.default_rng(7))
    assert check.error < TIGHT, check
    for i, (array, gradient) in enumerate(zip(arrays, gradients, strict=True)):
        check = gradcheck.per_entry(f, array, gradient, name=f"array {i}", entries=200, rng=np.random.default_rng(8))
        assert check.error < TIGHT, check


@pytest.mark.parametrize("name", LAYERS)
def test_gradient(name):
    forward, backward, x, weights = LAYERS[name]
    arrays = [x.copy(), *(w.copy() for w in weights)]
    y, cache = forward(*arrays)
    dy = normal(*y.shape, seed=9)
    before = [normal(*w.shape, seed=10) for w in weights]  # what the weight gradients hold already
    dw = [b.copy() for b in before]
    dx = backward(dy, cache, *dw)
    added = [d - b for d, b in zip(dw, before, strict=True)]
    assert_gradients(lambda: (forward(*arrays)[0] * dy).sum(), arrays, [dx, *added])


@pytest.mark.parametrize("name", LAYERS)
def test_results_are_fresh_and_inputs_are_left_alone(name):
    forward, backward, x, weights = LAYERS[name]
    arrays = [x.copy(), *(w.copy() for w in weights)]
    y, cache = forward(*arrays)
    dy = normal(*y.shape, seed=9)
    dw = [np.zeros_like(w) for w in weights]
    dx = backward(dy, cache, *dw)
    kept = [y.copy(), dx.copy(), dy.copy()]
    for array, original in zip(arrays, [x, *weights], strict=True):
        np.testing.assert_array_equal(array, original)
        assert not np.shares_memory(array, y) and not np.shares_memory(array, dx)
    assert dx.shape == x.shape and not np.shares_memory(dx, dy)
    np.testing.assert_array_equal(dy, normal(*y.shape, seed=9))
    np.testing.assert_array_equal(backward(dy, cache, *dw), kept[1])  # the cache survives a backward pass
    np.testing.assert_array_equal(y, kept[0])


@pytest.mark.parametrize("name", LAYERS)
def test_float32_stays_float32(name):
    forward, backward, x, weights = LAYERS[name]
    arrays = [a.astype(np.float32) for a in (x, *weights)]
    y, cache = forward(*arrays)
    dw = [np.zeros_like(w) for w in arrays[1:]]
    dx = backward(np.ones_like(y), cache, *dw)
    for a in (y, dx, *(part for part in cache if isinstance(part, np.ndarray) and part.dtype.kind == "f")):
        assert a.dtype == np.float32
    np.testing.assert_allclose(y, forward(x, *weights)[0], rtol=0, atol=1e-5 * abs(y).max())


def test_unfold_is_adjoint_and_too_small_is_an_error():
    x, dpatches = normal(2, 29, 23), normal(2, 10, 256)
    patches, cache = layers.unfold_forward(x, 5, 3)
    assert np.isclose((patches * dpatches).sum(), (x * layers.unfold_backward(dpatches, cache)).sum(), rtol=1e-12)
    np.testing.assert_array_equal(patches[1, 1 * 5 + 2].reshape(16, 16), x[1, 6:22, 5:21].T)  # token f * 5 + t
    with pytest.raises(ValueError, match="15 frames"):
        layers.unfold_forward(normal(1, 15, 23), 5, 3)


def test_class_attention_is_attention_of_the_first_rows():
    qkv = normal(2, 7, 45)
    o, _ = layers.class_attention_forward(qkv[:, :2, :15], qkv[:, :, 15:], 3)
    np.testing.assert_allclose(o, layers.attention_forward(qkv, 3)[0][:, :2], rtol=0, atol=1e-14)


def test_softmax_and_attention_at_1000():
    x = np.array([[1000.0, -1000.0, 1000.0], [-1000.0, -1000.0, -1000.0]])
    np.testing.assert_allclose(layers.softmax_forward(x)[0], [[0.5, 0, 0.5], [1 / 3, 1 / 3, 1 / 3]], atol=1e-15)
    qkv = normal(1, 7, 45, scale=100)  # scores of about +-10^4
    o, cache = layers.attention_forward(qkv, 3)
    assert np.isfinite(o).all() and np.isfinite(layers.attention_backward(np.ones_like(o), cache)).all()


# -- losses ----------------------------------------------------------------------------------------------------

LABELS = np.array([2, 0, 5, 2])
SOFT = np.abs(normal(4, 6))
CLASS_WEIGHTS = np.array([0.5, 2.0, 1.0, 0.1, 3.0, 1.5])
LOSSES = {
    "bce, weighted": (
        lambda x, y: layers.bce_forward(x, y, CLASS_WEIGHTS),
        layers.bce_backward,
        np.minimum(SOFT, 1),
    ),
    "ce, hard, weighted": (lambda x, y: layers.ce_forward(x, y, CLASS_WEIGHTS), layers.ce_backward, LABELS),
    "ce, soft, weighted": (lambda x, y: layers.ce_forward(x, y, CLASS_WEIGHTS), layers.ce_backward, SOFT),
    "bce": (layers.bce_forward, layers.bce_backward, np.minimum(SOFT, 1)),
    "ce, hard": (layers.ce_forward, layers.ce_backward, LABELS),
    "ce, soft": (layers.ce_forward, layers.ce_backward, SOFT / SOFT.sum(axis=1, keepdims=True)),
    "ce, sums unlike 1": (layers.ce_forward, layers.ce_backward, SOFT),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("rows", [1, 4])
def test_loss_gradient(name, rows):
    forward, backward, y = LOSSES[name]
    logits, y = normal(4, 6, seed=5, scale=2)[:rows].copy(), y[:rows]
    _, cache = forward(logits, y)
    dlogits = backward(cache)
    assert not np.shares_memory(dlogits, logits)
    assert_gradients(lambda: forward(logits, y)[0], [logits], [dlogits])


def test_hard_labels_are_one_hot_soft_ones():
    logits = normal(4, 6)
    hard, soft = (layers.ce_forward(logits, y) for y in (LABELS, np.eye(6)[LABELS]))
    assert hard[0] == soft[0]
    np.testing.assert_array_equal(layers.ce_backward(hard[1]), layers.ce_backward(soft[1]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_at_1000(dtype):
    """Right and wrong by 1000: the loss is 0 or 1000 a logit, and no gradient is lost or infinite."""
    logits, y = np.array([[1000, -1000], [1000, -1000]], dtype), np.array([[1, 0], [0, 1]], dtype)
    loss, cache = layers.bce_forward(logits, y)
    assert loss == 2000 / 4
    np.testing.assert_array_equal(layers.bce_backward(cache), [[0, 0], [0.25, -0.25]])
    loss, cache = layers.ce_forward(logits, y)
    assert loss == 2000 / 2
    np.testing.assert_array_equal(layers.ce_backward(cache), [[0, 0], [0.5, -0.5]])
    assert layers.ce_backward(cache).dtype == dtype


def test_bce_by_its_definition():
    logits, y = normal(3, 5), np.minimum(np.abs(normal(3, 5, seed=1)), 1)
    s = 1 / (1 + np.exp(-logits))
    assert np.isclose(layers.bce_forward(logits, y)[0], -(y * np.log(s) + (1 - y) * np.log(1 - s)).mean(), rtol=1e-14)


def test_class_weights_by_their_definition():
    logits, y = normal(3, 6), np.minimum(np.abs(normal(3, 6, seed=1)), 1)
    logs = np.log(1 / (1 + np.exp(-logits))), np.log(1 / (1 + np.exp(logits)))
    wanted = -(CLASS_WEIGHTS * (y * logs[0] + (1 - y) * logs[1])).mean()
    assert np.isclose(layers.bce_forward(logits, y, CLASS_WEIGHTS)[0], wanted, rtol=1e-14)
    logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = -(CLASS_WEIGHTS * y * logp).sum() / 3
    assert np.isclose(layers.ce_forward(logits, y, CLASS_WEIGHTS)[0], wanted, rtol=1e-14)
    ones = np.ones(6)
    for forward in (layers.bce_forward, layers.ce_forward):
        assert np.isclose(forward(logits, y, ones)[0], forward(logits, y)[0], rtol=1e-15)
