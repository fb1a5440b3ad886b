"""minast: the Audio Spectrogram Transformer, written by hand in NumPy, small enough to read.

wave -> `log_mel` -> `AST.forward` -> logits. `import minast` needs NumPy and SciPy alone.
"""

__version__ = "0.1.0"

from . import metrics
from .audio import load_audio
from .checkpoint import load, save
from .config import FeatureConfig, ModelConfig, TrainConfig
from .errors import Error
from .features import log_mel
from .model import AST
from .pretrained import from_pretrained

__all__ = [
    "AST",
    "Error",
    "FeatureConfig",
    "ModelConfig",
    "TrainConfig",
    "from_pretrained",
    "load",
    "load_audio",
    "log_mel",
    "metrics",
    "save",
]
