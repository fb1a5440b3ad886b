"""The Audio Spectrogram Transformer: composition only. Backward is forward's lines in reverse order.

Source: Gong, Chung, Glass, "AST: Audio Spectrogram Transformer", Interspeech 2021; encoder as in DeiT (pre-norm).
Gradients ADD to `model.dw`: call `zero_grad` before a new step.
"""

import numpy as np

from . import init
from .backend import choose, to_numpy
from .config import ModelConfig
from .errors import Error
from .params import Views, shapes, zeros

LOSSES = ("bce", "ce")


class AST:
    """x (B, T, F), normalised log-mel -> logits (B, K). Weights in `w`, gradients in `dw`, by the official names.

    config: ModelConfig. backend: see `backend.choose`. seed: of the initial weights; None leaves zeros to be filled.
    dtype: "float32", or "float64" for gradient checks on the numpy backend.
    """

    def __init__(self, config: ModelConfig, backend=None, seed=0, dtype="float32"):
        self.config, self.dtype = config, np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise Error(f'dtype is {dtype!r}: it must be "float32" or "float64".')
        self.backend, self.xp, self.ops = choose(backend)
        self.w = zeros(shapes(config), self.dtype, self.xp)
        self.dw = zeros(shapes(config), self.dtype, self.xp)
        names = [f"blocks.{i}." for i in range(config.depth)]
        self.blocks = [(self.w.under(name), self.dw.under(name)) for name in names]
        self.prefix = ["cls_token", "dist_token"][: config.prefix_tokens]
        if seed is not None:
            init.fresh(self, np.random.default_rng(seed))

    @property
    def parameters(self):
        """Number of weights, without the alignment gaps."""
        return sum(view.size for view in self.w.values())

    def layout(self, flat):
        """Another flat array (moments, a mask) seen under the weights' names."""
        return Views(shapes(self.config), flat)

    def zero_grad(self):
        self.dw.flat[...] = 0

    # -- forward -----------------------------------------------------------------------------------------------

    def forward(self, x):
        """Logits, nothing kept.   x (B, T, F) normalised -> (B, K) of this backend"""
        y, _ = self._head_forward(self._encode(x))
        return y

    def embed(self, x):
        """The mean of the prefix tokens after the final norm: what the head sees.   x (B, T, F) -> (B, D)"""
        return self.ops.pool_forward(self._encode(x), self.config.prefix_tokens)[0]

    def encode(self, x):
        """All tokens after the final norm, prefix tokens first.   x (B, T, F) -> (B, P + N, D)"""
        return self._encode(x)

    def _encode(self, x, tape=None):
        """Encoder forward; each layer's cache is appended to `tape`, if there is one."""
        c, w, ops = self.config, self.w, self.ops
        keep = (lambda cache: None) if tape is None else tape.append
        x = self._checked(x)
        x, cache = ops.unfold_forward(x, c.fstride, c.tstride)  # (B, N, 256)
        keep(cache)
        x, cache = ops.linear_forward(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"])  # (B, N, D)
        keep(cache)
        x, cache = ops.tokens_forward(x, [w[name] for name in self.prefix], w["pos_embed"])  # (B, P + N, D)
        keep(cache)
        for weights, _ in self.blocks:
            x, cache = block_forward(ops, x, weights, c)
            keep(cache)
        x, cache = ops.layernorm_forward(x, w["norm.weight"], w["norm.bias"], c.encoder_eps)
        keep(cache)
        return x

    def _head_forward(self, x):
        """x (B, P + N, D) -> logits (B, K)"""
        c, w, ops = self.config, self.w, self.ops
        x, pool = ops.pool_forward(x, c.prefix_tokens)  # (B, D)
        x, norm = ops.layernorm_forward(x, w["mlp_head.0.weight"], w["mlp_head.0.bias"], c.head_eps)
        x, last = ops.linear_forward(x, w["mlp_head.1.weight"], w["mlp_head.1.bias"])
        return x, (pool, norm, last)

    # -- backward ----------------------------------------------------------------------------------------------

    def loss_and_grad(self, x, y, loss="bce"):
        """One pass forward and back.   -> (loss as a float, logits (B, K)); gradients are added to `dw`.

        loss "bce": y (B, K) in [0, 1], mean over batch and classes. "ce": y (B,) whole numbers, or soft (B, K).
        """
        tape = []
        x = self._encode(x, tape)
        logits, head = self._head_forward(x)
        value, dlogits = self._loss(logits, y, loss)
        self._backward(dlogits, head, tape)
        return value, logits

    def input_grad(self, x, dlogits):
        """Gradient of sum(logits * dlogits) by the input, for saliency.   -> (B, T, F); adds to `dw` as well"""
        tape = []
        _, head = self._head_forward(self._encode(x, tape))
        return self._backward(self.xp.asarray(dlogits, self.dtype), head, tape, to_input=True)

    def _backward(self, dy, head, tape, to_input=False):
        dw, ops = self.dw, self.ops
        pool, norm, last = head
        dx = ops.linear_backward(dy, last, dw["mlp_head.1.weight"], dw["mlp_head.1.bias"])
        dx = ops.layernorm_backward(dx, norm, dw["mlp_head.0.weight"], dw["mlp_head.0.bias"])
        dx = ops.pool_backward(dx, pool)
        dx = ops.layernorm_backward(dx, tape.pop(), dw["norm.weight"], dw["norm.bias"])
        for _, grads in reversed(self.blocks):
            dx = block_backward(ops, dx, tape.pop(), grads)
        dx = ops.tokens_backward(dx, tape.pop(), [dw[name] for name in self.prefix], dw["pos_embed"])
        dx = ops.linear_backward(dx, tape.pop(), dw["patch_embed.proj.weight"], dw["patch_embed.proj.bias"])
        return ops.unfold_backward(dx, tape.pop()) if to_input else None

    def loss(self, logits, y, loss="bce"):
        """The loss alone, as a float."""
        return self._loss(logits, y, loss, backward=False)[0]

    def _loss(self, logits, y, loss, backward=True):
        if loss not in LOSSES:
            raise Error(f'loss is {loss!r}: it must be "bce" or "ce".')
        ops, shape, y = self.ops, logits.shape, self.xp.asarray(y)
        soft = y.shape == shape
        if soft:
            y = y.astype(self.dtype, copy=False)
        elif loss == "bce" or y.shape != shape[:1] or y.dtype.kind not in "iu":
            wanted = f"{shape}" + (f" or whole numbers {shape[:1]}" if loss == "ce" else "")
            raise Error(f"targets are {y.dtype} {y.shape}: loss {loss!r} for logits {shape} needs {wanted}.")
        elif y.size and not 0 <= int(y.min()) <= int(y.max()) < shape[1]:
            raise Error(
                f"targets reach from {int(y.min())} to {int(y.max())}: the model has classes 0 to {shape[1] - 1}."
            )
        value, cache = (ops.bce_forward if loss == "bce" else ops.ce_forward)(logits, y)
        grad = (ops.bce_backward if loss == "bce" else ops.ce_backward)(cache) if backward else None
        return float(value), grad

    def _checked(self, x):
        c = self.config
        if getattr(x, "ndim", None) != 3 or x.shape[1:] != (c.frames, c.mel_bins):
            raise Error(
                f"the input has shape {getattr(x, 'shape', type(x).__name__)}: this model takes "
                f"(clips, {c.frames} frames, {c.mel_bins} mel bins)."
            )
        return self.xp.asarray(x, self.dtype)

    def numpy(self, array):
        """A NumPy array of any result of this model."""
        return to_numpy(array)


def block_forward(ops, x, w, c):
    """Pre-norm: x += proj(attention(norm1(x))), then x += fc2(gelu(fc1(norm2(x)))).   x (B, T, D) -> (B, T, D)"""
    h, norm1 = ops.layernorm_forward(x, w["norm1.weight"], w["norm1.bias"], c.encoder_eps)
    h, qkv = ops.linear_forward(h, w["attn.qkv.weight"], w["attn.qkv.bias"])  # (B, T, 3 D)
    h, attention = ops.attention_forward(h, c.heads)
    h, proj = ops.linear_forward(h, w["attn.proj.weight"], w["attn.proj.bias"])
    x = x + h
    h, norm2 = ops.layernorm_forward(x, w["norm2.weight"], w["norm2.bias"], c.encoder_eps)
    h, fc1 = ops.linear_forward(h, w["mlp.fc1.weight"], w["mlp.fc1.bias"])  # (B, T, 4 D)
    h, gelu = ops.gelu_forward(h, c.gelu)
    h, fc2 = ops.linear_forward(h, w["mlp.fc2.weight"], w["mlp.fc2.bias"])
    x = x + h
    return x, (norm1, qkv, attention, proj, norm2, fc1, gelu, fc2)


def block_backward(ops, dx, cache, dw):
    """The same lines upwards; a residual passes the gradient on and adds the branch's.   dx (B, T, D) -> (B, T, D)"""
    norm1, qkv, attention, proj, norm2, fc1, gelu, fc2 = cache
    dh = ops.linear_backward(dx, fc2, dw["mlp.fc2.weight"], dw["mlp.fc2.bias"])
    dh = ops.gelu_backward(dh, gelu)
    dh = ops.linear_backward(dh, fc1, dw["mlp.fc1.weight"], dw["mlp.fc1.bias"])
    dx = dx + ops.layernorm_backward(dh, norm2, dw["norm2.weight"], dw["norm2.bias"])
    dh = ops.linear_backward(dx, proj, dw["attn.proj.weight"], dw["attn.proj.bias"])
    dh = ops.attention_backward(dh, attention)
    dh = ops.linear_backward(dh, qkv, dw["attn.qkv.weight"], dw["attn.qkv.bias"])
    return dx + ops.layernorm_backward(dh, norm1, dw["norm1.weight"], dw["norm1.bias"])
