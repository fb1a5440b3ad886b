"""The reference's names, the hot ones by kernels/*.cu: on a GPU for CuPy arrays, in the emulator for NumPy arrays.

The backends `cuda` and `emulator` share every line; `launch` decides by the type of the arrays. float32, float16 and
bfloat16 (stored as uint16) have kernels; any other dtype, float64 first of all, uses the reference's function.
Products go through `gemm`: cuBLAS on a GPU, NumPy in the emulator. `version` selects one of those listed at the top
of a .cu file; the default is the last that fits. Weight gradients are added to, unless gpu/adding.py says that they are
overwritten.
Kernels do not check shapes. In the emulator an array that is too short raises IndexError at the first access beyond its
end; on a GPU it is undefined behaviour. An array that is too long is read as if it had the right shape.
"""

from ..layers import *
from .adam import Adam, gradient_norm
from .attention import TILES, attention_backward, attention_forward, attention_version, attention_versions, tile_bytes
from .class_attention import class_attention_backward, class_attention_forward
from .common import HEAD_WIDTHS, add_columns, fits
from .linear import linear_backward, linear_forward
from .losses import bce_backward, bce_forward, ce_backward, ce_forward
from .patches import unfold_backward, unfold_forward
from .rowwise import (
    gelu_backward,
    gelu_forward,
    layernorm_backward,
    layernorm_forward,
    softmax_backward,
    softmax_forward,
)
from .tokens import (
    patchout_backward,
    patchout_forward,
    pool_backward,
    pool_forward,
    spread,
    tokens_backward,
    tokens_forward,
)
