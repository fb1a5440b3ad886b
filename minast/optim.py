"""Adam and AdamW on the flat weight array, gradient clipping, learning-rate schedules."""

import math

import numpy as np

from .errors import Error
from .layers import array_module


class Adam:
    """m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps).

    Weight decay: with `decoupled=False` (AST's Adam) g = gradient + weight_decay w before the moments; with
    `decoupled=True` (AdamW) w -= lr weight_decay w beside them. Every weight decays, biases, norms and positions too,
    as in AST, unless `decay` (an array like w, of 0 and 1) says which.
    Source: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2.
    """

    def __init__(self, w, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False, decay=None):
        self.w, self.betas, self.eps = w, tuple(betas), eps
        self.weight_decay, self.decoupled, self.decay = weight_decay, decoupled, decay
        self.m, self.v, self.t = (
            array_module(w).zeros_like(w),
            array_module(w).zeros_like(w),
            0,
        )  # moments, and steps done

    def step(self, g, lr):
        """One update of the weights in place.   g like w; lr a number. `g` is left as it was."""
        xp = array_module(g)
        b1, b2 = self.betas
        self.t += 1
        if self.weight_decay:
            fade = self.weight_decay * (self.w if self.decay is None else self.w * self.decay)
            if self.decoupled:
                self.w -= lr * fade
            else:
                g = g + fade
        self.m += (1 - b1) * (g - self.m)
        self.v += (1 - b2) * (g * g - self.v)
        root = xp.sqrt(self.v)
        root /= math.sqrt(1 - b2**self.t)
        root += self.eps
        self.w -= (lr / (1 - b1**self.t)) * self.m / root

    def state(self):
        """What `load_state` needs to go on as if nothing had happened."""
        return {"m": self.m, "v": self.v, "t": self.t}

    def load_state(self, state):
        self.m[...], self.v[...], self.t = state["m"], state["v"], int(state["t"])


def gradient_norm(g):
    """|g|, the length of the whole gradient, summed in float64."""
    return math.sqrt(float(array_module(g).square(g, dtype=np.float64).sum()))


def clip(g, limit, norm=None):
    """Scale g in place to length `limit` if it is longer.   -> its length before. limit 0: never."""
    norm = gradient_norm(g) if norm is None else norm
    if limit and norm > limit:
        g *= limit / (norm + 1e-6)
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
        if step < config.warmup:
            return staircase(step, config.lr, config.warmup)
        return milestones(step // steps_per_epoch + 1, config.lr, *config.milestones)
    raise Error(f'schedule is {config.schedule!r}: it must be "cosine" or "milestones".')
