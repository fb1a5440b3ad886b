"""features.py as operators of an ONNX graph: waveform (B, S) -> normalised log-mel (B, frames, F)."""

import numpy as np

from ..config import FeatureConfig
from ..features import LOG_FLOOR, PREEMPHASIS, mel_filterbank, sizes, window_function
from .graph import Graph


def samples_heard(features: FeatureConfig) -> int:
    """How many samples the model's frames reach over: of a longer waveform the rest is not heard."""
    frame, shift, _ = sizes(features.rate)
    return (features.frames - 1) * shift + frame


def add_features(g: Graph, wave: str, features: FeatureConfig) -> str:
    """normalise(pad_or_trim(log_mel(wave), frames)) for every row.   wave: the name of (B, S) -> of (B, frames, F)

    The formulas are those of `features.log_mel`. The DFT is a product with a table of cosines and one of sines; every
    runtime has products. A waveform shorter than one frame is an error when the graph runs, as in minast.
    """
    f = features
    frame, _, fft_size = sizes(f.rate)
    with g.inside("features"):
        x, count = _frames(g, wave, f)  # (B, t, frame)
        x = g.op("Sub", x, g.op("ReduceMean", x, axes=[-1], keepdims=1))
        before = g.op("Concat", _part(g, x, 0, 1), _part(g, x, 0, frame - 1), axis=-1)  # x[-1] = x[0]
        x = g.op("Sub", x, g.op("Mul", before, np.float32(PREEMPHASIS)))
        window = window_function(f.window, frame)[:, None]
        angle = 2 * np.pi * (np.arange(frame)[:, None] * np.arange(fft_size // 2 + 1) % fft_size) / fft_size
        power = [g.op("MatMul", x, (window * table).astype(np.float32)) for table in (np.cos(angle), np.sin(angle))]
        power = g.op("Add", *(g.op("Mul", part, part) for part in power))
        mel = g.op("MatMul", power, mel_filterbank(f.rate, f.mel_bins, fft_size).astype(np.float32))
        mel = g.op("Log", g.op("Max", mel, np.float32(LOG_FLOOR)))
        missing = g.op("Sub", [f.frames], count)  # padded with 0.0 before it is normalised
        mel = g.op("Pad", mel, g.op("Concat", [0, 0, 0, 0], missing, [0], axis=0), np.float32(0))
        return g.op("Div", g.op("Sub", mel, np.float32(f.mean)), np.float32(2 * f.std))


def _frames(g, wave, f):
    """The frames of what is heard.   -> names of (B, t, frame), and of t as (1,)"""
    frame, shift, _ = sizes(f.rate)
    wave = _part(g, wave, 0, samples_heard(f))
    length = g.op("Shape", wave, start=1, end=2)
    whole = g.op("Add", g.op("Div", g.op("Sub", length, [frame]), [shift]), [1])
    count = g.op("Max", whole, [1])  # of less than a frame: one, whose samples Gather does not find
    starts = g.op("Mul", g.op("Range", np.int64(0), g.op("Squeeze", count), np.int64(1)), np.int64(shift))
    places = g.op("Add", g.op("Unsqueeze", starts, [1]), np.arange(frame, dtype=np.int64)[None])  # (t, frame)
    return g.op("Gather", wave, places, axis=1), count


def _part(g, x, begin, end):
    """x[..., begin:end]"""
    return g.op("Slice", x, [begin], [end], [-1])
