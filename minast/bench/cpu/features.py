"""Log-mel features of a 10 s clip, against the two extractors that AST's users have."""

import numpy as np

from ...features import log_mel
from ..checks import check
from ..pytorch import features as theirs
from ..row import Row, Skip
from ..timing import alone, compare

NAME = "log-mel of 10 s"


def clip() -> np.ndarray:
    """Noise, (160000,) float32: 10 s at 16 kHz."""
    return np.random.default_rng(0).standard_normal(160000).astype(np.float32) / 10


def against_torchaudio(rounds: int) -> list[Row]:
    """The row compared with torchaudio's Kaldi filterbank, or of ours alone where that is missing."""
    wave, goal = clip(), "1.5x"

    def ours():
        return log_mel(wave, window="hann")

    try:
        reference = theirs.torchaudio(wave)
    except Skip as reason:
        return [alone(NAME, ours, rounds, goal, reason)]
    check(ours(), np.asarray(reference()), 1e-4, NAME)
    return [compare(NAME, ours, reference, 10 * rounds, "torchaudio, Kaldi fbank", goal)]


def against_transformers(rounds: int) -> list[Row]:
    """The row compared with transformers' extractor in NumPy. Raises Skip if that is missing or calls torchaudio."""
    wave = clip()
    reference = theirs.transformers(wave)

    def ours():
        return log_mel(wave, window="hann")

    check(ours(), reference()[:998], 1e-4, NAME)
    return [compare(NAME, ours, reference, 2 * rounds, "transformers' extractor (NumPy)", "8x")]
