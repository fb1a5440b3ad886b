"""The Audio Spectrogram Transformer: composition only. Backward is forward's lines in reverse order.

Source: Gong, Chung, Glass, "AST: Audio Spectrogram Transformer", Interspeech 2021; encoder as in DeiT (pre-norm).
Gradients ADD to `model.dw`: call `zero_grad` before a new step.
"""

import numpy as np

from . import init
from .backend import choose, to_numpy
from .config import ModelConfig
from .encoder import block_backward, block_forward, last_block_backward, last_block_forward
from .errors import Error
from .gpu.executor import Runner
from .params import Views, Watched, shapes, zeros

LOSSES = ("bce", "ce")
NARROW = ("float16", "bfloat16")


def checked_dtype(dtype, backend):
    """The name of a dtype that the backend of this name has, or Error."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in ("float32", "float64", *NARROW):
        raise Error(f"dtype is {name!r}: it must be float32, float64, float16 or bfloat16.")
    if name in NARROW and backend not in ("cuda", "emulator"):
        raise Error(f"dtype {name} is for the backends cuda and emulator, this is {backend}: use float32.")
    return name


class AST:
    """x (B, T, F), normalised log-mel -> logits (B, K). Weights in `w`, gradients in `dw`, by the official names.

    config: ModelConfig. backend: see `backend.choose`. seed: of the initial weights; None leaves zeros to be filled.
    dtype: "float32"; "float64" for gradient checks on the numpy backend; "bfloat16" or "float16" on the backends cuda
      and emulator: the encoder computes in 16 bits (half_encoder.py) from a copy of the weights, which stay float32.
      To change those, fetch the view anew, as in `model.w[name][...] = value`: so the copy is known to be old.
    recompute: of a block, keep its input alone, and make the rest again in the backward pass: the same gradients.
    replay: on the backend cuda, a pass whose shapes come again is recorded as a CUDA graph and replayed (graph.py).
    """

    def __init__(self, config: ModelConfig, backend=None, seed=0, dtype="float32", recompute=False, replay=False):
        self.config, self.recompute, self.replay = config, recompute, replay
        self.backend, self.xp, self.ops = choose(backend)
        self.computes = checked_dtype(dtype, self.backend)
        narrow = self.computes in NARROW
        self.dtype = np.dtype("float32" if narrow else self.computes)
        self._w = zeros(shapes(config), self.dtype, self.xp)
        self.w = Watched(self._w) if narrow else self._w
        self.dw = zeros(shapes(config), self.dtype, self.xp)
        names = [f"blocks.{i}." for i in range(config.depth)]
        self.blocks = [(self._w.under(name), self.dw.under(name)) for name in names]
        self.prefix = ["cls_token", "dist_token"][: config.prefix_tokens]
        self.encoder = None
        if narrow:
            from .cuda.half_encoder import Encoder

            self.encoder = Encoder(config, self._w, self.dw, self.xp, self.computes)
        self.runner = Runner(self.xp, self._has_kernels())
        if seed is not None:
            init.fresh(self, np.random.default_rng(seed))

    @property
    def parameters(self):
        """Number of weights, without the alignment gaps."""
        return sum(view.size for view in self._w.values())

    def layout(self, flat):
        """Another flat array (moments, a mask) seen under the weights' names."""
        return Views(shapes(self.config), flat)

    def zero_grad(self):
        self.dw.flat[...] = 0

    def copy_to_update(self):
        """The 16-bit copy of the weights, flat, or None: an optimizer that asks for it writes the new weights to it."""
        if self.encoder is None:
            return None
        self.encoder.current = not self.w.asked
        return self.encoder.flat

    def _has_kernels(self):
        """Whether kernels do all of a pass: then its memory can be planned by running it dry, in a blink."""
        if self.backend not in ("cuda", "emulator") or self.dtype != np.float32:
            return False
        return self.ops.fits(self.config.dim, self.config.heads)

    def refresh(self):
        """Bring the 16-bit copy of the weights up to date, if there is one and the weights may have changed."""
        if self.encoder is not None:
            self.encoder.current, self.w.asked = self.encoder.current and not self.w.asked, False
            self.encoder.refresh()

    # -- forward -----------------------------------------------------------------------------------------------

    def forward(self, x):
        """Logits, nothing kept.   x (B, T, F) normalised -> (B, K) of this backend"""
        return self._in_parts("_logits", x)

    def embed(self, x):
        """The mean of the prefix tokens after the final norm: what the head sees.   x (B, T, F) -> (B, D)"""
        return self._in_parts("_pooled", x)

    def encode(self, x):
        """All tokens after the final norm, prefix tokens first.   x (B, T, F) -> (B, P + N, D)"""
        return self._in_parts("_tokens", x)

    def _in_parts(self, name, x):
        """A pass (a method's name) over as many clips at once as the backend likes; clips do not see each other."""
        x = self._checked(x)
        parts = [self.runner(self, name, x[part])[0] for part in self._parts(len(x))]
        return parts[0] if len(parts) == 1 else self.xp.concatenate(parts)

    def _logits(self, x):
        return (self._head_forward(self._encode(x))[0],)

    def _pooled(self, x):
        return (self.ops.pool_forward(self._encode(x), self.config.prefix_tokens)[0],)

    def _tokens(self, x):
        return (self._encode(x, pruned=False),)

    def _parts(self, clips, least=1):
        """range(clips) in `least` or more nearly equal slices of at most `ops.NUMBERS` tokens x width, if a clip is"""
        numbers, clip = getattr(self.ops, "NUMBERS", None), self.config.tokens * self.config.dim
        n = max(1, min(clips, max(least, -(-clips * clip // numbers) if numbers else 1)))
        return [slice(clips * i // n, clips * (i + 1) // n) for i in range(n)]

    def _encode(self, x, tape=None, pruned=True):
        """Encoder forward; each layer's cache is appended to `tape`, if there is one.

        Only the prefix tokens of the last block are read by the head. `pruned`: only they are computed -> (B, P, D).
        """
        c, w, ops = self.config, self._w, self.ops
        if self.encoder is not None:
            return self.encoder.forward(x, tape, pruned, self.recompute)
        keep = (lambda cache: None) if tape is None else tape.append
        x, cache = ops.unfold_forward(x, c.fstride, c.tstride)  # (B, N, 256)
        keep(cache)
        x, cache = ops.linear_forward(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"])  # (B, N, D)
        keep(cache)
        x, cache = ops.tokens_forward(x, [w[name] for name in self.prefix], w["pos_embed"])  # (B, P + N, D)
        keep(cache)
        for i, (weights, _) in enumerate(self.blocks):
            forward = last_block_forward if pruned and i == c.depth - 1 else block_forward
            kept = x
            x, cache = forward(ops, x, weights, c)
            keep(kept if self.recompute else cache)
        x, cache = ops.layernorm_forward(x, w["norm.weight"], w["norm.bias"], c.encoder_eps)
        keep(cache)
        return x

    def _head_forward(self, x):
        """x (B, P + N, D), or the prefix alone (B, P, D) -> logits (B, K)"""
        c, w, ops = self.config, self._w, self.ops
        x, pool = ops.pool_forward(x, c.prefix_tokens)  # (B, D)
        x, norm = ops.layernorm_forward(x, w["mlp_head.0.weight"], w["mlp_head.0.bias"], c.head_eps)
        x, last = ops.linear_forward(x, w["mlp_head.1.weight"], w["mlp_head.1.bias"])
        return x, (pool, norm, last)

    # -- backward ----------------------------------------------------------------------------------------------

    def loss_and_grad(self, x, y, loss="bce", parts=1, scale=1.0, wait=True):
        """One pass forward and back.   -> (loss as a float, logits (B, K)); gradients are added to `dw`.

        loss "bce": y (B, K) in [0, 1], mean over batch and classes. "ce": y (B,) whole numbers, or soft (B, K).
        parts: the batch goes through in so many, or more; the gradient is the whole batch's. scale: of all gradients,
        for float16. wait=False: the loss stays an array on the device, nobody waits for it.
        """
        x = self._checked(x)
        y = self._targets(y, (len(x), self.config.classes), loss)
        total, logits = 0.0, []
        for part in self._parts(len(x), parts):
            share = (part.stop - part.start) / len(x)  # the loss is a mean over all clips
            value, out = self.runner(self, "_step", x[part], y[part], loss, share * float(scale))
            total += share * value
            logits.append(out)
        if self.encoder is not None:
            self.encoder.current = False  # the weights are about to change; who writes the copy says so
        logits = logits[0] if len(logits) == 1 else self.xp.concatenate(logits)
        return float(total) if wait else total, logits

    def _step(self, x, y, loss, scale):
        """A pass forward and back, for `scale` times the loss.   -> loss, logits"""
        tape = []
        logits, head = self._head_forward(self._encode(x, tape))
        value, dlogits = self._loss(logits, y, loss)
        dlogits *= scale
        self._backward(dlogits, head, tape)
        return value, logits

    def input_grad(self, x, dlogits):
        """Gradient of sum(logits * dlogits) by the input, for saliency.   -> (B, T, F); adds to `dw` as well"""
        self.refresh()
        tape = []
        _, head = self._head_forward(self._encode(self._checked(x), tape))
        return self._backward(self.xp.asarray(dlogits, self.dtype), head, tape, to_input=True)

    def _backward(self, dy, head, tape, to_input=False):
        dw, ops = self.dw, self.ops
        pool, norm, last = head
        dx = ops.linear_backward(dy, last, dw["mlp_head.1.weight"], dw["mlp_head.1.bias"])
        dx = ops.layernorm_backward(dx, norm, dw["mlp_head.0.weight"], dw["mlp_head.0.bias"])
        dx = ops.pool_backward(dx, pool)
        if self.encoder is not None:
            return self.encoder.backward(dx, tape, to_input)
        dx = ops.layernorm_backward(dx, tape.pop(), dw["norm.weight"], dw["norm.bias"])
        for i, (weights, grads) in reversed(list(enumerate(self.blocks))):
            forward, backward = block_forward, block_backward
            if i == self.config.depth - 1:
                forward, backward = last_block_forward, last_block_backward
            cache = tape.pop()
            if self.recompute:
                _, cache = forward(ops, cache, weights, self.config)
            dx = backward(ops, dx, cache, weights, grads, self.config)
        dx = ops.tokens_backward(dx, tape.pop(), [dw[name] for name in self.prefix], dw["pos_embed"])
        dx = ops.linear_backward(dx, tape.pop(), dw["patch_embed.proj.weight"], dw["patch_embed.proj.bias"])
        return ops.unfold_backward(dx, tape.pop()) if to_input else None

    def loss(self, logits, y, loss="bce"):
        """The loss alone, as a float."""
        return float(self._loss(logits, self._targets(y, logits.shape, loss), loss, backward=False)[0])

    def _loss(self, logits, y, loss, backward=True):
        ops = self.ops
        value, cache = (ops.bce_forward if loss == "bce" else ops.ce_forward)(logits, y)
        grad = (ops.bce_backward if loss == "bce" else ops.ce_backward)(cache) if backward else None
        return value, grad

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
