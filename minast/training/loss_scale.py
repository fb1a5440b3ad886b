"""Dynamic loss scaling: float16 loses gradients below 6e-8, so the loss is multiplied before the backward pass."""

import math

from ..config import COUNT
from ..errors import Error
from ..storage.schema import Number, Record, as_json, checked

STATE = Record({"value": Number(above=0, most=2.0**24), "good": COUNT})


class LossScale:
    """A power of two that multiplies the loss, and so all gradients: as large as float16's range allows.

    It halves when a gradient overflows (that step is skipped), and doubles after `every` steps without an overflow, up
    to `most`. Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2.
    """

    def __init__(self, value: float = 2.0**16, every: int = 2000, most: float = 2.0**24):
        self.value, self.every, self.most = value, every, most
        self.good = 0  # steps since the last change without an overflow

    def update(self, norm: float) -> bool:
        """Set the value for the next step by the gradient norm of this one.   -> whether the step was taken"""
        if not math.isfinite(norm):
            self.value, self.good = self.value / 2, 0
            return False
        self.good += 1
        if self.good == self.every:
            self.value, self.good = min(2 * self.value, self.most), 0
        return True

    @property
    def exhausted(self) -> bool:
        """Whether smaller scales did not help: then the gradients themselves are not finite, scaled or not."""
        return self.value < 1

    def state(self) -> dict:
        """What `load_state` needs to continue as if nothing had happened."""
        return {"value": self.value, "good": self.good}

    def load_state(self, state: dict) -> None:
        """Continue from what `state` returned. Raises minast.Error for anything else."""
        state = checked(STATE, state, "counters.scale", as_json)
        if math.frexp(state["value"])[0] != 0.5 or not self.allows(state["value"]):
            raise Error(f"counters.scale.value is {state['value']}: no run in this dtype has such a loss scale.")
        self.value, self.good = state["value"], state["good"]

    def allows(self, value: float) -> bool:
        """Whether a power of two can have become the scale."""
        return value <= self.most


class NoScale(LossScale):
    """For types with float32's range: always 1, and a gradient that is not finite is an error at once."""

    def __init__(self):
        super().__init__(1.0, every=-1)

    def allows(self, value: float) -> bool:
        """Only 1."""
        return value == 1


def loss_scale(dtype: str) -> LossScale:
    """The scale that a compute dtype needs."""
    return LossScale() if dtype == "float16" else NoScale()
