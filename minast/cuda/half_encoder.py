"""The encoder in 16 bits: encoder.py's lines, with kernels that make one pass of several.

What a product reads or writes is 16 bits wide: tokens after a norm, qkv, attention's output, the inside of the MLP, and
the copy of the weights. float32 are the weights themselves, their gradients, all statistics, the head and the loss --
and the residual stream with its gradient. That is a sum of 24 branches, each a small part of it; in bfloat16 each
addition would round the whole of it, by up to 1/256. No product reads it, so its width costs memory alone: 2 bytes more
a number, in two arrays a block, and in the passes over them.

The stream between two layers is (x, branch, bias): x + branch + bias, not added up yet. The next norm's kernel does it.
Its gradient is (dx float32, the same in T), T the 16-bit type.
"""

import copy

import numpy as np

from ..config import ModelConfig
from ..errors import Error
from ..gpu.memory import empty
from ..layers import array_module
from ..params import ALIGN, Views, prefix_names, shapes
from . import add_columns, gelu_backward, gelu_forward, tokens_backward, tokens_forward, unfold_backward, unfold_forward
from .common import HEAD_WIDTHS
from .gemm import gemm
from .half import (
    STORAGE,
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


class HalfEncoder:
    """The interface of `encoder.Encoder`, from kernels of 16-bit types, and the 16-bit copy of the weights.

    config: ModelConfig. w, dw: Views (float32) of the weights and of their gradients. layers: the attention functions,
      those of this package (explain.py brings others, to look at them). dtype: "float16" or "bfloat16".
    Raises minast.Error for a head width or a width that no kernel has.
    """

    def __init__(self, config: ModelConfig, w: Views, dw: Views, layers, dtype: str):
        width = config.dim // config.heads
        if width not in HEAD_WIDTHS or config.dim > WIDEST:
            raise Error(
                f"{dtype} has kernels for heads of width {', '.join(map(str, HEAD_WIDTHS))} in a model of width up to "
                f"{WIDEST}: this one has heads of {width} and width {config.dim}, use float32."
            )
        self.config, self.w, self.dw, self.layers, self.dtype = config, w, dw, layers, STORAGE[dtype]
        self.flat, self.current = array_module(w.flat).zeros(w.flat.shape, self.dtype), False
        self.half = Views(shapes(config), self.flat, step=ALIGN // w.flat.dtype.itemsize)
        names = [f"blocks.{i}." for i in range(config.depth)]
        self.blocks = [(w.under(n), self.half.under(n), dw.under(n)) for n in names]

    # -- the copy of the weights -------------------------------------------------------------------------------

    def weights_changed(self):
        """The weights were written to by others than an optimizer that updates the copy."""
        self.current = False

    def refresh(self):
        """Bring the copy up to date."""
        if not self.current:
            narrow(self.w.flat, self.dtype, self.flat)
            self.current = True

    def copy_to_update(self):
        """The copy, flat: who asks for it promises to write the new weights to it."""
        self.current = True
        return self.flat

    def with_layers(self, layers, dw):
        """The same encoder with other attention functions and other gradients."""
        other = copy.copy(self)
        other.layers, other.dw = layers, dw
        other.blocks = [(w, half, dw.under(f"blocks.{i}.")) for i, (w, half, _) in enumerate(self.blocks)]
        return other

    # -- forward and backward ----------------------------------------------------------------------------------

    def embed_forward(self, x):
        """x (B, T, F) float32 -> tokens (B, P + N, D) float32"""
        c, w = self.config, self.w
        x, unfold = unfold_forward(x, c.fstride, c.tstride, dtype=self.dtype)  # (B, N, 256) in T
        x, linear = linear_forward(x, self.half["patch_embed.proj.weight"], dtype=np.float32)  # (B, N, D)
        prefix = [w[name] for name in prefix_names(c)]
        x, tokens = tokens_forward(x, prefix, w["pos_embed"], w["patch_embed.proj.bias"])  # (B, P + N, D)
        return x, (unfold, linear, tokens)

    def embed_backward(self, dx, cache, to_input=False):
        """Gradient of the stream -> of the log-mel (B, T, F) if `to_input`, else None"""
        dw, (unfold, linear, tokens) = self.dw, cache
        prefix, bias = [dw[name] for name in prefix_names(self.config)], dw["patch_embed.proj.bias"]
        d = tokens_backward(dx[0], tokens, prefix, dw["pos_embed"], bias, self.dtype)
        d = linear_backward(d, linear, dw["patch_embed.proj.weight"], to_input=to_input)
        return unfold_backward(d, unfold) if to_input else None

    def block_forward(self, i, x, prefix_only=False):
        """x: the stream, or tokens (B, T, D) float32 -> the stream"""
        w, half, _ = self.blocks[i]
        stream = x if isinstance(x, tuple) else (x, None, None)
        branch = np.dtype(np.float32) if i == self.config.depth - 1 else self.dtype
        forward = last_block_forward if prefix_only else block_forward
        return forward(self.layers, stream, w, half, self.config, self.dtype, branch)

    def block_backward(self, i, dx, cache):
        """Gradient of the stream after block i -> before it"""
        below = self.dw[f"blocks.{i - 1}.mlp.fc2.bias"] if i else None  # the bias that waits in front of the block
        backward = last_block_backward if len(cache) == 6 else block_backward
        return backward(self.layers, *dx, cache, self.blocks[i][2], below, self.config)

    def block_input(self, cache):
        """The stream in front of a block, added up: (B, T, D) float32."""
        return cache[0][0]  # norm1's cache begins with it

    def norm_forward(self, stream):
        """The final layer norm.   -> (B, P, D), or all tokens, float32"""
        (_, x), cache = residual_norm_forward(
            *stream, self.w["norm.weight"], self.w["norm.bias"], self.config.encoder_eps, np.float32
        )
        return x, cache

    def norm_backward(self, dy, cache):
        """dy (B, P, D) float32 -> gradient of the stream"""
        dw, below = self.dw, self.dw[f"blocks.{self.config.depth - 1}.mlp.fc2.bias"]
        dx, _ = residual_norm_backward(dy, None, cache, dw["norm.weight"], dw["norm.bias"], below)
        return dx, narrow(dx, self.dtype)


def block_forward(layers, stream, w, half, c, T, out):
    """(x, branch, bias) -> the same after attention and MLP, the branch of type `out`.   x (B, T, D) float32"""
    (x, n), norm1 = residual_norm_forward(*stream, w["norm1.weight"], w["norm1.bias"], c.encoder_eps, T)
    h, qkv = linear_forward(n, half["attn.qkv.weight"])  # (B, T, 3 D)
    h, attention = layers.attention_forward(h, c.heads, bias=w["attn.qkv.bias"])
    h, proj = linear_forward(h, half["attn.proj.weight"])
    stream, mlp = mlp_forward((x, h, w["attn.proj.bias"]), w, half, c, T, out)
    return stream, (norm1, qkv, attention, proj, mlp)


def block_backward(layers, dx, d, cache, dw, dbias, c):
    """Gradient of the stream, float32, and of the branch, in T: after the block -> before it.

    dbias: gradient of the bias that waits in front of the block, or None; it is added to.
    """
    norm1, qkv, attention, proj, mlp = cache
    dx, d = mlp_backward(dx, d, mlp, dw)
    dh = linear_backward(d, proj, dw["attn.proj.weight"])
    dh = layers.attention_backward(dh, attention, dbias=dw["attn.qkv.bias"])
    dh = linear_backward(dh, qkv, dw["attn.qkv.weight"])
    return residual_norm_backward(dh, dx, norm1, dw["norm1.weight"], dw["norm1.bias"], dbias)


def mlp_forward(stream, w, half, c, T, out, prefix=None):
    """The MLP of all tokens, or of each clip's first `prefix`. GELU's output, the widest array, is not kept."""
    norm = w["norm2.weight"], w["norm2.bias"], c.encoder_eps
    (x, n), norm2 = residual_norm_forward(*stream, *norm, T, prefix)
    h, fc1 = linear_forward(n, half["mlp.fc1.weight"])  # (B, T, 4 D)
    h, gelu = gelu_forward(h, c.gelu, w["mlp.fc1.bias"])
    h, (_, fc2) = linear_forward(h, half["mlp.fc2.weight"], dtype=out)
    return (x, h, w["mlp.fc2.bias"]), (norm2, fc1, gelu, fc2)


def mlp_backward(dx, d, cache, dw):
    norm2, fc1, gelu, fc2 = cache
    dh, again = input_gradient(d, fc2), empty(gelu[0], gelu[0].shape)
    dh = gelu_backward(dh, gelu, dw["mlp.fc1.bias"], again)
    add_to_weight(d, again, dw["mlp.fc2.weight"])
    del again
    dh = linear_backward(dh, fc1, dw["mlp.fc1.weight"])
    return residual_norm_backward(dh, dx, norm2, dw["norm2.weight"], dw["norm2.bias"], dw["attn.proj.bias"])


def last_block_forward(layers, stream, w, half, c, T, out):
    """The same for the prefix tokens alone; keys and values come from all tokens.   x (B, T, D) -> x (B, P, D)"""
    P, D = c.prefix_tokens, c.dim
    weight = half["attn.qkv.weight"]
    (x, n), norm1 = residual_norm_forward(*stream, w["norm1.weight"], w["norm1.bias"], c.encoder_eps, T)
    kv, keys = linear_forward(n, weight[D:])  # (B, T, 2 D)
    q = empty(n, (len(n), P, D))
    for p in range(P):  # rows of one prefix token lie a clip apart, which a product takes as it is
        gemm(n[:, p], weight[:D].T, q[:, p])
    h, attention = layers.class_attention_forward(q, kv, c.heads, bias=w["attn.qkv.bias"])
    h, proj = linear_forward(h, half["attn.proj.weight"])
    stream, mlp = mlp_forward((x, h, w["attn.proj.bias"]), w, half, c, T, out, P)
    return stream, (norm1, weight[:D], keys, attention, proj, mlp)


def last_block_backward(layers, dx, d, cache, dw, dbias, c):
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
        gemm(dq[:, p].T, n[:, p], dweight[:D], 1.0)
        gemm(dq[:, p], query, dn[:, p], 1.0)
    return residual_norm_backward(dn, dx, norm1, dw["norm1.weight"], dw["norm1.bias"], dbias)
