"""The layers optimised for a CPU: the reference's names and signatures, in parts that fit the caches, on all cores.

Names that no module of this package defines are the reference's. A fast backward takes the cache of a fast forward. Any
dtype but float32 goes to the reference. Results are bit-for-bit reproducible for a fixed number of threads.
A wrong shape raises ValueError, as in the reference, except that `linear_forward` ignores the end of a bias too long.
"""

from ..layers import *
from .attention import attention_backward, attention_forward
from .gelu import gelu_backward, gelu_forward
from .layers import layernorm_backward, layernorm_forward, linear_backward, linear_forward

# Limit on clips x tokens x width in one pass of the model: splitting a batch saves memory.
BATCH_ELEMENTS = 2048 * 768
RECOMPUTE_WIDTH = 512  # width from which a linear layer's input after a norm or GELU is recomputed
