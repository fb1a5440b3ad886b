"""Pretrained weights: an image transformer's, adapted step by step, and every AST checkpoint's.

`load.py` is the way from a file to a model, one step a line. The steps:
  readers   `npz.py`, `safetensors.py`, `pth.py` (with `unpickle.py`, which can build tensors and nothing else):
            arrays by name, one at a time
  layouts   `jax_names.py` (ViT .npz), `torch_names.py` (DeiT, AST, Hugging Face), `own_names.py`: which arrays a
            weight is made of
  adapt.py  colours merged, positions cut and stretched
  settings.py, report.py    labels and features that come along; what became of every array
"""

from .adapt import adapt_positions, merge_rgb, resize_grid, square_grid
from .load import audio_features, from_pretrained, load, open_tensors
from .report import Report

__all__ = [
    "Report",
    "adapt_positions",
    "audio_features",
    "from_pretrained",
    "load",
    "merge_rgb",
    "open_tensors",
    "resize_grid",
    "square_grid",
]
