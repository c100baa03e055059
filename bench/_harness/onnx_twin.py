"""The same net for ONNX Runtime: a fastnet net in evaluation mode as an ONNX graph. Needs the packages onnx and onnxruntime."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from .case import Call

OPSET, IR = 17, 8  # old enough for every runtime of the last years
PACKAGES = ("onnxruntime", "onnx")
MISSING = f"not installed: pip install {' '.join(PACKAGES)}"


def installed() -> bool:
    return all(find_spec(package) is not None for package in PACKAGES)


class Graph:
    """The nodes and the weights of a graph, whose values are called v0 (the images), v1, …"""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """Add an operation; the name of what it gives."""
        from onnx import helper

        name = f"v{len(self.nodes) + 1}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def weight(self, array: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, layer: Any, x: str) -> str:
        """Add a layer that reads the value x; the name of what it gives."""
        kind = type(layer).__name__
        if kind == "Sequential":
            for child in layer:
                x = self.add(child, x)
            return x
        if kind == "Residual":
            short = x if layer.shortcut is None else self.add(layer.shortcut, x)
            return self.node("Add", [self.add(layer.body, x), short])
        parameters = [getattr(layer, name, None) for name in ("weight", "bias")]
        inputs = [x, *(self.weight(p.data) for p in parameters if p is not None)]
        if kind == "Conv2d":
            kernel, stride, padding, dilation, groups = layer.geometry
            window = {"kernel_shape": kernel, "strides": stride, "pads": padding * 2, "dilations": dilation}
            return self.node("Conv", inputs, group=groups, **window)
        if kind == "BatchNorm2d":
            inputs += [self.weight(array) for array in (layer.running_mean, layer.running_var)]
            return self.node("BatchNormalization", inputs, epsilon=layer.eps)
        if kind == "MaxPool2d":
            window = layer.window
            return self.node("MaxPool", [x], kernel_shape=window.kernel, strides=window.stride, pads=window.padding * 2)
        if kind == "AdaptiveAvgPool2d" and tuple(layer.output_size) == (1, 1):
            return self.node("GlobalAveragePool", [x])
        if kind == "Linear":
            return self.node("Gemm", inputs, transB=1)
        if kind == "ReLU":
            return self.node("Relu", [x])
        if kind == "Flatten":
            return self.node("Flatten", [x])
        raise TypeError(f"bench/_harness/onnx_twin.py: add {kind} to Graph.add")


def onnx_call(net: Any, x: np.ndarray, threads: int) -> Call:
    """The scores of the images x, by ONNX Runtime on that many threads, its graph optimised as far as it goes."""
    import onnxruntime
    from onnx import TensorProto, helper

    graph = Graph()
    scores = graph.add(net, "v0")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("v0", x.shape), (scores, None))
    ]
    made = helper.make_graph(graph.nodes, "net", ends[:1], ends[1:], graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"v0": x})[0]
