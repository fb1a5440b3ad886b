"""The layers on a CPU, fast: the reference's names and signatures, cut into parts that fit the caches and all cores.

What no module of this package defines is the reference's. A fast backward takes the cache of a fast forward. Anything
but float32 goes to the reference. For one number of threads the bits are the same each time.
"""

from ..layers import *
from .attention import attention_backward, attention_forward
from .gelu import gelu_backward, gelu_forward
from .layers import layernorm_backward, layernorm_forward, linear_backward, linear_forward

# Tokens x width that go through the model together: a batch in parts needs little memory.
BATCH_ELEMENTS = 2048 * 768
RECOMPUTE_WIDTH = 512  # width from which on a linear layer's input after a norm or a GELU is recomputed
