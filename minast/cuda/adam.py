"""Adam in one launch, and the gradient's norm."""

import numpy as np

from .. import optim
from ..errors import Error
from ..gpu.memory import empty
from ..launch import launch
from .common import GROUPS, blocks, c_type, checked_version


def gradient_norm(g, room=None):
    """|g| as an array (1,) float32 that stays on the device: `Adam.step` clips by it without a copy to the host.

    room: the two arrays that `norm_room(g)` makes, to be used again.
    """
    sums, norm = norm_room(g) if room is None else room
    launch("adamw.cu", "square_sums", sums.size, 256, (g, sums, g.size))
    launch("adamw.cu", "norm_of_sums", 1, 256, (sums, norm, sums.size))
    return norm


def norm_room(g):
    """Partial sums and the norm itself."""
    return empty(g, min(GROUPS, blocks(g.size, 1024)), np.float64), empty(g, 1, np.float32)


class Adam(optim.Adam):
    """optim.Adam as one launch over the flat buffer; clips and writes a 16-bit copy of the weights on the way."""

    room = None  # for the norm, made once

    def step(self, g, lr, norm=None, max_norm=0.0, copy=None, scale=1.0, version=1):
        """One update in place.

        norm: of `gradient_norm(g)`; the gradient is clipped to `max_norm`, and nothing is done if norm is not finite.
        copy: 16-bit array like w that takes the new weights, or None. scale: the gradient is g times this.
        """
        if self.w.dtype != np.float32:  # plain array code
            if norm is not None or copy is not None or scale != 1:
                raise Error(
                    f"clipping, scaling and copying in Adam's launch are for float32 weights, not {self.w.dtype}."
                )
            return super().step(g, lr)
        self.t += 1
        (b1, b2), n = self.betas, self.w.size
        name, each = ("adam_plain", 256) if checked_version(version, 1) == 0 else ("adam_step", 1024)
        kernel = f"{name}<{'float' if copy is None else c_type(copy)},{'true' if self.decoupled else 'false'}>"
        corrections = 1 - b1**self.t, 1 - b2**self.t
        arrays = (self.w, g, self.m, self.v, copy, self.decay, self.rates, norm)
        scalars = (float(lr), 1 - b1, 1 - b2, self.eps, float(self.weight_decay), float(max_norm), float(scale))
        launch("adamw.cu", kernel, blocks(n, each), 256, (*arrays, n, *scalars, *corrections))

    def clipped_step(self, g, lr, max_norm=0.0, copy=None, scale=1.0):
        """As optim.Adam's; the norm is looked at only when all is queued, so that the GPU waits for nobody."""
        if self.w.dtype != np.float32:
            return super().clipped_step(g, lr, max_norm, copy, scale)
        if self.room is None:
            self.room = norm_room(g)
        norm = gradient_norm(g, self.room)
        self.step(g, lr, norm, max_norm, copy, scale)
        norm = float(norm[0]) * scale
        if not np.isfinite(norm):
            self.t -= 1  # the launch left everything as it was
        return norm
