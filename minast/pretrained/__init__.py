"""Pretrained weights: those of an image transformer, adapted step by step, and of every kind of AST checkpoint.

load.py       the way from a file to a model
readers/      file formats: .npz, .safetensors, .pth -> arrays by name
layouts/      which arrays each weight is made of: JAX's names, PyTorch's, minast's own
settings.py   what config.json and preprocessor_config.json say
grid.py       which grid of patches the positions are on
adapt.py      patch filters for one channel; positions for another grid are ../positions.py: pure functions
weights.py    filling the new model's weights
describe.py   labels, features and loss for the checkpoint
report.py     what became of every array
"""

from .adapt import adapt_positions, merge_rgb, resize_grid, square_grid
from .describe import read_labels
from .load import audio_features, from_pretrained, load
from .readers import open_tensors
from .report import Report

__all__ = [
    "Report",
    "adapt_positions",
    "audio_features",
    "from_pretrained",
    "load",
    "merge_rgb",
    "open_tensors",
    "read_labels",
    "resize_grid",
    "square_grid",
]
