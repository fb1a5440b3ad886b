"""Initial weights for training from scratch, chosen so that a 12-layer model learns from a few thousand clips.

Pretrained weights replace all of this. AST's own scheme (timm's: every matrix normal, standard deviation 0.02) suits
ImageNet-length training: at width 96 it makes a block's initial output a small fraction of its input.
"""

from typing import Any

import numpy as np

from .config import PATCH, ModelConfig
from .params import prefix_names


def fresh(model: Any, rng: np.random.Generator) -> None:
    """Initialise an AST's weights in place; one seed gives the same ones in float32 and float64, on every backend.

    Norm weights are 1, biases 0; blocks, patches, positions and head come from the functions below.
    """
    c, xp = model.config, model.xp

    def put(name, values):
        model.w[name][...] = xp.asarray(values, model.dtype)

    for name, view in model.w.items():
        if "norm" in name and name.endswith("weight"):
            put(name, np.ones(view.shape))
        elif name.startswith("blocks.") and name.endswith("weight"):
            put(name, block_matrix(name, view.shape, c.depth, rng))
    put("patch_embed.proj.weight", patch_filters(c.dim, rng))
    put("pos_embed", positions(c))
    for name in prefix_names(c):
        put(name, 0.02 * rng.standard_normal(c.dim))
    for name, values in head(c.classes, c.dim, rng).items():
        put(name, values)


def block_matrix(name: str, shape: tuple[int, int], depth: int, rng: np.random.Generator) -> np.ndarray:
    """Normal, standard deviation 1 / sqrt(inputs): outputs have the variance of inputs.   shape (out, in)

    The two matrices that write to the residual stream are divided by sqrt(2 depth), so that the sum of all 2 depth
    branches has that variance. Source: LeCun et al. 1998, section 4.6; Radford et al. 2019 (GPT-2), section 2.3.
    """
    scale = shape[1] ** -0.5
    if name.endswith(("attn.proj.weight", "mlp.fc2.weight")):
        scale *= (2 * depth) ** -0.5
    return scale * rng.standard_normal(shape)


def patch_filters(dim: int, rng: np.random.Generator) -> np.ndarray:
    """Normal, standard deviation 2 / 16: the `block_matrix` scale for AST's inputs, of deviation 1/2. -> (dim, 256)

    Neighbouring pixels of a spectrogram are correlated, so random filters mostly respond to what is smooth in a patch.
    Whitening filters (random mixtures of cosines, weighted by their rarity) learnt spoken digits more slowly:
    87 % against 94 % of the test clips after four epochs (one seed each).
    """
    return 2 / PATCH * rng.standard_normal((dim, PATCH * PATCH))


def positions(c: ModelConfig) -> np.ndarray:
    """Sines and cosines of the grid coordinates, half the width per axis; 0 for prefix tokens. -> (P + N, D)

    Wavelengths from 2 pi to 200 pi patches. Source: Vaswani et al. 2017, section 3.5, extended to two dimensions.
    """
    (gf, gt), quarter = c.grid, c.dim // 4
    frequency = 100.0 ** (-np.arange(quarter) / max(1, quarter))
    table = np.zeros((c.prefix_tokens + gf * gt, c.dim))
    for axis, coordinate in enumerate(np.divmod(np.arange(gf * gt), gt)):  # token = f * gt + t
        angle = coordinate[:, None] * frequency
        table[c.prefix_tokens :, 2 * axis * quarter : 2 * (axis + 1) * quarter] = np.hstack(
            [np.sin(angle), np.cos(angle)]
        )
    return table


def head(classes: int, dim: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A new head by weight name: norm 1 and 0, linear uniform in +-1 / sqrt(D), PyTorch's default (official code)."""
    bound = dim**-0.5
    return {
        "mlp_head.0.weight": np.ones(dim),
        "mlp_head.0.bias": np.zeros(dim),
        "mlp_head.1.weight": rng.uniform(-bound, bound, (classes, dim)),
        "mlp_head.1.bias": rng.uniform(-bound, bound, classes),
    }
