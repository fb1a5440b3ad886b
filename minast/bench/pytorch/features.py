"""Log-mel features as AST's users compute them: torchaudio's Kaldi filterbank, and transformers' extractor."""

import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Callable

import numpy as np

from ..libraries import errors_as_skips
from ..row import Skip
from . import runtime


def torchaudio(wave: np.ndarray) -> Callable:
    """A function: the Kaldi filterbank of wave (S,) float32 at 16 kHz, Hann window.   -> (T, 128)

    Raises Skip without torch or torchaudio.
    """
    torch, kaldi = runtime.with_transformers(), _kaldi()
    inputs = torch.from_numpy(wave)[None]

    def extract():
        return kaldi.fbank(
            inputs,
            htk_compat=True,
            sample_frequency=16000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=128,
            dither=0.0,
            frame_shift=10,
        )

    return extract


def _kaldi():
    """torchaudio's compliance/kaldi.py, pure PyTorch: loaded alone, since torchaudio itself may fail to load."""
    found = importlib.util.find_spec("torchaudio")
    if found is None:
        raise Skip("torchaudio is not installed")
    path = os.path.join(os.path.dirname(found.origin), "compliance", "kaldi.py")
    spec = importlib.util.spec_from_file_location("kaldi_alone", path)
    module, before = importlib.util.module_from_spec(spec), sys.modules.get("torchaudio")
    sys.modules["torchaudio"] = before or types.ModuleType("torchaudio")  # it asks for it only to make MFCCs
    try:
        with errors_as_skips():
            spec.loader.exec_module(module)
    finally:
        if before is None:
            del sys.modules["torchaudio"]
    return module


def transformers(wave: np.ndarray) -> Callable[[], np.ndarray]:
    """A function: transformers' own extractor in NumPy, on wave (S,) at 16 kHz.   -> (1024, 128), padded

    Raises Skip without transformers, and where it would call torchaudio.
    """
    runtime.with_transformers()
    with errors_as_skips():
        from transformers.utils import is_speech_available

        if is_speech_available():
            raise Skip("transformers would use torchaudio here")
        from transformers import ASTFeatureExtractor

        extractor = ASTFeatureExtractor(do_normalize=False)

    def extract():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return extractor(wave, sampling_rate=16000, return_tensors="np")["input_values"][0]

    return extract
