"""Adam and AdamW on the flat weight array, gradient clipping, learning-rate schedules."""

import math

import numpy as np

from . import threads
from .bfloat16 import from_float32
from .errors import Error
from .layers import array_module

BLOCK = 2**18  # numbers a call: smaller blocks fit the caches but wait for each other at the lock of the interpreter


class Adam:
    """m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps).

    Weight decay: with `decoupled=False` (AST's Adam) g = gradient + weight_decay w before the moments; with
    `decoupled=True` (AdamW) w -= lr weight_decay w beside them. Every weight decays, biases, norms and positions too,
    as in AST, unless `decay` (an array like w, of 0 and 1) says which. `rates`, an array like w, multiplies lr.
    Source: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2.
    """

    def __init__(self, w, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False, decay=None, rates=None):
        self.w, self.betas, self.eps = w, tuple(betas), eps
        self.weight_decay, self.decoupled, self.decay, self.rates = weight_decay, decoupled, decay, rates
        self.m, self.v = array_module(w).zeros_like(w), array_module(w).zeros_like(w)  # moments
        self.t = 0  # steps done

    def step(self, g, lr: float) -> None:
        """One update of the weights in place.   g like w; lr a number. `g` is left as it was."""
        self.t += 1
        blockwise(lambda s: self._update(s, g[s], lr), g)

    def clipped_step(self, g, lr: float, max_norm: float = 0.0, copy=None, scale: float = 1.0) -> float:
        """Clip the gradient to `max_norm` (0: never), then one update, or none where it is not finite.   -> its norm

        The gradient is g times `scale`; `g` may be changed. copy: 16-bit array like w that takes the new weights, or
        None, as `AST.copy_to_update` gives it.
        """
        if scale != 1:
            g *= scale
        norm = clip_gradient(g, max_norm)
        if math.isfinite(norm):
            self.step(g, lr)
            if copy is not None:
                copy[...] = from_float32(self.w, copy.dtype)
        return norm

    def _update(self, s, g, lr):
        """The weights of slice s: all its passes run over what is in cache already."""
        xp, (b1, b2) = array_module(g), self.betas
        w, m, v = self.w[s], self.m[s], self.v[s]
        if self.weight_decay:
            fade = self.weight_decay * (w if self.decay is None else w * self.decay[s])
            if self.decoupled:
                w -= lr * fade if self.rates is None else lr * fade * self.rates[s]
            else:
                g = g + fade
        d = g - m
        d *= 1 - b1
        m += d
        xp.multiply(g, g, out=d)
        d -= v
        d *= 1 - b2
        v += d
        xp.sqrt(v, out=d)
        d *= 1 / math.sqrt(1 - b2**self.t)
        d += self.eps
        xp.divide(m, d, out=d)
        d *= lr / (1 - b1**self.t)
        if self.rates is not None:
            d *= self.rates[s]
        w -= d

    def state(self) -> dict:
        """What `load_state` needs to continue as if nothing had happened: {"m", "v": moments, "t": steps done}."""
        return {"m": self.m, "v": self.v, "t": self.t}

    def load_state(self, state: dict) -> None:
        """Continue from the result of `state`."""
        xp = array_module(self.m)
        self.m[...], self.v[...], self.t = xp.asarray(state["m"]), xp.asarray(state["v"]), int(state["t"])


def blockwise(function, flat):
    """function(slice) over the whole of a flat array: on a CPU in blocks that stay in cache, on all cores."""
    parts = -(-flat.size // BLOCK) if isinstance(flat, np.ndarray) else 1
    threads.run(function, threads.spans(flat.size, parts=parts))


def gradient_norm(g) -> float:
    """|g|, the 2-norm of the whole gradient, summed in float64."""
    xp, squares = array_module(g), {}

    def square(s):
        squares[s.start] = float(xp.square(g[s], dtype=np.float64).sum())

    blockwise(square, g)
    return math.sqrt(math.fsum(squares.values()))  # exact: the blocks' order is of no consequence


def clip_gradient(g, max_norm: float) -> float:
    """Scale g in place to the norm `max_norm` if its own is larger.   -> its norm before; max_norm 0 disables clipping

    Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks"; PyTorch's clip_grad_norm_.
    """
    norm = gradient_norm(g)
    if max_norm and norm > max_norm:
        scale = max_norm / (norm + 1e-6)

        def shorten(s):
            g[s] *= scale

        blockwise(shorten, g)
    return norm


def cosine(step, steps, lr, warmup=0, final=0.0):
    """Learning rate of step 0, 1, ...: linear to lr over `warmup` steps, then half a cosine down to `final` lr."""
    if step < warmup:
        return lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return lr * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def milestones(epoch, lr, start, every, factor):
    """AST's schedule, epochs from 1: lr up to epoch `start`, then times `factor` after each `every` epochs.

    The first decay shows in epoch start + 1. Source: the official code's MultiStepLR.
    """
    if epoch <= start:
        return lr
    return lr * factor ** ((epoch - 1 - start) // every + 1)


def staircase(step, lr, warmup=1000, stair=50):
    """AST's warm-up on its AudioSet runs: lr * s / warmup at s = 0, 50, 100 ...: exactly 0 for the first 50 steps."""
    return lr * min(1.0, step // stair * stair / warmup)


def schedule(config, step, steps_per_epoch):
    """The learning rate of a step, counted from 0, as `TrainConfig` asks."""
    if config.schedule == "cosine":
        steps = config.epochs * steps_per_epoch
        return cosine(step, steps, config.lr, min(config.warmup, steps // 5))  # a short run warms up shortly
    if config.schedule == "milestones":
        warmup = min(config.warmup, config.epochs * steps_per_epoch // 5)
        if step < warmup:
            return staircase(step, config.lr, warmup, max(1, warmup // 20))  # 1000 steps in stairs of 50, or shorter
        return milestones(step // steps_per_epoch + 1, config.lr, *config.milestones)
    raise Error(f'schedule is {config.schedule!r}: it must be "cosine" or "milestones".')
