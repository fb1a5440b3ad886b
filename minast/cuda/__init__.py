"""The reference's names, the hot ones through kernels/*.cu: on a GPU for CuPy arrays, in the emulator for NumPy arrays.

Every line is shared by the backends `cuda` and `emulator`; `launch` looks at the arrays. float32, float16 and bfloat16
(on NumPy as uint16) have kernels; everything else, float64 first of all, takes the reference's own function.
Products go through `gemm`: cuBLAS on a GPU, NumPy in the emulator. `version` is a number from the head of a .cu file.
"""

from ..layers import *
from .adam import Adam, gradient_norm
from .attention import TILES, attention_backward, attention_forward, attention_version, tile_bytes
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
from .tokens import pool_backward, pool_forward, spread, tokens_backward, tokens_forward
