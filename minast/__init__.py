"""minast: the Audio Spectrogram Transformer, written by hand in NumPy, small enough to read.

A trained classifier, in two lines (`Classifier`; the console command `minast` does the same):

    classifier = minast.Classifier.load("best.npz")
    classifier.predict("street.wav")

The parts: file -> `load_audio` -> waveform -> `log_mel` -> spectrogram -> `AST.forward` -> logits.
`import minast` needs NumPy and SciPy alone; what needs more is imported when it is first used.
"""

from typing import TYPE_CHECKING

from . import metrics
from .audio import load_audio
from .checkpoint import load, save
from .config import FeatureConfig, ModelConfig, TrainConfig
from .errors import Error
from .features import log_mel
from .model import AST
from .pretrained import from_pretrained
from .version import __version__

if TYPE_CHECKING:
    from .classifier import Classifier
    from .explain import attention_maps, input_relevance, relevance, rollout

__all__ = [
    "AST",
    "Classifier",
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
# name: the module that has it, imported when the name is first asked for
LAZY = {"Classifier": "classifier"}
LAZY |= dict.fromkeys(("attention_maps", "input_relevance", "relevance", "rollout"), "explain")


def __getattr__(name):
    if name in LAZY:
        from importlib import import_module

        return getattr(import_module(f".{LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
