"""A builder of ONNX graphs: each call of `op` adds a node and returns the name of its output."""

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import Error

OPSET, IR = 17, 8  # of ONNX 1.12: the first operator set with LayerNormalization
LARGEST = 2**31 - 2**20  # bytes: protobuf cannot hold 2 GiB


def onnx() -> ModuleType:
    """The package. Raises minast.Error where it is not installed."""
    try:
        import onnx
    except ImportError:
        raise Error("writing .onnx files needs the package onnx: pip install '.[onnx]' in the checkout.") from None
    return onnx


class Graph:
    """Nodes and constants in the order in which they were added.

    with graph.inside("head"):
        y = graph.op("MatMul", x, weight)      # x: a name; weight: an array, which becomes a constant
    """

    def __init__(self):
        self.onnx, self.nodes, self.constants = onnx(), [], {}
        self.bytes, self._scope, self._counts = 0, "", {}

    @contextlib.contextmanager
    def inside(self, scope: str) -> Iterator[None]:
        """Nodes and constants that are added within have names that begin with `scope`/."""
        before, self._scope = self._scope, f"{self._scope}{scope}/"
        yield
        self._scope = before

    def op(self, kind: str, *inputs: str | np.ndarray | list[int], out: str | None = None, **attributes: Any) -> str:
        """Add a node.   -> the name of its output

        inputs: names, float or integer arrays, or lists of integers (shapes, axes). out: a name for the output.
        """
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        node = self._fresh(kind)
        self.nodes.append(self.onnx.helper.make_node(kind, names, [out or node], name=node, **attributes))
        return out or node

    def constant(self, value: np.ndarray | list[int]) -> str:
        """Add a constant.   -> its name"""
        array = np.asarray(value, np.int64) if isinstance(value, list) else np.ascontiguousarray(value)
        self.bytes += array.nbytes
        if self.bytes > LARGEST:
            raise Error(f"the weights have more than {LARGEST / 2**30:.1f} GiB: an ONNX file cannot hold as much.")
        name = self._fresh("constant")
        self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def model(self, name: str, inputs: list, outputs: list, about: dict[str, str], producer: tuple[str, str]) -> Any:
        """The whole as an onnx.ModelProto.   inputs, outputs: (name, shape) of float32 arrays; a text is a free size"""
        h = self.onnx.helper
        ends = [[h.make_tensor_value_info(n, self.onnx.TensorProto.FLOAT, s) for n, s in x] for x in (inputs, outputs)]
        graph = h.make_graph(self.nodes, name, *ends, initializer=list(self.constants.values()))
        model = h.make_model(
            graph,
            opset_imports=[h.make_opsetid("", OPSET)],
            ir_version=IR,
            producer_name=producer[0],
            producer_version=producer[1],
        )
        h.set_model_props(model, about)
        return model

    def _fresh(self, kind):
        key = self._scope + kind
        self._counts[key] = number = self._counts.get(key, 0) + 1
        return f"{key}_{number}"
