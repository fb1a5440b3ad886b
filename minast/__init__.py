"""minast: the Audio Spectrogram Transformer, written by hand in NumPy, small enough to read.

wave -> `log_mel` -> `AST.forward` -> logits. `import minast` needs NumPy and SciPy alone.
"""

from . import metrics
from .audio import load_audio
from .checkpoint import load, save
from .config import FeatureConfig, ModelConfig, TrainConfig
from .errors import Error
from .features import log_mel
from .model import AST
from .pretrained import from_pretrained
from .version import __version__

__all__ = [
    "AST",
    "Error",
    "FeatureConfig",
    "ModelConfig",
    "TrainConfig",
    "__version__",
    "attention_maps",
    "from_pretrained",
    "input_relevance",
    "load",
    "load_audio",
    "log_mel",
    "metrics",
    "relevance",
    "rollout",
    "save",
]
EXPLAIN = ("attention_maps", "input_relevance", "relevance", "rollout")  # from explain.py, read when first asked for


def __getattr__(name):
    if name in EXPLAIN:
        from . import explain

        return getattr(explain, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
