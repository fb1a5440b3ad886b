"""Log-mel features of a 10 s clip, against the two extractors that AST's users have."""

from collections.abc import Iterator

import numpy as np

from ...features import log_mel
from ..checks import check
from ..libraries import errors_as_skips
from ..pytorch import features as theirs
from ..row import Row
from ..sides import Side, compared
from ..timing import compare

NAME = "log-mel of 10 s"


def clip() -> np.ndarray:
    """Noise, (160000,) float32: 10 s at 16 kHz."""
    return np.random.default_rng(0).standard_normal(160000).astype(np.float32) / 10


def against_torchaudio(rounds: int) -> Iterator[Row]:
    """The row compared with torchaudio's Kaldi filterbank, or of ours alone where that is missing."""
    wave = clip()

    def ours():
        return log_mel(wave, window="hann")

    def torchaudio():
        extract = theirs.torchaudio(wave)
        return extract, np.asarray(extract())

    return compared(NAME, ours, ours(), [Side("torchaudio, Kaldi fbank", torchaudio, "1.5x")], 10 * rounds)


def against_transformers(rounds: int) -> list[Row]:
    """The row compared with transformers' extractor in NumPy. Raises Skip if that is missing or calls torchaudio."""
    wave = clip()
    reference = theirs.transformers(wave)

    def ours():
        return log_mel(wave, window="hann")

    with errors_as_skips():
        wanted = reference()[:998]
    check(ours(), wanted, 1e-4, NAME)
    return [compare(NAME, ours, reference, 2 * rounds, "transformers' extractor (NumPy)", "8x")]
