"""minast: the Audio Spectrogram Transformer, written by hand in NumPy, small enough to read."""

__version__ = "0.1.0"

from .config import FeatureConfig, ModelConfig, TrainConfig
from .errors import Error
from .features import log_mel
from .model import AST
