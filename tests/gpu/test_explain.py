"""Attention maps, rollout and relevance of every backend and compute dtype, against the reference in float64."""

import numpy as np
import pytest

import minast
from minast import explain
from minast.backend import GPU, HALF_DTYPES, why_no_gpu
from tests.kernel_cases import get, need_compiler

CONFIG = minast.ModelConfig(
    dim=48, heads=3, depth=3, mel_bins=32, frames=46, fstride=8, tstride=10, classes=4, prefix_tokens=2
)
SIXTEEN = [(place, dtype) for place in ("emulator", "cuda") for dtype in HALF_DTYPES]
CASES = [
    ("numpy", "float32"),
    ("fast", "float32"),
    ("cupy", "float32"),
    ("emulator", "float32"),
    ("cuda", "float32"),
    *SIXTEEN,
]
# The largest error over the largest value. 16 bits: half a unit is 2^-11 and 2^-8; relevance multiplies several.
TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 6e-2}


def model(backend, dtype):
    """Large weights, so that attention is far from flat, and biases of qkv that matter."""
    if backend == "emulator":
        need_compiler()
    if backend in GPU and (why := why_no_gpu()):
        pytest.skip(f"backend {backend} {why}")
    built, rng = minast.AST(CONFIG, backend=backend, seed=None, dtype=dtype), np.random.default_rng(21)
    for name, view in built.w.items():
        matrix = view.ndim == 2 and name != "pos_embed"
        values = rng.standard_normal(view.shape) * (1.2 * view.shape[-1] ** -0.5 if matrix else 0.4)
        values += 1 if name.endswith("weight") and view.ndim == 1 else 0  # norms
        view[...] = built.xp.asarray(values.astype(view.dtype))
    built.weights_changed()
    return built


def close(got, want, dtype, what):
    assert got.shape == want.shape and want.any(), what
    error = np.abs(got - want).max() / np.abs(want).max()
    assert error < TOLERANCE[dtype], f"{what}: {error:.1e}"


@pytest.mark.parametrize("backend,dtype", CASES)
def test_maps_are_the_references(backend, dtype):
    truth, ours = model("numpy", "float64"), model(backend, dtype)
    x = np.random.default_rng(5).standard_normal((3, CONFIG.frames, CONFIG.mel_bins)).astype(np.float32)
    before, classes = get(ours.dw.flat).copy(), [1, 0, 3]
    for i, (got, want) in enumerate(zip(minast.attention_maps(ours, x), minast.attention_maps(truth, x), strict=True)):
        assert np.abs(got.sum(axis=-1) - 1).max() < 1e-5  # softmax is made in float32 everywhere
        close(got, want, dtype, f"attention of layer {i}")
    pairs = zip(*(explain.attention_gradients(m, x, classes) for m in (ours, truth)), strict=True)
    for i, (got, want) in enumerate(pairs):
        close(got, want, dtype, f"gradient by attention of layer {i}")
    close(minast.rollout(ours, x), minast.rollout(truth, x), dtype, "rollout")
    close(minast.relevance(ours, x, classes), minast.relevance(truth, x, classes), dtype, "relevance")
    close(
        minast.input_relevance(ours, x, classes), minast.input_relevance(truth, x, classes), dtype, "input x gradient"
    )
    assert (get(ours.dw.flat) == before).all()
    close(get(ours.forward(x)), truth.forward(x), dtype, "the model itself, afterwards")


def test_parts_are_those_of_forward(monkeypatch):
    """A wide model's forward pass takes fewer clips at once; a layer's map still holds every clip once."""
    from minast import fast

    x = np.random.default_rng(5).standard_normal((5, CONFIG.frames, CONFIG.mel_bins)).astype(np.float32)
    want = minast.attention_maps(model("numpy", "float32"), x)
    monkeypatch.setattr(fast, "BATCH_ELEMENTS", 2 * CONFIG.tokens * CONFIG.dim)
    got = minast.attention_maps(model("fast", "float32"), x)
    assert [p.shape for p in got] == [p.shape for p in want]
