"""A checkpoint as one .onnx file: built, described, checked, and compared with minast on the way."""

import contextlib
import json
import logging
import os
import tempfile
from typing import Any

import numpy as np

from .. import threads
from ..checkpoint import Info
from ..errors import Error, reason
from ..features import log_mel, model_inputs
from ..model import AST
from ..storage.files import atomic
from ..version import __version__
from .front import add_features, samples_heard
from .graph import Graph
from .network import LOGITS, PROBABILITIES, add_network

LOG_MEL, WAVEFORM = "log_mel", "waveform"
APART = 1e-3  # logits that differ by more, relative to the largest, are another function: nothing is written
APART_INT8 = 1.0  # the same for int8, which is not meant to be equal: usually a few hundredths
FLOAT_ONLY = ("features/", "head/")  # nodes that stay float32 in int8 models: a small share of the work


def build(model: AST, info: Info, waveform: bool = False) -> Any:
    """The onnx.ModelProto of a model: operator set 17, float32, any batch size.

    waveform: its input is `waveform` (B, S) at info.features.rate, else `log_mel` (B, frames, F), normalised.
    Outputs are `logits` and `probabilities` (B, K). Raises minast.Error without the package onnx, and for a model of
    more than 2 GiB.
    """
    g, f = Graph(), info.features
    begin = (WAVEFORM, ["batch", "samples"]) if waveform else (LOG_MEL, ["batch", f.frames, f.mel_bins])
    add_network(g, add_features(g, WAVEFORM, f) if waveform else LOG_MEL, model, info)
    ends = [(name, ["batch", model.config.classes]) for name in (LOGITS, PROBABILITIES)]
    return g.model("minast", [begin], ends, about(info, waveform), ("minast", __version__))


def about(info: Info, waveform: bool) -> dict[str, str]:
    """What goes into the model's metadata_props: texts, those that are not plain words or numbers in JSON."""
    f, decisions = info.features, getattr(info, "decisions", None)
    found = {
        "input": WAVEFORM if waveform else LOG_MEL,
        "labels": json.dumps(info.labels),
        "head": info.head,
        "probabilities": "calibrated" if decisions is not None and decisions.calibrates else "of the logits",
        "rate": f.rate,
        "frames": f.frames,
        "mel_bins": f.mel_bins,
        "window": f.window,
        "mean": f.mean,
        "std": f.std,
        "samples": samples_heard(f),
    }
    if decisions is not None:  # of the probabilities; null: a label that is never given
        found["thresholds"] = json.dumps(list(decisions.thresholds))
    return {name: str(value) for name, value in found.items()}


def quantized(proto: Any) -> Any:
    """The same with int8 weights in the encoder's products, whose inputs are quantized as they come.

    One scale for each output channel, and 7 bits, so that no processor's 16-bit sums overflow (onnxruntime's
    reduce_range). Raises minast.Error without onnxruntime.
    """
    runtime()
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    outside = [node.name for node in proto.graph.node if node.name.startswith(FLOAT_ONLY)]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = os.path.join(folder, "int8.onnx")
        quantize_dynamic(
            proto,
            path,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=outside,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
        found = onnx.load(path)
    del found.metadata_props[:]
    onnx.helper.set_model_props(found, {**{p.key: p.value for p in proto.metadata_props}, "weights": "int8"})
    return found


@contextlib.contextmanager
def _quiet():
    """Without the quantizer's advice to run its pre-processing, which this graph does not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def checked_bytes(proto: Any) -> bytes:
    """The file's bytes, after onnx's own checker has passed them with shapes inferred."""
    import onnx

    data = proto.SerializeToString()
    try:
        onnx.checker.check_model(data, full_check=True)
    except Exception as error:  # of its own kinds
        raise Error(f"onnx's checker refuses the model: {reason(error)}.") from None
    return data


def write(path: str | os.PathLike, data: bytes) -> None:
    """Write the file whole or not at all."""
    with atomic(path) as f:
        f.write(data)


# -- running it ------------------------------------------------------------------------------------------------------


def runtime() -> Any:
    """The package onnxruntime. Raises minast.Error where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        raise Error("this needs the package onnxruntime: pip install '.[onnx]' in the checkout.") from None
    return onnxruntime


def session(source: bytes | str) -> Any:
    """An onnxruntime.InferenceSession on the processor, with as many threads as minast; source: a file or its bytes."""
    ort = runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads.count()
    options.log_severity_level = 3
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def difference(data: bytes, model: AST, info: Info, waveform: bool) -> float:
    """The largest difference of the logits of noise from minast's, relative to minast's largest (at least 1)."""
    wave = (0.1 * np.random.default_rng(0).standard_normal(samples_heard(info.features))).astype(np.float32)
    f = info.features
    x = model_inputs(log_mel(wave, f.rate, f.mel_bins, f.window), f)[:1]
    ours = model.numpy(model.forward(x))
    theirs = session(data).run([LOGITS], {WAVEFORM: wave[None]} if waveform else {LOG_MEL: x})[0]
    return float(np.abs(theirs - ours).max() / max(1.0, np.abs(ours).max()))
