"""Initial weights for training from scratch."""

import numpy as np


def fresh(model, rng):
    """Fill `model.w` for training from random weights (timm's scheme): matrices and tokens normal with deviation 0.02, biases 0, norms 1."""
    xp = model.xp
    for name, view in model.w.items():
        if name.endswith("bias"):
            view[...] = 0
        elif "norm" in name or name == "mlp_head.0.weight":
            view[...] = 1
        else:
            view[...] = xp.asarray(0.02 * rng.standard_normal(view.shape), model.dtype)
    c = model.config
    head(model.w, np.random.default_rng(rng.integers(2**63)), xp)


def head(w, rng, xp=np):
    """A new head, PyTorch's default: layer norm 1 and 0; linear uniform in +-1/sqrt(D)."""
    w["mlp_head.0.weight"][...] = 1
    w["mlp_head.0.bias"][...] = 0
    k, d = w["mlp_head.1.weight"].shape
    w["mlp_head.1.weight"][...] = xp.asarray(rng.uniform(-1, 1, (k, d)) / d**0.5)
    w["mlp_head.1.bias"][...] = xp.asarray(rng.uniform(-1, 1, k) / d**0.5)
