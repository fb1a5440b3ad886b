"""Embeddings of middle blocks and of all tokens, from models that a checkpoint can hold."""

import numpy as np
import pytest

import minast
from minast.embeddings.taken import digest_of_encoder, taken_from


def norm(x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)


@pytest.fixture(params=[1, 2], ids=["one prefix token", "two"])
def model(request):
    config = minast.ModelConfig(
        dim=24, depth=3, heads=3, frames=40, mel_bins=32, classes=5, prefix_tokens=request.param
    )
    found = minast.AST(config, backend="numpy", seed=0, dtype="float64")
    found.w.flat += 0.2 * np.random.default_rng(0).standard_normal(found.w.flat.shape)
    return found


@pytest.mark.parametrize("gelu", ["erf", "tanh"])
def test_every_pool_is_what_it_says(model, gelu):
    object.__setattr__(model.config, "gelu", gelu)
    x, count = np.random.default_rng(1).standard_normal((2, 40, 32)), model.config.prefix_tokens
    tokens, _ = model.encoder.embed_forward(x, None)
    for i in range(2):
        tokens, _ = model.encoder.block_forward(i, tokens, False)
    c, mean = tokens[:, :count], norm(tokens).mean(axis=1, keepdims=True)
    wanted = {"prefix": norm(c), "mean": norm(mean), "both": norm(norm(c) + mean)}
    for pool, rows in wanted.items():
        found = taken_from(model, 2, pool)
        np.testing.assert_allclose(found.embed(x), rows.mean(axis=1), atol=0 if pool == "x" else 0.02)
        exact = norm(1e3 * mean + c) if pool == "mean" else rows
        np.testing.assert_allclose(found.embed(x), exact.mean(axis=1), atol=3e-3 if pool == "both" else 1e-8)


def test_the_last_block_is_the_model_itself(model):
    assert taken_from(model) is model and taken_from(model, 3) is model
    other, x = taken_from(model, classes=7), np.random.default_rng(1).standard_normal((2, 40, 32))
    assert other.config.classes == 7 and np.array_equal(other.embed(x), model.embed(x))
    with pytest.raises(minast.Error, match="--block is 4: the model has blocks 1 to 3"):
        taken_from(model, 4)


def test_what_the_digest_is_of(trained, tmp_path):
    model, info = minast.load(trained / "best.npz")
    whole = digest_of_encoder(trained / "best.npz")
    model.w["mlp_head.1.bias"][0] += 1
    minast.save(tmp_path / "head.npz", model, ["a", "b", "c"], info.features, "bce")
    assert digest_of_encoder(tmp_path / "head.npz") == whole
    model.w["blocks.1.mlp.fc1.bias"][0] += 1
    minast.save(tmp_path / "weight.npz", model, info.labels, info.features)
    model.w["blocks.1.mlp.fc1.bias"][0] -= 1
    features = {"frames": 48, "mean": info.features.mean + 0.1, "std": info.features.std}
    minast.save(tmp_path / "mean.npz", model, info.labels, features)
    assert len({whole, digest_of_encoder(tmp_path / "weight.npz"), digest_of_encoder(tmp_path / "mean.npz")}) == 3
