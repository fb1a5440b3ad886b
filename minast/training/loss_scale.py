"""Dynamic loss scaling: float16 keeps gradients down to 6e-8 only, so all of them are multiplied on the way back."""

import math


class LossScale:
    """A power of two by which the gradient of the loss is multiplied: as large as float16's range allows.

    It halves when a gradient overflows (that step is not taken), and doubles after `every` steps that did not.
    Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2.
    """

    def __init__(self, value=2.0**16, every=2000, most=2.0**24):
        self.value, self.every, self.most, self.good = value, every, most, 0

    def update(self, norm):
        """Look at a step's gradient norm, and set the value for the next step. -> whether the step was taken"""
        if not math.isfinite(norm):
            self.value, self.good = self.value / 2, 0
            return False
        self.good += 1
        if self.good == self.every:
            self.value, self.good = min(2 * self.value, self.most), 0
        return True

    @property
    def exhausted(self):
        """Whether smaller scales did not help: then the numbers themselves are wrong, not their range."""
        return self.value < 1

    def state(self):
        return {"value": self.value, "good": self.good}

    def load_state(self, state):
        self.value, self.good = float(state["value"]), int(state["good"])


class NoScale(LossScale):
    """Of types whose range is float32's: always 1, and a gradient that is not finite is an error at once."""

    def __init__(self):
        super().__init__(1.0, every=-1)


def loss_scale(dtype):
    return LossScale() if dtype == "float16" else NoScale()
