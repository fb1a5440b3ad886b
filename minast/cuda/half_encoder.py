"""The encoder in 16 bits: blocks.py's lines, with the kernels that make one pass of several.

What a product reads or writes is 16 bits wide: tokens after a norm, qkv, attention's output, the inside of the MLP, and
the copy of the weights. float32 are the weights themselves, their gradients, all statistics, the head and the loss --
and the residual stream with its gradient. That is a sum of 24 branches, each a small part of it; in bfloat16 each
addition would round the whole of it, by up to 1/256. No product reads it, so its width costs memory alone: 2 bytes more
a number, in two arrays a block, and in the passes over them.

The stream between two layers is (x, branch, bias): x + branch + bias, not added up yet. The next norm's kernel does it.
"""

import numpy as np

from ..errors import Error
from ..gpu.memory import empty
from ..params import ALIGN, Views, shapes
from . import (
    add_columns,
    attention_backward,
    attention_forward,
    class_attention_backward,
    class_attention_forward,
    gelu_backward,
    gelu_forward,
    tokens_backward,
    tokens_forward,
    unfold_backward,
    unfold_forward,
)
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


class Encoder:
    """Forward and backward of one model's encoder, and the 16-bit copy of its weights.

    weights: Views (float32), dw: Views of the gradients; dtype: "float16" or "bfloat16".
    """

    def __init__(self, config, weights, dw, xp, dtype):
        width = config.dim // config.heads
        if width not in HEAD_WIDTHS or config.dim > WIDEST:
            raise Error(
                f"{dtype} has kernels for heads of width {', '.join(map(str, HEAD_WIDTHS))} in a model of width up to "
                f"{WIDEST}: this one has heads of {width} and width {config.dim}, use float32."
            )
        self.config, self.w, self.dw, self.dtype = config, weights, dw, STORAGE[dtype]
        self.flat, self.current = xp.zeros(weights.flat.shape, self.dtype), False
        self.half = Views(shapes(config), self.flat, step=ALIGN // weights.flat.dtype.itemsize)
        self.prefix = ["cls_token", "dist_token"][: config.prefix_tokens]
        names = [f"blocks.{i}." for i in range(config.depth)]
        self.blocks = [(weights.under(n), self.half.under(n), dw.under(n)) for n in names]

    def refresh(self):
        """The copy as the weights are now."""
        if not self.current:
            narrow(self.w.flat, self.dtype, self.flat)
            self.current = True

    def forward(self, x, tape, pruned, again):
        """x (B, T, F) float32 -> tokens after the final norm, float32: (B, P, D) if pruned, else (B, P + N, D)

        `tape` (a list, or None) gets each layer's cache; `again`: of a block, only what it takes to make it again.
        """
        c, w = self.config, self.w
        keep = (lambda cache: None) if tape is None else tape.append
        x, cache = unfold_forward(x, c.fstride, c.tstride, dtype=self.dtype)  # (B, N, 256) in T
        keep(cache)
        x, cache = linear_forward(x, self.half["patch_embed.proj.weight"], dtype=np.float32)
        keep(cache)
        prefix = [w[name] for name in self.prefix]
        x, cache = tokens_forward(x, prefix, w["pos_embed"], w["patch_embed.proj.bias"])  # (B, P + N, D) float32
        keep(cache)
        stream = x, None, None
        for i in range(c.depth):
            stream, cache = self._block(i, stream, pruned)
            keep(cache[0][:1] if again else cache)  # norm1's cache begins with the block's input
        norm = w["norm.weight"], w["norm.bias"], c.encoder_eps
        (_, x), cache = residual_norm_forward(*stream, *norm, np.float32)
        keep(cache)
        return x

    def backward(self, dx, tape, to_input):
        """dx (B, P, D) float32, of the pruned forward pass; adds to dw. -> dx (B, T, F) if `to_input`"""
        dw, c = self.dw, self.config
        below = dw[f"blocks.{c.depth - 1}.mlp.fc2.bias"]
        dx, _ = residual_norm_backward(dx, None, tape.pop(), dw["norm.weight"], dw["norm.bias"], below)
        d = narrow(dx, self.dtype)
        for i in reversed(range(c.depth)):
            cache = tape.pop()
            if len(cache) == 1:
                _, cache = self._block(i, (cache[0], None, None), pruned=True)
            backward = last_block_backward if i == c.depth - 1 else block_backward
            below = dw[f"blocks.{i - 1}.mlp.fc2.bias"] if i else None
            dx, d = backward(dx, d, cache, self.blocks[i][2], below, c)
        prefix, bias = [dw[name] for name in self.prefix], dw["patch_embed.proj.bias"]
        d = tokens_backward(dx, tape.pop(), prefix, dw["pos_embed"], bias, self.dtype)
        d = linear_backward(d, tape.pop(), dw["patch_embed.proj.weight"], to_input=to_input)
        return unfold_backward(d, tape.pop()) if to_input else None

    def _block(self, i, stream, pruned):
        w, half, _ = self.blocks[i]
        last = i == self.config.depth - 1
        forward = last_block_forward if last and pruned else block_forward
        return forward(stream, w, half, self.config, self.dtype, np.dtype(np.float32) if last else self.dtype)


def block_forward(stream, w, half, c, T, out):
    """(x, branch, bias) -> the same after attention and MLP, the branch of type `out`.   x (B, T, D) float32"""
    (x, n), norm1 = residual_norm_forward(*stream, w["norm1.weight"], w["norm1.bias"], c.encoder_eps, T)
    h, qkv = linear_forward(n, half["attn.qkv.weight"])  # (B, T, 3 D)
    h, attention = attention_forward(h, c.heads, bias=w["attn.qkv.bias"])
    h, proj = linear_forward(h, half["attn.proj.weight"])
    stream, mlp = mlp_forward((x, h, w["attn.proj.bias"]), w, half, c, T, out)
    return stream, (norm1, qkv, attention, proj, mlp)


def block_backward(dx, d, cache, dw, dbias, c):
    """Gradient of the stream, float32, and of the branch, in T: after the block -> before it.

    dbias: gradient of the bias that waits in front of the block, or None; it is added to.
    """
    norm1, qkv, attention, proj, mlp = cache
    dx, d = mlp_backward(dx, d, mlp, dw)
    dh = linear_backward(d, proj, dw["attn.proj.weight"])
    dh = attention_backward(dh, attention, dbias=dw["attn.qkv.bias"])
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


def last_block_forward(stream, w, half, c, T, out):
    """The same for the prefix tokens alone; keys and values come from all tokens.   x (B, T, D) -> x (B, P, D)"""
    P, D = c.prefix_tokens, c.dim
    weight = half["attn.qkv.weight"]
    (x, n), norm1 = residual_norm_forward(*stream, w["norm1.weight"], w["norm1.bias"], c.encoder_eps, T)
    kv, keys = linear_forward(n, weight[D:])  # (B, T, 2 D)
    q = empty(n, (len(n), P, D))
    for p in range(P):  # rows of one prefix token lie a clip apart, which a product takes as it is
        gemm(n[:, p], weight[:D].T, q[:, p])
    h, attention = class_attention_forward(q, kv, c.heads, w["attn.qkv.bias"])
    h, proj = linear_forward(h, half["attn.proj.weight"])
    stream, mlp = mlp_forward((x, h, w["attn.proj.bias"]), w, half, c, T, out, P)
    return stream, (norm1, weight[:D], keys, attention, proj, mlp)


def last_block_backward(dx, d, cache, dw, dbias, c):
    """The same lines upwards.   dx (B, P, D) -> (B, T, D)"""
    norm1, query, keys, attention, proj, mlp = cache
    n, P, D = keys[0], c.prefix_tokens, c.dim
    dx, d = mlp_backward(dx, d, mlp, dw)
    dh = linear_backward(d, proj, dw["attn.proj.weight"])
    dq, dkv = class_attention_backward(dh, attention)
    dweight, dqkv_bias = dw["attn.qkv.weight"], dw["attn.qkv.bias"]
    add_columns(rows(dq), dqkv_bias[:D])
    add_columns(rows(dkv), dqkv_bias[D:])
    dn = linear_backward(dkv, keys, dweight[D:])
    for p in range(P):
        gemm(dq[:, p].T, n[:, p], dweight[:D], 1.0)
        gemm(dq[:, p], query, dn[:, p], 1.0)
    return residual_norm_backward(dn, dx, norm1, dw["norm1.weight"], dw["norm1.bias"], dbias)
