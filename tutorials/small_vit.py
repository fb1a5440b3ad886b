"""A vision transformer (ViT) to try the way from pictures to sound on: drawn pictures, the model, the official .npz.

A ViT is AST with another first layer: patches of three colours, side by side, over a square picture. Everything else
is inherited.
"""

from types import SimpleNamespace

import numpy as np

from minast import AST, ModelConfig, layers
from minast.encoder import Encoder
from minast.params import shapes, zeros
from minast.pretrained import open_tensors
from minast.pretrained.layouts import fetch, fill, jax_layout

LABELS = ("lines", "harmonics", "rising", "falling", "wave", "strokes", "dashes", "fading", "blobs", "grain")
PATCH = 16


# -- pictures ------------------------------------------------------------------------------------------------------


def pictures(count, size, rng):
    """Drawn figures in random colours, each class as often as the others.   -> (count, size, size, 3) float32, (count,)

    Values are about 0 with deviation about a half. Ten kinds of figure, at random places and sizes, over noise.
    """
    y = rng.permutation(np.arange(count) % len(LABELS))
    v, u = np.mgrid[0:size, 0:size].astype(np.float32) / size  # down and across, 0 to 1
    figure = np.stack([FIGURES[LABELS[k]](rng, u, v) for k in y])[..., None]  # (count, size, size, 1), about 0 to 1
    ground = rng.normal(0, 0.4, (count, 1, 1, 3))
    ink = rng.normal(0, 0.4, (count, 1, 1, 3)) + 1.2 * rng.choice([-1, 1], (count, 1, 1, 1))
    x = ground + figure * (ink - ground) + rng.uniform(0.05, 0.4, (count, 1, 1, 1)) * rng.standard_normal(figure.shape)
    return x.astype(np.float32), y


def _line(at, width):
    """1 where `at` is 0, falling off over `width`."""
    return np.exp(-((at / width) ** 2))


def lines(rng, u, v):
    """One to three level lines."""
    return np.clip(
        sum(_line(v - rng.uniform(0.05, 0.95), rng.uniform(0.01, 0.03)) for _ in range(rng.integers(1, 4))), 0, 1
    )


def harmonics(rng, u, v):
    """Level lines at equal distances."""
    return 0.5 + 0.5 * np.cos(2 * np.pi * (v * rng.uniform(6, 14) + rng.random()))


def rising(rng, u, v):
    """Parallel lines that go up."""
    return _line((v + u * rng.uniform(0.5, 1.5) - rng.random()) % rng.uniform(0.4, 0.9) - 0.1, 0.04)


def falling(rng, u, v):
    """Parallel lines that go down."""
    return rising(rng, u, 1 - v)


def wave(rng, u, v):
    """A line that swings up and down."""
    swing = rng.uniform(0.1, 0.25) * np.sin(2 * np.pi * (u * rng.uniform(1, 4) + rng.random()))
    return _line(v - rng.uniform(0.3, 0.7) - swing, rng.uniform(0.02, 0.05))


def strokes(rng, u, v):
    """Upright strokes at equal distances."""
    return _line((u * rng.uniform(2.5, 6) + rng.random()) % 1 - 0.5, rng.uniform(0.05, 0.12))


def dashes(rng, u, v):
    """A level line that is on and off."""
    on = ((u * rng.uniform(3, 8) + rng.random()) % 1 < rng.uniform(0.4, 0.6)).astype(np.float32)
    return on * _line(v - rng.uniform(0.1, 0.9), rng.uniform(0.02, 0.05))


def fading(rng, u, v):
    """Level lines that begin together and fade."""
    since = u - rng.uniform(0, 0.3)
    tone = sum(_line(v - rng.uniform(0.05, 0.95), 0.02) for _ in range(4))
    return np.clip((since > 0) * np.exp(-np.maximum(since, 0) / rng.uniform(0.15, 0.5)) * tone, 0, 1)


def blobs(rng, u, v):
    """Soft spots at the same height, in pairs."""
    height, step, gap = rng.uniform(0.1, 0.9), rng.uniform(0.35, 0.7), rng.uniform(0.12, 0.2)
    at = (u + rng.random()) % step
    return (_line(at - 0.06, 0.05) + 0.7 * _line(at - 0.06 - gap, 0.04)) * _line(v - height, rng.uniform(0.05, 0.12))


def grain(rng, u, v):
    """Rough noise, stronger towards one side."""
    rough = rng.random(u.shape, np.float32) ** rng.uniform(1, 4)
    return rough * (1 - rng.uniform(0, 0.8) * (v if rng.random() < 0.5 else 1 - v))


FIGURES = {f.__name__: f for f in (lines, harmonics, rising, falling, wave, strokes, dashes, fading, blobs, grain)}


# -- the model -----------------------------------------------------------------------------------------------------


def colour_patches(x, down, across):
    """Patches of each colour, one beside the other.   x (B, height, width, 3) -> (B, N, 3 * 256)"""
    each = [layers.unfold_forward(x[..., c].swapaxes(1, 2), down, across)[0] for c in range(x.shape[-1])]
    return np.concatenate(each, axis=-1), None


class ViT(AST):
    """AST for pictures: x (B, height, width, 3) -> logits (B, K). Only the patches differ."""

    def __init__(self, config, seed=0, colours=3):
        super().__init__(config, "fast", seed)
        rest, name = self.w, "patch_embed.proj.weight"
        sizes = shapes(config) | {name: (config.dim, colours * PATCH * PATCH)}
        self.w = zeros(sizes, self.dtype)
        self.dw, self.colours = zeros(sizes, self.dtype), colours
        for other in sizes:
            if other != name:
                self.w[other][...] = rest[other]
        rng = np.random.default_rng(seed)
        self.w[name][...] = 2 / PATCH * colours**-0.5 * rng.standard_normal(sizes[name])
        self.layers = SimpleNamespace(**{**vars(self.layers), "unfold_forward": colour_patches})
        self.encoder = Encoder(config, self.w, self.dw, self.layers, self.backend.recompute_width)

    def _checked(self, x):
        c = self.config
        assert x.shape[1:] == (c.mel_bins, c.frames, self.colours), x.shape
        return np.asarray(x, self.dtype)


def square(side, **sizes):
    """The settings of a ViT on pictures of side x side pixels, patches that do not overlap."""
    return ModelConfig(mel_bins=side, frames=side, fstride=PATCH, tstride=PATCH, **sizes)


# -- the official .npz ---------------------------------------------------------------------------------------------


def official_arrays(model):
    """A ViT's weights under the names and in the shapes of google-research/vision_transformer, without its head."""
    w, c = model.w, model.config
    D, H = c.dim, c.heads
    out = {
        "cls": w["cls_token"].reshape(1, 1, D),
        "embedding/kernel": w["patch_embed.proj.weight"].reshape(D, -1, PATCH, PATCH).transpose(2, 3, 1, 0),
        "embedding/bias": w["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": w["pos_embed"][None],
        "Transformer/encoder_norm/scale": w["norm.weight"],
        "Transformer/encoder_norm/bias": w["norm.bias"],
    }
    for i, (b, _) in enumerate(model.encoder.blocks):
        at = f"Transformer/encoderblock_{i}/"
        for norm, name in (("LayerNorm_0", "norm1"), ("LayerNorm_2", "norm2")):
            out |= {f"{at}{norm}/scale": b[f"{name}.weight"], f"{at}{norm}/bias": b[f"{name}.bias"]}
        attention = f"{at}MultiHeadDotProductAttention_1/"
        for j, which in enumerate(("query", "key", "value")):
            rows = slice(j * D, (j + 1) * D)
            out[f"{attention}{which}/kernel"] = b["attn.qkv.weight"][rows].T.reshape(D, H, D // H)
            out[f"{attention}{which}/bias"] = b["attn.qkv.bias"][rows].reshape(H, D // H)
        out[f"{attention}out/kernel"] = b["attn.proj.weight"].T.reshape(H, D // H, D)
        out[f"{attention}out/bias"] = b["attn.proj.bias"]
        for dense, name in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
            out[f"{at}MlpBlock_3/{dense}/kernel"] = b[f"mlp.{name}.weight"].T
            out[f"{at}MlpBlock_3/{dense}/bias"] = b[f"mlp.{name}.bias"]
    return out


def read_vit(path):
    """The ViT in an official .npz, as it was before it hears: colour filters, square grid, no head of any use."""
    with open_tensors(path) as file:
        layout = jax_layout(file)
        layout.check(file)
        filters, positions = fetch(file, layout.patch), fetch(file, layout.positions)
        side = PATCH * round((len(positions) - layout.position_prefix) ** 0.5)
        config = square(side, dim=layout.dim, depth=layout.depth, heads=layout.heads, classes=1)
        model = ViT(config, colours=filters.shape[1])
        for name, parts in layout.parts.items():
            fill(model.w[name], file, parts)
        model.w["patch_embed.proj.weight"][...] = filters.reshape(layout.dim, -1)
        model.w["pos_embed"][...] = 0
        model.w["pos_embed"][1 - layout.position_prefix :] = positions
    return model
