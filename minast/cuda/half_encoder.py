"""The encoder in 16 bits: encoder.py's lines, with kernels that fuse several passes over memory.

16-bit: everything that matrix products read or write, which is tokens after a norm, qkv, attention's output, the
activations of the MLP and a copy of the weights. float32: the weights and their gradients, all statistics, the head,
the loss, and the residual stream with its gradient. The stream is a sum of 24 branches, each a small part of it; in
bfloat16 every addition would round all of it, by up to 1/256. No product reads it, so float32 costs only memory and
memory traffic: 2 more bytes per value, in two arrays per block.

The stream between two layers is (x, branch, bias), meaning x + branch + bias: the next norm's kernel adds them. Its
gradient is (dx in float32, dx in T), T the 16-bit type.
"""

import copy
from typing import Any

import numpy as np

from ..bfloat16 import STORAGE
from ..config import ModelConfig
from ..errors import Error
from ..gpu.adding import adding
from ..gpu.memory import empty
from ..layers import Array, Cache, array_module
from ..params import ALIGN, Views, prefix_names, shapes
from .common import HEAD_WIDTHS, add_columns
from .gemm import gemm
from .half import (
    WIDEST,
    add_to_weight,
    input_gradient,
    linear_backward,
    linear_forward,
    narrow,
    residual_norm_backward,
    residual_norm_forward,
    rows,
)
from .patches import unfold_backward, unfold_forward
from .rowwise import gelu_backward, gelu_forward
from .tokens import patchout_backward, patchout_forward, tokens_backward, tokens_forward


class HalfCopy:
    """The weights in 16 bits, flat; shared by all encoders of one model (`with_layers`).

    current: is it up to date? in_training: may an optimizer step that does not write it come at any time?
    """

    def __init__(self, w: Views, dtype: np.dtype):
        self.w, self.dtype, self.flat = w, dtype, array_module(w.flat).zeros(w.flat.shape, dtype)
        self.current, self.in_training = False, False

    def refresh(self) -> None:
        """Round the weights anew, unless the copy is known to be up to date."""
        if self.in_training or not self.current:
            narrow(self.w.flat, self.dtype, self.flat)
            self.current = True


class HalfEncoder:
    """`encoder.AnyEncoder` on 16-bit kernels, with a 16-bit copy of the weights.

    config: ModelConfig. w, dw: Views (float32) of the weights and their gradients. layers: has the attention functions
      of this package (with hooks when explain.py uses it). dtype: "float16" or "bfloat16".
    Raises minast.Error if no kernel has the model's width or head width.
    """

    def __init__(self, config: ModelConfig, w: Views, dw: Views, layers: Any, dtype: str):
        width = config.dim // config.heads
        if width not in HEAD_WIDTHS or config.dim > WIDEST:
            raise Error(
                f"{dtype} has kernels for heads of width {', '.join(map(str, HEAD_WIDTHS))} in a model of width up to "
                f"{WIDEST}: this one has heads of {width} and width {config.dim}, use float32."
            )
        self.config, self.w, self.dw, self.layers, self.dtype = config, w, dw, layers, STORAGE[dtype]
        self.half_copy = HalfCopy(w, self.dtype)
        self.half = Views(shapes(config), self.half_copy.flat, step=ALIGN // w.flat.dtype.itemsize)
        names = [f"blocks.{i}." for i in range(config.depth)]
        self.blocks = [(w.under(n), self.half.under(n), dw.under(n)) for n in names]

    # -- the copy of the weights -------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Make the copy again if it is out of date, or may be: see `AnyEncoder`."""
        self.half_copy.refresh()

    def weights_changed(self) -> None:
        """The weights were written, and the copy was not."""
        self.half_copy.current, self.half_copy.in_training = False, False

    def weights_will_change(self) -> None:
        """A gradient was computed: who steps without `copy_to_update` need not say so."""
        self.half_copy.in_training = True

    def copy_to_update(self) -> Array:
        """The copy, flat. The caller must write the new weights to it: it counts as up to date from now on."""
        self.half_copy.current, self.half_copy.in_training = True, False
        return self.half_copy.flat

    def with_layers(self, layers: Any, dw: Views) -> "HalfEncoder":
        """The same weights with other attention functions and other gradients."""
        other = copy.copy(self)
        other.layers, other.dw = layers, dw
        other.blocks = [(w, half, dw.under(f"blocks.{i}.")) for i, (w, half, _) in enumerate(self.blocks)]
        return other

    # -- forward and backward ----------------------------------------------------------------------------------

    def embed_forward(self, x: Array, keep: Array | None = None) -> tuple[Array, Cache]:
        """x (B, T, F) float32, keep (B, n) or None -> tokens (B, P + N, D) float32, or those that stay"""
        c, w = self.config, self.w
        x, unfold = unfold_forward(x, c.fstride, c.tstride, dtype=self.dtype)  # (B, N, 256) in T
        x, linear = linear_forward(x, self.half["patch_embed.proj.weight"], dtype=np.float32)  # (B, N, D)
        prefix = [w[name] for name in prefix_names(c)]
        x, tokens = tokens_forward(x, prefix, w["pos_embed"], w["patch_embed.proj.bias"])  # (B, P + N, D)
        x, patchout = (x, None) if keep is None else patchout_forward(x, keep, c.prefix_tokens)  # (B, P + n, D)
        return x, (unfold, linear, tokens, patchout)

    def embed_backward(self, dx: tuple, cache: Cache, to_input: bool = False) -> Array | None:
        """Gradient of the stream -> of the log-mel (B, T, F) if `to_input`, else None"""
        dw, (unfold, linear, tokens, patchout) = self.dw, cache
        prefix, bias = [dw[name] for name in prefix_names(self.config)], dw["patch_embed.proj.bias"]
        d = dx[0] if patchout is None else patchout_backward(dx[0], patchout)
        d = tokens_backward(d, tokens, prefix, dw["pos_embed"], bias, self.dtype)
        d = linear_backward(d, linear, dw["patch_embed.proj.weight"], to_input=to_input)
        return unfold_backward(d, unfold) if to_input else None

    def block_forward(self, i: int, x: tuple | Array, prefix_only: bool = False) -> tuple[tuple, Cache]:
        """Block i.   x: the stream, or tokens (B, T, D) float32 -> the stream, of the prefix tokens if `prefix_only`"""
        w, half, _ = self.blocks[i]
        stream = x if isinstance(x, tuple) else (x, None, None)
        branch = np.dtype(np.float32) if i == self.config.depth - 1 else self.dtype
        forward = last_block_forward if prefix_only else block_forward
        return forward(self.layers, stream, w, half, self.config, self.dtype, branch)

    def block_backward(self, i: int, dx: tuple, cache: Cache, prefix_only: bool = False, lowest: bool = False) -> tuple:
        """Gradient of the stream after block i -> before it"""
        below = self._bias_below(i, lowest)
        backward = last_block_backward if prefix_only else block_backward
        return backward(self.layers, *dx, cache, self.blocks[i][2], below, self.config)

    def block_input(self, cache: Cache) -> Array:
        """The stream before a block, added up: (B, T, D) float32."""
        return cache[0][0]  # norm1's cache begins with it

    def norm_forward(self, stream: tuple) -> tuple[Array, Cache]:
        """The final layer norm.   -> (B, P, D), or all tokens, float32"""
        (_, x), cache = residual_norm_forward(
            *stream, self.w["norm.weight"], self.w["norm.bias"], self.config.encoder_eps, np.float32
        )
        return x, cache

    def _bias_below(self, i, lowest):
        """The gradient of the bias that is in the stream before block i; None if there is none to compute."""
        return self.dw[f"blocks.{i - 1}.mlp.fc2.bias"] if i and not lowest else None

    def norm_backward(self, dy: Array, cache: Cache, lowest: bool = False) -> tuple:
        """dy (B, P, D) float32 -> gradient of the stream"""
        dw, below = self.dw, self._bias_below(self.config.depth, lowest)
        dx, _ = residual_norm_backward(dy, None, cache, dw["norm.weight"], dw["norm.bias"], below)
        return dx, narrow(dx, self.dtype)


def block_forward(
    layers: Any, stream: tuple, w: dict, half: dict, c: ModelConfig, T: np.dtype, out: np.dtype
) -> tuple[tuple, Cache]:
    """(x, branch, bias) -> the same after attention and MLP, the branch of type `out`.   x (B, T, D) float32"""
    (x, n), norm1 = residual_norm_forward(*stream, w["norm1.weight"], w["norm1.bias"], c.encoder_eps, T)
    h, qkv = linear_forward(n, half["attn.qkv.weight"])  # (B, T, 3 D)
    h, attention = layers.attention_forward(h, c.heads, bias=w["attn.qkv.bias"])
    h, proj = linear_forward(h, half["attn.proj.weight"])
    stream, mlp = mlp_forward((x, h, w["attn.proj.bias"]), w, half, c, T, out)
    return stream, (norm1, qkv, attention, proj, mlp)


def block_backward(
    layers: Any, dx: Array, d: Array, cache: Cache, dw: dict, dbias: Array | None, c: ModelConfig
) -> tuple[Array, Array | None]:
    """Gradient of the stream, dx in float32 and d in T: after the block -> before it.

    dbias: gradient of the bias in the stream before the block, or None; it is added to.
    """
    norm1, qkv, attention, proj, mlp = cache
    dx, d = mlp_backward(dx, d, mlp, dw)
    dh = linear_backward(d, proj, dw["attn.proj.weight"])
    dh = layers.attention_backward(dh, attention, dbias=dw["attn.qkv.bias"])
    dh = linear_backward(dh, qkv, dw["attn.qkv.weight"])
    return residual_norm_backward(dh, dx, norm1, dw["norm1.weight"], dw["norm1.bias"], dbias)


def mlp_forward(
    stream: tuple, w: dict, half: dict, c: ModelConfig, T: np.dtype, out: np.dtype, prefix: int | None = None
) -> tuple[tuple, Cache]:
    """The MLP of all tokens, or of each clip's first `prefix`. The cache does not keep GELU's output (B, T, 4 D)."""
    norm = w["norm2.weight"], w["norm2.bias"], c.encoder_eps
    (x, n), norm2 = residual_norm_forward(*stream, *norm, T, prefix)
    h, fc1 = linear_forward(n, half["mlp.fc1.weight"])  # (B, T, 4 D)
    h, gelu = gelu_forward(h, c.gelu, w["mlp.fc1.bias"])
    h, (_, fc2) = linear_forward(h, half["mlp.fc2.weight"], dtype=out)
    return (x, h, w["mlp.fc2.bias"]), (norm2, fc1, gelu, fc2)


def mlp_backward(dx: Array, d: Array, cache: Cache, dw: dict) -> tuple[Array, Array | None]:
    """Gradient of the stream after the MLP -> before it. GELU's backward kernel recomputes GELU's output."""
    norm2, fc1, gelu, fc2 = cache
    dh, again = input_gradient(d, fc2), empty(gelu[0], gelu[0].shape)
    dh = gelu_backward(dh, gelu, dw["mlp.fc1.bias"], again)
    add_to_weight(d, again, dw["mlp.fc2.weight"])
    del again
    dh = linear_backward(dh, fc1, dw["mlp.fc1.weight"])
    return residual_norm_backward(dh, dx, norm2, dw["norm2.weight"], dw["norm2.bias"], dw["attn.proj.bias"])


def last_block_forward(
    layers: Any, stream: tuple, w: dict, half: dict, c: ModelConfig, T: np.dtype, out: np.dtype
) -> tuple[tuple, Cache]:
    """The block for the prefix tokens only; keys and values come from all tokens.   x (B, T, D) -> x (B, P, D)"""
    P, D = c.prefix_tokens, c.dim
    weight = half["attn.qkv.weight"]
    (x, n), norm1 = residual_norm_forward(*stream, w["norm1.weight"], w["norm1.bias"], c.encoder_eps, T)
    kv, keys = linear_forward(n, weight[D:])  # (B, T, 2 D)
    q = empty(n, (len(n), P, D))
    for p in range(P):  # the rows of one prefix token are one clip apart: a row stride that gemm accepts
        gemm(n[:, p], weight[:D].T, q[:, p])
    h, attention = layers.class_attention_forward(q, kv, c.heads, bias=w["attn.qkv.bias"])
    h, proj = linear_forward(h, half["attn.proj.weight"])
    stream, mlp = mlp_forward((x, h, w["attn.proj.bias"]), w, half, c, T, out, P)
    return stream, (norm1, weight[:D], keys, attention, proj, mlp)


def last_block_backward(
    layers: Any, dx: Array, d: Array, cache: Cache, dw: dict, dbias: Array | None, c: ModelConfig
) -> tuple[Array, Array | None]:
    """The same lines upwards.   dx (B, P, D) -> (B, T, D)"""
    norm1, query, keys, attention, proj, mlp = cache
    n, P, D = keys[0], c.prefix_tokens, c.dim
    dx, d = mlp_backward(dx, d, mlp, dw)
    dh = linear_backward(d, proj, dw["attn.proj.weight"])
    dq, dkv = layers.class_attention_backward(dh, attention)
    dweight, dqkv_bias = dw["attn.qkv.weight"], dw["attn.qkv.bias"]
    add_columns(rows(dq), dqkv_bias[:D])
    add_columns(rows(dkv), dqkv_bias[D:])
    dn = linear_backward(dkv, keys, dweight[D:])
    for p in range(P):
        gemm(dq[:, p].T, n[:, p], dweight[:D], float(adding() or p > 0))  # the second adds to the first
        gemm(dq[:, p], query, dn[:, p], 1.0)
    return residual_norm_backward(dn, dx, norm1, dw["norm1.weight"], dw["norm1.bias"], dbias)
