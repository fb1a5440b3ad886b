"""Models and sounds for the export to Hugging Face, made from formulas. NumPy and minast alone.

Shared by make_exports.py, which has transformers answer for the exported folders, and by the tests.
"""

from types import SimpleNamespace

import numpy as np

from minast.checkpoint import Info
from minast.config import FeatureConfig, ModelConfig
from minast.model import AST

LABELS = ["rain", "dog, barking", "Sirène", "engine", "clock"]
SECONDS = {"short": 0.4, "exact": 1.0, "long": 1.7}  # of a model that hears 98 frames
SMALL = {"depth": 3, "frames": 98, "classes": len(LABELS), "prefix_tokens": 2}
CASES = {  # name: (ModelConfig's fields, loss, calibration a and b)
    "softmax": (SMALL, "ce", None),
    "sigmoid": ({**SMALL, "gelu": "tanh", "fstride": 12, "tstride": 16, "mel_bins": 64}, "bce", None),
    "calibrated": ({**SMALL, "encoder_eps": 1e-12, "head_eps": 1e-12}, "bce", (0.7, -0.3)),
    "temperature": ({**SMALL, "encoder_eps": 1e-4, "head_eps": 0.1}, "ce", (1.8, 0.0)),  # eps that matters
}


def model_of(name: str) -> tuple[AST, Info]:
    """A model of the nano preset whose weights are all drawn, so that none is at the value that hides a mistake."""
    fields, loss, calibration = CASES[name]
    model = AST(ModelConfig.preset("nano", **fields), backend="numpy", seed=None)
    rng = np.random.default_rng(7)
    for key, view in model.w.items():
        scale = view.shape[-1] ** -0.5 if key.endswith("weight") and view.ndim == 2 else 0.2
        norm = key.endswith("weight") and view.ndim == 1
        view[...] = norm + scale * rng.standard_normal(view.shape).astype(np.float32)
    features = FeatureConfig(window="hann", frames=98, mel_bins=model.config.mel_bins, mean=-6.1, std=4.3)
    info = Info(LABELS, features, loss)
    if calibration:
        slope, bias = calibration
        decided = SimpleNamespace(slope=slope, bias=bias, calibrates=True, thresholds=[0.5, None, 0.25, 0.1, 0.9])
        object.__setattr__(info, "decisions", decided)
    return model, info


def probabilities(name: str, logits: np.ndarray) -> np.ndarray:
    """What the exported model should give.   logits (..., K) -> (..., K)"""
    _, loss, calibration = CASES[name]
    slope, bias = calibration or (1.0, 0.0)
    z = slope * np.asarray(logits, np.float64) + bias
    if loss == "bce":
        return 1 / (1 + np.exp(-z))
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def wave(name: str) -> np.ndarray:
    """A chord that glides, in noise, after silence; in 16-bit steps, as a wav file keeps it.   -> (S,) float32"""
    n = int(16000 * SECONDS[name])
    rng, t = np.random.default_rng(n), np.arange(n) / 16000
    x = sum(np.sin(2 * np.pi * f * t * (1 + 0.1 * t)) for f in (220, 1300, 3700)) / 6 + 0.02 * rng.standard_normal(n)
    x[: n // 8] = 0.0
    return (np.round(32767 * np.clip(x, -1, 1)) / 32768).astype(np.float32)
