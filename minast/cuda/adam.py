"""Adam in one launch, and the gradient norm."""

import numpy as np

from .. import optim
from ..errors import Error
from ..gpu.memory import empty
from ..launch import launch
from ..layers import Array
from .common import GROUPS, blocks, c_type, checked_version


def gradient_norm(g: Array, buffers: tuple[Array, Array] | None = None) -> Array:
    """|g| as an array (1,) float32 on the device: `Adam.step` clips by it without a copy to the host.   g (n,) float32

    buffers: `norm_buffers(g)`, to be reused in each step.
    """
    sums, norm = norm_buffers(g) if buffers is None else buffers
    launch("adamw.cu", "square_sums", sums.size, 256, (g, sums, g.size))
    launch("adamw.cu", "norm_of_sums", 1, 256, (sums, norm, sums.size))
    return norm


def norm_buffers(g: Array) -> tuple[Array, Array]:
    """Unset arrays for `gradient_norm`: partial sums (float64) and the norm (1,)."""
    return empty(g, min(GROUPS, blocks(g.size, 1024)), np.float64), empty(g, 1, np.float32)


class Adam(optim.Adam):
    """optim.Adam as one launch over the flat array, which also clips and writes the 16-bit copy of the weights."""

    buffers = None  # for the norm, allocated once

    def step(
        self,
        g: Array,
        lr: float,
        norm: Array | None = None,
        max_norm: float = 0.0,
        copy: Array | None = None,
        scale: float = 1.0,
        version: int = 1,
    ) -> None:
        """Update the weights in place.   g (n,) is not changed; the gradient is g times `scale`

        norm: `gradient_norm(g)`, to clip the gradient to `max_norm` (0: no clipping) and to update nothing if it is not
        finite; None: neither. copy: 16-bit array (n,) that receives the new weights, or None.
        Raises minast.Error if the weights are not float32 and norm, copy or scale is given.
        """
        if self.w.dtype != np.float32:  # plain array code
            if norm is not None or copy is not None or scale != 1:
                raise Error(
                    f"clipping, scaling and copying in Adam's launch need float32 weights, these are {self.w.dtype}."
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

    def clipped_step(
        self, g: Array, lr: float, max_norm: float = 0.0, copy: Array | None = None, scale: float = 1.0
    ) -> float:
        """As optim.Adam's. The host reads the norm after queueing the update, so the GPU never waits for the host."""
        if self.w.dtype != np.float32:
            return super().clipped_step(g, lr, max_norm, copy, scale)
        if self.buffers is None:
            self.buffers = norm_buffers(g)
        norm = gradient_norm(g, self.buffers)
        self.step(g, lr, norm, max_norm, copy, scale)
        norm = float(norm[0]) * scale
        if not np.isfinite(norm):
            self.t -= 1  # the launch has updated nothing
        return norm
