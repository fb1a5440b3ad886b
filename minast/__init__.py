"""minast: the Audio Spectrogram Transformer, written by hand in NumPy, small enough to read.

A trained classifier, in two lines (`Classifier`; the console command `minast` does the same):

    classifier = minast.Classifier.load("best.npz")
    classifier.predict("street.wav")

What happens inside, for 10 s of sound and AST base:

    file --load_audio--> waveform (160000,) --log_mel--> (998, 128) --pad_or_trim, normalise--> (1024, 128)
         --AST.forward: patches (1212, 256) -> tokens (1213, 768) -> 12 blocks -> [CLS] (768,) -> logits (527,)

To read the code, in this order: layers (every layer, forward and backward), gradcheck (is a gradient right?), params
(all weights in one array), init, encoder (a block), model (the whole), optim (Adam), backend (the five ways to compute
it); then features, augment and training/ for what surrounds it, fast/ and cuda/ for speed. README.md has the tree.
`import minast` needs NumPy alone; what needs more is imported when it is first used.
"""

from .console.early import stop_quietly_while_importing

stop_quietly_while_importing()

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
    from .ensemble import Ensemble
    from .explain import attention_maps, input_relevance, relevance, rollout

__all__ = [
    "AST",
    "Classifier",
    "Ensemble",
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
LAZY = {"Classifier": "classifier", "Ensemble": "ensemble"}
LAZY |= dict.fromkeys(("attention_maps", "input_relevance", "relevance", "rollout"), "explain")


def __getattr__(name):
    if name in LAZY:
        from importlib import import_module

        return getattr(import_module(f".{LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
