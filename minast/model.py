"""The Audio Spectrogram Transformer: composition only. Backward is forward's lines in reverse order.

Source: Gong, Chung, Glass, "AST: Audio Spectrogram Transformer", Interspeech 2021; encoder as in DeiT (pre-norm).
Gradients ADD to `model.dw`: call `zero_grad` before a new step.
"""

import numpy as np

from . import init
from .backend import choose, to_numpy
from .blocks import block_backward, block_forward, last_block_backward, last_block_forward
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
        return self._in_parts(lambda x: self._head_forward(self._encode(x))[0], x)

    def embed(self, x):
        """The mean of the prefix tokens after the final norm: what the head sees.   x (B, T, F) -> (B, D)"""
        return self._in_parts(lambda x: self.ops.pool_forward(self._encode(x), self.config.prefix_tokens)[0], x)

    def encode(self, x):
        """All tokens after the final norm, prefix tokens first.   x (B, T, F) -> (B, P + N, D)"""
        return self._in_parts(lambda x: self._encode(x, pruned=False), x)

    def _in_parts(self, function, x):
        """function(x), of as many clips at once as the backend likes; clips do not see each other."""
        x = self._checked(x)
        parts = [function(x[part]) for part in self._parts(len(x))]
        return parts[0] if len(parts) == 1 else self.xp.concatenate(parts)

    def _parts(self, clips):
        """range(clips) in nearly equal slices of at most `ops.NUMBERS` tokens x width, at least a clip each."""
        numbers, clip = getattr(self.ops, "NUMBERS", None), self.config.tokens * self.config.dim
        n = min(clips, -(-clips * clip // numbers)) if numbers and clips else 1
        return [slice(clips * i // n, clips * (i + 1) // n) for i in range(n)]

    def _encode(self, x, tape=None, pruned=True):
        """Encoder forward; each layer's cache is appended to `tape`, if there is one.

        Only the prefix tokens of the last block are read by the head. `pruned`: only they are computed -> (B, P, D).
        """
        c, w, ops = self.config, self.w, self.ops
        keep = (lambda cache: None) if tape is None else tape.append
        x, cache = ops.unfold_forward(x, c.fstride, c.tstride)  # (B, N, 256)
        keep(cache)
        x, cache = ops.linear_forward(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"])  # (B, N, D)
        keep(cache)
        x, cache = ops.tokens_forward(x, [w[name] for name in self.prefix], w["pos_embed"])  # (B, P + N, D)
        keep(cache)
        for i, (weights, _) in enumerate(self.blocks):
            forward = last_block_forward if pruned and i == c.depth - 1 else block_forward
            x, cache = forward(ops, x, weights, c)
            keep(cache)
        x, cache = ops.layernorm_forward(x, w["norm.weight"], w["norm.bias"], c.encoder_eps)
        keep(cache)
        return x

    def _head_forward(self, x):
        """x (B, P + N, D), or the prefix alone (B, P, D) -> logits (B, K)"""
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
        x = self._checked(x)
        y = self._targets(y, (len(x), self.config.classes), loss)
        total, logits = 0.0, []
        for part in self._parts(len(x)):
            tape, share = [], (part.stop - part.start) / len(x)  # the loss is a mean over all clips
            out, head = self._head_forward(self._encode(x[part], tape))
            value, dlogits = self._loss(out, y[part], loss)
            dlogits *= share
            self._backward(dlogits, head, tape)
            total += share * value
            logits.append(out)
        return total, logits[0] if len(logits) == 1 else self.xp.concatenate(logits)

    def input_grad(self, x, dlogits):
        """Gradient of sum(logits * dlogits) by the input, for saliency.   -> (B, T, F); adds to `dw` as well"""
        tape = []
        _, head = self._head_forward(self._encode(self._checked(x), tape))
        return self._backward(self.xp.asarray(dlogits, self.dtype), head, tape, to_input=True)

    def _backward(self, dy, head, tape, to_input=False):
        dw, ops = self.dw, self.ops
        pool, norm, last = head
        dx = ops.linear_backward(dy, last, dw["mlp_head.1.weight"], dw["mlp_head.1.bias"])
        dx = ops.layernorm_backward(dx, norm, dw["mlp_head.0.weight"], dw["mlp_head.0.bias"])
        dx = ops.pool_backward(dx, pool)
        dx = ops.layernorm_backward(dx, tape.pop(), dw["norm.weight"], dw["norm.bias"])
        for i, (weights, grads) in reversed(list(enumerate(self.blocks))):
            backward = last_block_backward if i == self.config.depth - 1 else block_backward
            dx = backward(ops, dx, tape.pop(), weights, grads, self.config)
        dx = ops.tokens_backward(dx, tape.pop(), [dw[name] for name in self.prefix], dw["pos_embed"])
        dx = ops.linear_backward(dx, tape.pop(), dw["patch_embed.proj.weight"], dw["patch_embed.proj.bias"])
        return ops.unfold_backward(dx, tape.pop()) if to_input else None

    def loss(self, logits, y, loss="bce"):
        """The loss alone, as a float."""
        return self._loss(logits, self._targets(y, logits.shape, loss), loss, backward=False)[0]

    def _loss(self, logits, y, loss, backward=True):
        ops = self.ops
        value, cache = (ops.bce_forward if loss == "bce" else ops.ce_forward)(logits, y)
        grad = (ops.bce_backward if loss == "bce" else ops.ce_backward)(cache) if backward else None
        return float(value), grad

    def _targets(self, y, shape, loss):
        """`y` as this backend's array, if it is what `loss` needs for logits of `shape`."""
        if loss not in LOSSES:
            raise Error(f'loss is {loss!r}: it must be "bce" or "ce".')
        y = self.xp.asarray(y)
        if y.shape == shape:
            return y.astype(self.dtype, copy=False)
        if loss == "bce" or y.shape != shape[:1] or y.dtype.kind not in "iu":
            wanted = f"{shape}" + (f" or whole numbers {shape[:1]}" if loss == "ce" else "")
            raise Error(f"targets are {y.dtype} {y.shape}: loss {loss!r} for logits {shape} needs {wanted}.")
        if y.size and not 0 <= int(y.min()) <= int(y.max()) < shape[1]:
            raise Error(
                f"targets reach from {int(y.min())} to {int(y.max())}: the model has classes 0 to {shape[1] - 1}."
            )
        return y

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
