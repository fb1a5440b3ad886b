"""The small ViT of tutorial 6: its pictures, its first layer, its file in the official layout."""

import sys
from pathlib import Path

import numpy as np
import pytest

from minast import pretrained
from minast.pretrained.layouts.jax import jax_layout
from minast.pretrained.readers.npz import NpzFile

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tutorials"))
import small_vit  # the tutorials' folder has to be on the path first


@pytest.fixture
def vit():
    model = small_vit.ViT(small_vit.square(48, dim=32, depth=2, heads=2, classes=4), seed=3)
    model.w.flat += 0.05 * np.random.default_rng(0).standard_normal(model.w.flat.shape).astype("float32")
    return model


def test_pictures_are_those_of_their_seed_and_balanced():
    x, y = small_vit.pictures(20, 48, np.random.default_rng(5))
    again, _ = small_vit.pictures(20, 48, np.random.default_rng(5))
    assert x.shape == (20, 48, 48, 3) and x.dtype == np.float32 and np.array_equal(x, again)
    assert np.bincount(y).tolist() == [2] * len(small_vit.LABELS)
    assert np.abs(x).max() < 10 and 0.2 < x.std() < 1


@pytest.mark.parametrize("name", small_vit.LABELS)
def test_a_figure_is_never_negative_never_empty(name):
    v, u = np.mgrid[0:48, 0:48].astype(np.float32) / 48
    for seed in range(20):
        figure = small_vit.FIGURES[name](np.random.default_rng(seed), u, v)
        assert figure.shape == (48, 48) and figure.min() >= 0 and 0.3 < figure.max() < 1.7


def test_colour_patches_are_a_convolution():
    """Against the definition: filter times patch, summed over colours and pixels."""
    rng = np.random.default_rng(1)
    x, filters = rng.standard_normal((2, 32, 48, 3)), rng.standard_normal((5, 3, 16, 16))
    got = small_vit.colour_patches(x, 16, 16)[0] @ filters.reshape(5, -1).T  # (2, 6, 5)
    for row in range(2):
        for column in range(3):
            patch = x[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            want = np.einsum("bijc,dcij->bd", patch, filters)
            np.testing.assert_allclose(got[:, 3 * row + column], want, rtol=1e-10, atol=1e-10)


def test_the_gradient_of_the_colour_filters(vit):
    """The first layer's own gradient, in the direction of itself: float32, hence the loose bound."""
    x, y = small_vit.pictures(4, 48, np.random.default_rng(2))
    y = y % 4
    vit.zero_grad()
    vit.loss_and_grad(x, y, "ce")
    w, g = vit.w["patch_embed.proj.weight"], vit.dw["patch_embed.proj.weight"].astype(float)
    h, original = 1e-2 / np.linalg.norm(g), w.copy()
    w += (h * g).astype("float32")
    above = vit.loss(vit.forward(x), y, "ce")
    w[...] = original - (h * g).astype("float32")
    numeric = (above - vit.loss(vit.forward(x), y, "ce")) / (2 * h)
    analytic = (g * g).sum()
    assert abs(analytic - numeric) < 0.01 * analytic


def test_the_official_file_comes_back_and_hears(vit, tmp_path):
    """Every weight but the head's; and an AST on the same grid gives the same tokens for a grey picture."""
    path = tmp_path / "vit.npz"
    np.savez(path, **small_vit.official_arrays(vit))
    with NpzFile(path) as file:
        assert not jax_layout(file).ignored(file)
    back = small_vit.read_vit(path)
    for name, view in vit.w.items():
        if not name.startswith("mlp_head"):
            np.testing.assert_array_equal(back.w[name], view, err_msg=name)
    ast = pretrained.from_pretrained(path, classes=2, frames=48, mel_bins=48, fstride=16, tstride=16, backend="numpy")
    grey = np.random.default_rng(4).standard_normal((2, 48, 48)).astype("float32")
    want = vit.encode(np.repeat(grey[..., None], 3, axis=-1))
    np.testing.assert_allclose(ast.encode(grey.swapaxes(1, 2)), want, rtol=1e-3, atol=1e-4)
