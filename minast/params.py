"""All weights in one flat array, accessed by name; gradients and optimizer moments share the layout."""

from collections.abc import Mapping
from math import prod
from types import ModuleType

import numpy as np

from .config import PATCH, ModelConfig
from .layers import Array

ALIGN = 256  # bytes: every array starts on such a boundary, for vector loads and coalesced GPU transactions


def prefix_names(config: ModelConfig) -> list[str]:
    """Names of the tokens in front of the patches: ["cls_token"], or ["cls_token", "dist_token"]."""
    return ["cls_token", "dist_token"][: config.prefix_tokens]


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight, with the official checkpoint's names and order; linear weights are (out, in)."""
    d = config.dim
    out: dict[str, tuple[int, ...]] = {"cls_token": (d,)}
    if config.prefix_tokens == 2:
        out["dist_token"] = (d,)
    out["pos_embed"] = (config.tokens, d)  # prefix tokens first, then frequency-major: f * grid_time + t
    out["patch_embed.proj.weight"] = (d, PATCH * PATCH)
    out["patch_embed.proj.bias"] = (d,)
    for i in range(config.depth):
        b = f"blocks.{i}."
        out |= {b + "norm1.weight": (d,), b + "norm1.bias": (d,)}
        out |= {b + "attn.qkv.weight": (3 * d, d), b + "attn.qkv.bias": (3 * d,)}
        out |= {b + "attn.proj.weight": (d, d), b + "attn.proj.bias": (d,)}
        out |= {b + "norm2.weight": (d,), b + "norm2.bias": (d,)}
        out |= {b + "mlp.fc1.weight": (4 * d, d), b + "mlp.fc1.bias": (4 * d,)}
        out |= {b + "mlp.fc2.weight": (d, 4 * d), b + "mlp.fc2.bias": (d,)}
    out |= {"norm.weight": (d,), "norm.bias": (d,)}
    out |= {"mlp_head.0.weight": (d,), "mlp_head.0.bias": (d,)}  # the head's layer norm
    out |= {"mlp_head.1.weight": (config.classes, d), "mlp_head.1.bias": (config.classes,)}
    return out


class Views(Mapping):
    """A read-only mapping from names to views of one flat array. Assign with `views[name][...] = value`.

    shapes: name -> shape. flat: (`flat_size(shapes, dtype)`,), kept as `.flat`. step: each view starts at a multiple of
    this many elements; default: of 256 bytes.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], flat: Array, step: int | None = None):
        self.flat = flat
        step = step or ALIGN // flat.dtype.itemsize
        self._views, at = {}, 0
        for name, shape in shapes.items():
            self._views[name] = flat[at : at + prod(shape)].reshape(shape)
            at += -(-prod(shape) // step) * step
        assert at == flat.size

    def __getitem__(self, name):
        return self._views[name]

    def __iter__(self):
        return iter(self._views)

    def __len__(self):
        return len(self._views)

    def under(self, prefix: str) -> dict[str, Array]:
        """The views whose names start with `prefix`, keyed by the rest of the name: the weights of one block."""
        return {name[len(prefix) :]: view for name, view in self._views.items() if name.startswith(prefix)}


def flat_size(shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype | str) -> int:
    """Elements of a flat array for `shapes`, alignment gaps included."""
    step = ALIGN // np.dtype(dtype).itemsize
    return sum(-(-prod(shape) // step) * step for shape in shapes.values())


def zeros(shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype | str, xp: ModuleType = np) -> Views:
    """`Views` of a flat array of zeros for `shapes`, at an aligned address. The gaps stay zero."""
    return Views(shapes, aligned_zeros(flat_size(shapes, dtype), dtype, xp))


def aligned_zeros(size: int, dtype: np.dtype | str, xp: ModuleType = np) -> Array:
    """(size,) zeros that start on a multiple of ALIGN bytes. NumPy's are not touched: the system zeroes them on use."""
    if xp is not np:
        return xp.zeros(size, dtype)  # CuPy's memory is 512-byte aligned
    item = np.dtype(dtype).itemsize
    raw = np.zeros(size + ALIGN // item, dtype)
    skip = -raw.ctypes.data % ALIGN // item
    return raw[skip : skip + size]
