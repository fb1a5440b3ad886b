"""A minast model in ONNX Runtime and in OpenVINO: as `minast export` writes it, from the same weights."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from .. import threads
from ..checkpoint import Info
from ..config import FeatureConfig
from ..exports import onnx_file
from ..model import AST
from .libraries import load
from .row import Skip

ONNX, OPENVINO = "ONNX Runtime", "OpenVINO"
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}  # as OpenVINO calls them


class Exported:
    """A model's .onnx file in memory, written when the first runtime asks for it.

    Each method gives (the function to time, its logits (B, K)) for log-mels x (B, T, F), with as many threads as minast
    has. They raise Skip where a package does not load.
    """

    def __init__(self, model: AST, x: np.ndarray):
        self.model, self.x = model, x

    @cached_property
    def data(self) -> bytes:
        """The file's bytes: float32, any batch size."""
        load("onnx")
        c = self.model.config
        info = Info([f"label {k}" for k in range(c.classes)], FeatureConfig(window="hann", frames=c.frames), "bce")
        return onnx_file.checked_bytes(onnx_file.build(self.model, info))

    def in_onnx_runtime(self) -> tuple[Callable, np.ndarray]:
        """By ONNX Runtime in float32, with all of its optimizations of the graph."""
        load("onnxruntime")
        session = onnx_file.session(self.data)

        def run():
            return session.run([onnx_file.LOGITS], {onnx_file.LOG_MEL: self.x})[0]

        return run, run()

    def in_openvino(self, precision: str = "float32") -> tuple[Callable, np.ndarray]:
        """By OpenVINO, compiled for this batch size. precision: float32, or bfloat16 where the processor has it."""
        core = load("openvino").Core()
        network = core.read_model(model=self.data)
        network.reshape({onnx_file.LOG_MEL: list(self.x.shape)})
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads.count(),
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],  # its default is bfloat16 where the processor has it
        }
        compiled = core.compile_model(network, "CPU", settings)
        found = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if found != PRECISIONS[precision]:
            raise Skip(f"it computes in {found} on this processor")
        request, logits = compiled.create_infer_request(), compiled.output(onnx_file.LOGITS)

        def run():
            return request.infer({onnx_file.LOG_MEL: self.x}, share_inputs=True)[logits]

        return run, run().copy()
