"""Scores of whole clips: the same for validation, `evaluate` and `predict`."""

import numpy as np

from . import metrics
from .errors import Error
from .features import SHIFT, model_inputs, normalise, pad_or_trim
from .layers import softmax_forward


def probabilities(logits, loss):
    """softmax (loss "ce") or sigmoid ("bce"), never one for the other.   (..., K) -> (..., K)"""
    if loss == "ce":
        return softmax_forward(logits)[0]
    e = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + e), e / (1 + e))


def clip_scores(model, info, mels, batch=16, bar=None):
    """Mean of the windows' probabilities of each clip.   mels: sequence of (T, F) -> (n, K) float64

    info: anything with `features` and `loss`. A clip longer than the model's window is scored in windows end to end.
    """
    scores = np.zeros((len(mels), model.config.classes))
    pending, owners, shares = [], [], []

    def flush():
        if pending:
            p = probabilities(model.numpy(model.forward(np.stack(pending))).astype(np.float64), info.loss)
            np.add.at(scores, owners, p * np.array(shares)[:, None])
            pending.clear(), owners.clear(), shares.clear()

    for i in range(len(mels)):
        x = model_inputs(mels[i], info.features)
        for window in x:
            pending.append(window)
            owners.append(i)
            shares.append(1 / len(x))
            if len(pending) == batch:
                flush()
        if bar is not None:
            bar.update()
    flush()
    return scores


def sliding(mel, features, hop):
    """Model inputs that start every `hop` frames, for a long recording.   (T, F) -> starts (W,) s, (W, frames, F)

    Only whole windows, but at least one: a clip shorter than a window is padded by `pad_or_trim`, as everywhere.
    """
    if not isinstance(hop, (int, np.integer)) or hop < 1:
        raise Error(f"the hop between windows is {hop!r}: it must be a whole number of frames, at least 1.")
    first = np.arange(0, max(1, len(mel) - features.frames + 1), hop)
    x = np.stack([pad_or_trim(mel[i:], features.frames) for i in first])
    return first * SHIFT, normalise(x, features.mean, features.std)


def scores_over_time(model, info, mel, hop, batch=16):
    """What the model hears, and when: the probabilities of each of `sliding`'s windows.   -> starts (W,) s, (W, K)"""
    starts, x = sliding(mel, info.features, hop)
    logits = [model.numpy(model.forward(x[i : i + batch])) for i in range(0, len(x), batch)]
    return starts, probabilities(np.concatenate(logits).astype(np.float64), info.loss)


def mean_loss(scores, targets, loss):
    """The training loss of clip probabilities.   scores, targets (n, K) -> float"""
    p = np.clip(scores, 1e-12, 1 - 1e-12)
    if loss == "ce":
        return float(-(targets * np.log(p)).sum() / len(p))
    return float(-(targets * np.log(p) + (1 - targets) * np.log1p(-p)).mean())


def measures(scores, targets, loss):
    """{name: number}; the first is the one that training goes by: accuracy, or mAP for several labels a clip."""
    shared = {
        "mAP": metrics.mean_average_precision(scores, targets),
        "AUC": metrics.roc_auc(scores, targets),
        "d_prime": metrics.d_prime(scores, targets),
    }
    return {"accuracy": metrics.accuracy(scores, targets), **shared} if loss == "ce" else shared
