"""Adam and AdamW on the flat weight array, gradient clipping, learning-rate schedules."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import threads
from .bfloat16 import from_float32
from .config import COUNT, TrainConfig
from .errors import Error
from .layers import Array, array_module
from .storage.schema import checked, checked_floats

BLOCK = 2**18  # elements per call: smaller blocks fit the caches better, but their threads contend for the GIL


class Adam:
    """m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps).

    w: the flat weights (n,), updated in place. Weight decay: with `decoupled=False` (AST's Adam) weight_decay * w is
    added to the gradient; with `decoupled=True` (AdamW) w -= lr weight_decay w, outside of the moments. All weights
    decay, also biases, norms and positions, as in AST; `decay` (n,), of 0 and 1, selects some. `rates` (n,) multiplies
    lr. Source: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2.

        adam = Adam(model.w.flat, weight_decay=5e-7)
        norm = adam.clipped_step(model.dw.flat, lr=1e-4, max_norm=1.0)
        model.zero_grad()
    """

    def __init__(
        self,
        w: Array,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        decay: Array | None = None,
        rates: Array | None = None,
    ):
        self.w, self.betas, self.eps = w, tuple(betas), eps
        self.weight_decay, self.decoupled, self.decay, self.rates = weight_decay, decoupled, decay, rates
        self.m, self.v = array_module(w).zeros_like(w), array_module(w).zeros_like(w)  # moments
        self.t = 0  # steps taken

    def step(self, g: Array, lr: float) -> None:
        """Update the weights in place.   g (n,) is not changed."""
        self.t += 1
        blockwise(lambda s: self._update(s, g[s], lr), g)

    def clipped_step(
        self, g: Array, lr: float, max_norm: float = 0.0, copy: Array | None = None, scale: float = 1.0
    ) -> float:
        """Clip the gradient to `max_norm` (0 disables clipping) and update the weights.   -> its norm before clipping

        If that norm is not finite, nothing is updated. The gradient is g times `scale`; g may be changed. copy: 16-bit
        array (n,) that receives the new weights, from `AST.copy_to_update`, or None.
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
        """Updates slice s, small enough that all passes over it hit the cache."""
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

    def state(self) -> dict[str, Any]:
        """The state for `load_state`: {"m", "v": the moments (n,), not copied, "t": steps taken}."""
        return {"m": self.m, "v": self.v, "t": self.t}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from the result of `state`. Raises minast.Error if it is another optimizer's, or damaged."""
        xp, moments = array_module(self.m), {}
        for name in ("m", "v"):
            array = state.get(name)
            if getattr(array, "shape", None) != self.w.shape:
                raise Error(f"the moments {name!r} are not one number for each of {self.w.size} weights.")
            moments[name] = checked_floats(array, f"the array of moments {name!r}", self.m.dtype)
        if moments["v"].size and not moments["v"].min() >= 0:
            raise Error("the array of moments 'v' holds negative numbers: they are means of squares.")
        self.t = checked(COUNT, state.get("t"), "t")
        self.m[...], self.v[...] = xp.asarray(moments["m"]), xp.asarray(moments["v"])


def blockwise(function: Callable[[slice], None], flat: Array) -> None:
    """Calls function(slice) for all of a flat array: on a CPU in blocks that fit the cache, spread over the threads."""
    parts = -(-flat.size // BLOCK) if isinstance(flat, np.ndarray) else 1
    threads.run(function, threads.spans(flat.size, parts=parts))


def gradient_norm(g: Array) -> float:
    """|g|, the 2-norm of the whole gradient, summed in float64.   g (n,)"""
    xp, squares = array_module(g), {}

    def square(s):
        squares[s.start] = float(xp.square(g[s], dtype=np.float64).sum())

    blockwise(square, g)
    return math.sqrt(math.fsum(squares.values()))  # exact, so the blocks' order does not matter


def clip_gradient(g: Array, max_norm: float) -> float:
    """Scale g (n,) in place to norm `max_norm` if its norm is larger.   -> its norm before clipping

    max_norm 0 disables clipping.
    Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks"; PyTorch's clip_grad_norm_.
    """
    norm = gradient_norm(g)
    if max_norm and norm > max_norm:
        scale = max_norm / (norm + 1e-6)

        def shorten(s):
            g[s] *= scale

        blockwise(shorten, g)
    return norm


def cosine(step: int, steps: int, lr: float, warmup: int = 0, final: float = 0.0) -> float:
    """Learning rate of step 0, 1, ...: linear to lr over `warmup` steps, then half a cosine down to final * lr.

    Source: Loshchilov and Hutter 2017 (SGDR), equation 5, without restarts.
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return lr * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def milestones(epoch: int, lr: float, start: float, every: float, factor: float) -> float:
    """AST's schedule, epochs from 1: lr up to epoch `start`, then multiplied by `factor` every `every` epochs.

    Epoch start + 1 is the first with a lower rate. Source: the official code's MultiStepLR.
    """
    return lr * factor ** decays(epoch - 1, start, every)


def decays(done: int, start: float, every: float) -> int:
    """How many decays of `milestones` lie behind after `done` epochs: at the ends of start, start + every, ..."""
    return 0 if done < start else int((done - start) // every) + 1


def staircase(step: int, lr: float, warmup: int = 1000, stair: int = 50) -> float:
    """AST's warm-up for AudioSet, in stairs: lr * s / warmup, s = 0, 50, 100 ...: exactly 0 for the first 50 steps.

    Source: the official traintest.py.
    """
    return lr * min(1.0, step // stair * stair / warmup)


def warmed_up(
    step: int, steps_per_epoch: int, lr: float, warmup: int, stair: int, start: float, every: float, factor: float
) -> float:
    """AST's warm-up and milestones as the official code combines them: the later of the two to set the rate wins.

    In steps 0, stair, 2 stair, ..., warmup the rate is set to that of `staircase`, whatever it was. At the ends of
    epochs start, start + every, ... the rate that there is, is multiplied by `factor`. So decays during the warm-up are
    undone by its next stair; with epochs of 100 steps and a warm-up of 1000, those of the first 10 epochs are lost.
    """
    epoch, last = step // steps_per_epoch + 1, warmup if step >= warmup else step // stair * stair
    if not warmup:
        return milestones(epoch, lr, start, every, factor)
    passed = decays(epoch - 1, start, every) - decays(last // steps_per_epoch, start, every)  # since step `last`
    return (lr if last == warmup else staircase(last, lr, warmup, stair)) * factor**passed


def schedule(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0, by config.schedule. Raises minast.Error for an unknown schedule.

    With warmup_steps_of 1 the warm-up takes at most a fifth of the run, in 20 stairs before milestones and step by step
    before a cosine. Otherwise it is AST's: `warmup` steps, in stairs of so many, whatever the length of the run.
    """
    steps, stair = config.epochs * steps_per_epoch, config.warmup_steps_of
    warmup = config.warmup if stair > 1 else min(config.warmup, steps // 5)
    if config.schedule == "cosine":
        if stair > 1 and step < warmup:
            return staircase(step, config.lr, warmup, stair)
        return cosine(step, steps, config.lr, warmup)
    if config.schedule == "milestones":
        if stair > 1:
            return warmed_up(step, steps_per_epoch, config.lr, warmup, stair, *config.milestones)
        if step < warmup:
            return staircase(step, config.lr, warmup, max(1, warmup // 20))
        return milestones(step // steps_per_epoch + 1, config.lr, *config.milestones)
    raise Error(f'schedule is {config.schedule!r}: it must be "cosine" or "milestones".')
