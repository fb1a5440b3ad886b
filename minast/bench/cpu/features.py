"""Log-mel of a 10 s clip against the two that AST users have."""

import importlib.util
import os
import sys
import types
import warnings

import numpy as np

from ...features import log_mel
from .. import twin
from ..table import Row, Skip, close, compare, interleaved

NAME = "log-mel of 10 s"


def kaldi():
    """torchaudio's compliance/kaldi.py. It is pure PyTorch: where torchaudio itself does not load, it runs alone."""
    found = importlib.util.find_spec("torchaudio")
    if found is None:
        raise Skip("torchaudio is not installed")
    path = os.path.join(os.path.dirname(found.origin), "compliance", "kaldi.py")
    spec = importlib.util.spec_from_file_location("kaldi_alone", path)
    module, before = importlib.util.module_from_spec(spec), sys.modules.get("torchaudio")
    sys.modules["torchaudio"] = before or types.ModuleType("torchaudio")  # it asks for it only to make MFCCs
    try:
        spec.loader.exec_module(module)
    finally:
        if before is None:
            del sys.modules["torchaudio"]
    return module


def against_torchaudio(rounds):
    wave = np.random.default_rng(0).standard_normal(160000).astype(np.float32) / 10

    def ours():
        return log_mel(wave, window="hann")

    try:
        torch, module = twin.torch(), kaldi()
    except Skip as reason:
        return [Row(NAME, float(np.median(interleaved([ours], rounds)[0])), goal="1.5x", note=f"{reason}")]
    inputs = torch.from_numpy(wave)[None]

    def theirs():
        return module.fbank(
            inputs,
            htk_compat=True,
            sample_frequency=16000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=128,
            dither=0.0,
            frame_shift=10,
        )

    close(ours(), theirs(), 1e-4, NAME)
    return [compare(NAME, ours, theirs, 10 * rounds, "torchaudio, Kaldi fbank", "1.5x")]


def against_transformers(rounds):
    wave = np.random.default_rng(0).standard_normal(160000).astype(np.float32) / 10
    twin.torch()
    from transformers import ASTFeatureExtractor
    from transformers.utils import is_speech_available

    if is_speech_available():
        raise Skip("transformers takes torchaudio's here")
    extractor = ASTFeatureExtractor(do_normalize=False)

    def ours():
        return log_mel(wave, window="hann")

    def theirs():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return extractor(wave, sampling_rate=16000, return_tensors="np")["input_values"][0]

    close(ours(), theirs()[:998], 1e-4, NAME)
    return [compare(NAME, ours, theirs, 2 * rounds, "transformers' extractor (NumPy)", "8x")]


ROWS = {"log-mel": against_torchaudio, "log-mel-transformers": against_transformers}
