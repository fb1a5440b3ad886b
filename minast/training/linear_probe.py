"""A new head learns to read pretrained features before anything else moves.

Under a random head, the first steps of fine-tuning push the features in random directions and lose part of what they
knew. So the head is fitted first, to the features as they are. Source: Kumar et al., "Fine-Tuning can Distort
Pretrained Features and Underperform Out-of-Distribution", ICLR 2022 (linear probing, then fine-tuning).
"""

import numpy as np

from .. import layers, optim
from ..features import normalise, pad_or_trim
from ..params import zeros


def fit_linear_probe(model, store, targets, features, loss, steps=100, lr=3e-3, batch=8):
    """Fit `mlp_head` on the training clips' embeddings, everything else left alone. -> loss after the last step

    store: log-mels of n clips, of which the first `features.frames` frames are seen. targets (n, K). Adam over all
    clips at once, `steps` times, the learning rate falling from `lr` by a cosine.
    """
    from tqdm import tqdm

    x = np.empty((len(store), model.config.dim), model.dtype)
    for i in tqdm(range(0, len(store), batch), desc="features for the head", unit="batch", disable=None, leave=False):
        mels = [pad_or_trim(store[j], features.frames) for j in range(i, min(i + batch, len(store)))]
        x[i : i + batch] = model.numpy(model.embed(normalise(np.stack(mels), features.mean, features.std)))
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
