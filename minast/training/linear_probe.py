"""A linear probe: a new head is fitted to pretrained features before fine-tuning changes them.

Under a random head, the first steps of fine-tuning push the features in random directions and destroy part of what they
hold. So the head is fitted first, to frozen features. Source: Kumar et al., "Fine-Tuning can Distort
Pretrained Features and Underperform Out-of-Distribution", ICLR 2022 (linear probing, then fine-tuning).
"""

from collections.abc import Sequence

import numpy as np

from .. import layers, optim
from ..config import FeatureConfig
from ..features import normalise, pad_or_trim
from ..model import AST
from ..params import zeros


def fit_linear_probe(
    model: AST,
    mels: Sequence[np.ndarray],
    targets: np.ndarray,
    features: FeatureConfig,
    loss: str,
    steps: int = 100,
    lr: float = 3e-3,
    batch: int = 8,
) -> float:
    """Fit the weights of `mlp_head` in place on the clips' embeddings; all others stay.   -> loss after the last step

    mels: log-mels (T, F) of n clips, of which the first `features.frames` frames are used. targets (n, K), loss "ce" or
    "bce" as in `AST.loss_and_grad`. `steps` steps of Adam, each on all clips, with a learning rate that falls from `lr`
    to 0 by a cosine; embeddings are computed `batch` clips at a time.
    """
    from tqdm import tqdm

    x = np.empty((len(mels), model.config.dim), model.dtype)
    for i in tqdm(range(0, len(mels), batch), desc="features for the head", unit="batch", disable=None, leave=False):
        clips = [pad_or_trim(mels[j], features.frames) for j in range(i, min(i + batch, len(mels)))]
        x[i : i + batch] = model.numpy(model.embed(normalise(np.stack(clips), features.mean, features.std)))
    shapes = {name: view.shape for name, view in model.w.items() if name.startswith("mlp_head.")}
    w, dw = zeros(shapes, model.dtype), zeros(shapes, model.dtype)
    for name, view in w.items():
        view[...] = model.numpy(model.w[name])
    forward, backward = (getattr(layers, f"{loss}_{way}") for way in ("forward", "backward"))
    adam, y = optim.Adam(w.flat), targets.astype(model.dtype)
    for step in range(steps):
        dw.flat[...] = 0
        h, norm = layers.layernorm_forward(x, w["mlp_head.0.weight"], w["mlp_head.0.bias"], model.config.head_eps)
        logits, linear = layers.linear_forward(h, w["mlp_head.1.weight"], w["mlp_head.1.bias"])
        value, cache = forward(logits, y)
        dh = layers.linear_backward(backward(cache), linear, dw["mlp_head.1.weight"], dw["mlp_head.1.bias"])
        layers.layernorm_backward(dh, norm, dw["mlp_head.0.weight"], dw["mlp_head.0.bias"])
        adam.step(dw.flat, optim.cosine(step, steps, lr))
    for name, view in w.items():
        model.w[name][...] = model.xp.asarray(view)
    model.weights_changed()
    return float(value)
