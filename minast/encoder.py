"""The encoder in float32 or float64: patches to tokens, a block, the final norm. Backward is forward's lines reversed.

`AnyEncoder` is the interface that `model.AST` composes. `Encoder` implements it by the layer functions of any backend,
`cuda/half_encoder.py` by kernels that compute in 16 bits. What is passed from one method to the next is up to the
implementation; `model.AST` passes it on and keeps the caches.
Source of the block: DeiT (Touvron et al. 2021), pre-norm as in ViT (Dosovitskiy et al. 2021, equations 1 to 4).
"""

import math
from typing import Any, Protocol

from .config import ModelConfig
from .layers import Array, Cache
from .params import Views, prefix_names


class AnyEncoder(Protocol):
    """Three pairs of methods, each `y, cache = forward(x)` and `dx = backward(dy, cache)`, and the care of the weights.

    Tokens are the implementation's own: an array (B, P + N, D), or whatever holds its values. lowest: no weight below
    this layer needs a gradient.
    """

    def embed_forward(self, x: Array, keep: Array | None = None) -> tuple[Any, Cache]:
        """Log-mel (B, T, F) -> tokens.   keep: as in `AST.loss_and_grad`, checked and on the device"""

    def embed_backward(self, dx: Any, cache: Cache, to_input: bool = False) -> Array | None:
        """Gradient of the tokens -> of the log-mel (B, T, F) if `to_input`, else None"""

    def block_forward(self, i: int, x: Any, prefix_only: bool = False) -> tuple[Any, Cache]:
        """Block i, counted from 0: tokens -> tokens, or only those of the prefix"""

    def block_backward(self, i: int, dx: Any, cache: Cache, prefix_only: bool = False, lowest: bool = False) -> Any:
        """Gradient of the tokens after block i -> before it"""

    def block_input(self, cache: Cache) -> Array:
        """The input of `block_forward`, in a form that it takes: all that activation checkpointing keeps of a block."""

    def norm_forward(self, x: Any) -> tuple[Array, Cache]:
        """The final layer norm: tokens -> (B, P + N, D), or only the prefix (B, P, D)"""

    def norm_backward(self, dy: Array, cache: Cache, lowest: bool = False) -> Any:
        """dy (B, P, D) -> gradient of the tokens"""

    def with_layers(self, layers: Any, dw: Views) -> "AnyEncoder":
        """The same weights with other layer functions (explain.py adds hooks to attention) and other gradients."""

    # An encoder may compute from a copy of the weights in another type, as the 16-bit one does.

    def refresh(self) -> None:
        """Make the copy again if the weights may have changed; to be called before a pass."""

    def weights_changed(self) -> None:
        """The weights were written, and the copy was not."""

    def weights_will_change(self) -> None:
        """A gradient was computed: until `copy_to_update` or `weights_changed`, any pass may find new weights."""

    def copy_to_update(self) -> Array | None:
        """The copy, flat, for an optimizer that writes it together with the weights; None if there is no copy.

        The caller must write the new weights to it: it counts as up to date from now on.
        """


class Encoder:
    """Built from the layer functions of any backend.

    config: ModelConfig. w, dw: Views of the weights and their gradients. layers: a module with the functions of
      layers.py. recompute_width: from this width D on, the input of a linear layer after a norm or GELU is not kept but
      recomputed in the backward pass: 10 instead of 16 values per token and channel stay in memory. This requires that
      a cache begins with its layer's input, and that linear's cache is (input, weight).
    """

    def __init__(self, config: ModelConfig, w: Views, dw: Views, layers: Any, recompute_width: float = math.inf):
        self.config, self.w, self.dw, self.layers = config, w, dw, layers
        self.recompute_width, self.lean = recompute_width, config.dim >= recompute_width
        self.blocks = [(w.under(f"blocks.{i}."), dw.under(f"blocks.{i}.")) for i in range(config.depth)]

    def embed_forward(self, x: Array, keep: Array | None = None) -> tuple[Array, Cache]:
        """Patches, linear embedding, prefix tokens in front, positions.   x (B, T, F) -> (B, P + N, D)

        keep (B, n) or None: patches that stay, -> (B, P + n, D). All are embedded first: that is less than a hundredth
        of a model's work, and positions need no second way of being added.
        """
        c, w, layers = self.config, self.w, self.layers
        x, unfold = layers.unfold_forward(x, c.fstride, c.tstride)  # (B, N, 256)
        x, linear = layers.linear_forward(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"])  # (B, N, D)
        x, tokens = layers.tokens_forward(x, [w[name] for name in prefix_names(c)], w["pos_embed"])  # (B, P + N, D)
        patchout = None
        if keep is not None:
            x, patchout = layers.patchout_forward(x, keep, c.prefix_tokens)  # (B, P + n, D)
        return x, (unfold, linear, tokens, patchout)

    def embed_backward(self, dx: Array, cache: Cache, to_input: bool = False) -> Array | None:
        """dx (B, P + N, D), or of the tokens that stayed -> gradient of the log-mel if `to_input`, else None"""
        dw, layers, (unfold, linear, tokens, patchout) = self.dw, self.layers, cache
        if patchout is not None:
            dx = layers.patchout_backward(dx, patchout)
        dx = layers.tokens_backward(dx, tokens, [dw[name] for name in prefix_names(self.config)], dw["pos_embed"])
        dx = layers.linear_backward(dx, linear, dw["patch_embed.proj.weight"], dw["patch_embed.proj.bias"])
        return layers.unfold_backward(dx, unfold) if to_input else None

    def block_forward(self, i: int, x: Array, prefix_only: bool = False) -> tuple[Array, Cache]:
        """Block i, counted from 0.   x (B, T, D) -> (B, T, D), or (B, P, D) if `prefix_only`"""
        forward = last_block_forward if prefix_only else block_forward
        return forward(self.layers, x, self.blocks[i][0], self.config, self.lean)

    def block_backward(self, i: int, dx: Array, cache: Cache, prefix_only: bool = False, lowest: bool = False) -> Array:
        """dx (B, T, D), or (B, P, D) if `prefix_only` -> (B, T, D)"""
        backward = last_block_backward if prefix_only else block_backward
        return backward(self.layers, dx, cache, *self.blocks[i], self.config)

    def block_input(self, cache: Cache) -> Array:
        """The input x of `block_forward`: all that activation checkpointing keeps of a block."""
        return cache[0][0]  # norm1's cache begins with its input

    def norm_forward(self, x: Array) -> tuple[Array, Cache]:
        """The final layer norm.   x (..., D) -> (..., D)"""
        return self.layers.layernorm_forward(x, self.w["norm.weight"], self.w["norm.bias"], self.config.encoder_eps)

    def norm_backward(self, dy: Array, cache: Cache, lowest: bool = False) -> Array:
        """dy (..., D) -> (..., D)"""
        return self.layers.layernorm_backward(dy, cache, self.dw["norm.weight"], self.dw["norm.bias"])

    def with_layers(self, layers: Any, dw: Views) -> "Encoder":
        """The same weights with other layer functions (explain.py adds hooks to attention) and other gradients."""
        return Encoder(self.config, self.w, dw, layers, self.recompute_width)

    # There is no copy of the weights to keep up to date.

    def weights_changed(self) -> None:
        """See `AnyEncoder`."""

    def weights_will_change(self) -> None:
        """See `AnyEncoder`."""

    def refresh(self) -> None:
        """See `AnyEncoder`."""

    def copy_to_update(self) -> None:
        """See `AnyEncoder`."""
        return None


# -- one block ------------------------------------------------------------------------------------------------------


def block_forward(layers: Any, x: Array, w: dict, c: ModelConfig, lean: bool = False) -> tuple[Array, Cache]:
    """Pre-norm: x += proj(attention(norm1(x))), then x += fc2(gelu(fc1(norm2(x)))).   x (B, T, D) -> (B, T, D)"""
    h, norm1 = layers.layernorm_forward(x, w["norm1.weight"], w["norm1.bias"], c.encoder_eps)
    h, qkv = layers.linear_forward(h, w["attn.qkv.weight"], w["attn.qkv.bias"])  # (B, T, 3 D)
    h, attention = layers.attention_forward(h, c.heads)
    h, proj = layers.linear_forward(h, w["attn.proj.weight"], w["attn.proj.bias"])
    h += x  # in place: h is a new array, and becomes the new x
    x, mlp = mlp_forward(layers, h, w, c, lean)
    return x, (norm1, None if lean else qkv, attention, proj, mlp)


def block_backward(layers: Any, dx: Array, cache: Cache, w: dict, dw: dict, c: ModelConfig) -> Array:
    """The same lines upwards; a residual passes dx on and adds its branch's gradient.   dx (B, T, D) -> (B, T, D)"""
    norm1, qkv, attention, proj, mlp = cache
    dx = mlp_backward(layers, dx, mlp, w, dw, c)
    dh = layers.linear_backward(dx, proj, dw["attn.proj.weight"], dw["attn.proj.bias"])
    dh = layers.attention_backward(dh, attention)
    qkv = qkv or normed(layers, norm1, w, "norm1", "attn.qkv", c)
    dh = layers.linear_backward(dh, qkv, dw["attn.qkv.weight"], dw["attn.qkv.bias"])
    dh = layers.layernorm_backward(dh, norm1, dw["norm1.weight"], dw["norm1.bias"])
    dh += dx
    return dh


def last_block_forward(layers: Any, x: Array, w: dict, c: ModelConfig, lean: bool = False) -> tuple[Array, Cache]:
    """The block for the prefix tokens only; keys and values come from all tokens.   x (B, T, D) -> (B, P, D)"""
    P, D = c.prefix_tokens, c.dim
    qkv_w, qkv_b = w["attn.qkv.weight"], w["attn.qkv.bias"]
    h, norm1 = layers.layernorm_forward(x, w["norm1.weight"], w["norm1.bias"], c.encoder_eps)
    q, query = layers.linear_forward(h[:, :P], qkv_w[:D], qkv_b[:D])  # (B, P, D)
    kv, keys = layers.linear_forward(h, qkv_w[D:], qkv_b[D:])  # (B, T, 2 D)
    h, attention = layers.class_attention_forward(q, kv, c.heads)
    h, proj = layers.linear_forward(h, w["attn.proj.weight"], w["attn.proj.bias"])
    h += x[:, :P]
    x, mlp = mlp_forward(layers, h, w, c, lean)
    return x, (norm1, query, keys, attention, proj, mlp)


def last_block_backward(layers: Any, dx: Array, cache: Cache, w: dict, dw: dict, c: ModelConfig) -> Array:
    """The same lines upwards.   dx (B, P, D) -> (B, T, D)"""
    P, D = c.prefix_tokens, c.dim
    norm1, query, keys, attention, proj, mlp = cache
    dx = mlp_backward(layers, dx, mlp, w, dw, c)
    dh = layers.linear_backward(dx, proj, dw["attn.proj.weight"], dw["attn.proj.bias"])
    dq, dkv = layers.class_attention_backward(dh, attention)
    dqkv_w, dqkv_b = dw["attn.qkv.weight"], dw["attn.qkv.bias"]
    dh = layers.linear_backward(dkv, keys, dqkv_w[D:], dqkv_b[D:])
    dh[:, :P] += layers.linear_backward(dq, query, dqkv_w[:D], dqkv_b[:D])
    dh = layers.layernorm_backward(dh, norm1, dw["norm1.weight"], dw["norm1.bias"])
    dh[:, :P] += dx
    return dh


def mlp_forward(layers: Any, x: Array, w: dict, c: ModelConfig, lean: bool = False) -> tuple[Array, Cache]:
    """x + fc2(gelu(fc1(norm2(x)))).   x (B, T, D) -> (B, T, D)"""
    h, norm2 = layers.layernorm_forward(x, w["norm2.weight"], w["norm2.bias"], c.encoder_eps)
    h, fc1 = layers.linear_forward(h, w["mlp.fc1.weight"], w["mlp.fc1.bias"])  # (B, T, 4 D)
    h, gelu = layers.gelu_forward(h, c.gelu)
    h, fc2 = layers.linear_forward(h, w["mlp.fc2.weight"], w["mlp.fc2.bias"])
    h += x
    return h, (norm2, None if lean else fc1, gelu, None if lean else fc2)


def mlp_backward(layers: Any, dx: Array, cache: Cache, w: dict, dw: dict, c: ModelConfig) -> Array:
    """The same lines upwards, plus dx for the residual.   dx (B, T, D) -> (B, T, D)"""
    norm2, fc1, gelu, fc2 = cache
    fc2 = fc2 or (layers.gelu_forward(gelu[0], c.gelu)[0], w["mlp.fc2.weight"])
    dh = layers.linear_backward(dx, fc2, dw["mlp.fc2.weight"], dw["mlp.fc2.bias"])
    del fc2
    dh = layers.gelu_backward(dh, gelu)
    fc1 = fc1 or normed(layers, norm2, w, "norm2", "mlp.fc1", c)
    dh = layers.linear_backward(dh, fc1, dw["mlp.fc1.weight"], dw["mlp.fc1.bias"])
    dh = layers.layernorm_backward(dh, norm2, dw["norm2.weight"], dw["norm2.bias"])
    dh += dx
    return dh


def normed(layers: Any, cache: Cache, w: dict, norm: str, linear: str, c: ModelConfig) -> Cache:
    """The cache of the linear layer after a layer norm, recomputed from the norm's cache."""
    h, _ = layers.layernorm_forward(cache[0], w[norm + ".weight"], w[norm + ".bias"], c.encoder_eps)
    return h, w[linear + ".weight"]
