"""A network of YOLO11n's shape with random weights, for measuring where no weights can be had.

It exists so that figures are comparable from one machine to the next: the same number of
multiplications, outputs and anchors as YOLO11n at 640 pixels (6.5 GFLOPs, 84 x 8400). What it
finds in a picture is noise; it must not be used to show detections.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 80
_STRIDES = (8, 16, 32)


@dataclass
class _Net:
    """Collects the nodes of a network whose every layer is a convolution."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def conv(self, x: str, shape: tuple[int, int], kernel: int, stride: int = 1) -> str:
        """Convolution from `shape[0]` to `shape[1]` channels followed by SiLU."""
        return self._silu(self.linear(x, shape, kernel, stride))

    def linear(self, x: str, shape: tuple[int, int], kernel: int, stride: int = 1) -> str:
        """The same without SiLU."""
        entering, leaving = shape
        name = f"c{len(self.nodes)}"
        scale = (2 / (entering * kernel * kernel)) ** 0.5
        weight = self.rng.normal(0, scale, (leaving, entering, kernel, kernel))
        self.constant(f"{name}.w", weight.astype(np.float32))
        self.constant(f"{name}.b", np.zeros(leaving, np.float32))
        pads = [kernel // 2] * 4
        self.node(
            "Conv", [x, f"{name}.w", f"{name}.b"], name,
            kernel_shape=[kernel, kernel], strides=[stride, stride], pads=pads,
        )  # fmt: skip
        return name

    def _silu(self, x: str) -> str:
        self.node("Sigmoid", [x], f"{x}.s")
        self.node("Mul", [x, f"{x}.s"], f"{x}.o")
        return f"{x}.o"

    def constant(self, name: str, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output


def build(*, size: int | None = 640, seed: int = 11) -> onnx.ModelProto:
    """The network; `size` in pixels fixes its square input, None leaves height and width open."""
    net = _Net(np.random.default_rng(seed))
    x = net.conv("images", (3, 16), 3, 2)
    x = net.conv(x, (16, 32), 3, 2)
    x = net.conv(x, (32, 32), 3)
    levels = []
    for entering, leaving, repeats in ((32, 64, 3), (64, 128, 4), (128, 256, 5)):
        x = net.conv(x, (entering, leaving), 3, 2)
        for _ in range(repeats):
            x = net.conv(net.conv(x, (leaving, leaving // 2), 1), (leaving // 2, leaving), 3)
        levels.append((x, leaving))
    heads = [_head(net, x, width) for x, width in levels]
    net.node("Concat", heads, "rows", axis=2)
    net.constant("split", np.array([4, CLASSES], np.int64))
    net.nodes.append(helper.make_node("Split", ["rows", "split"], ["boxes", "logits"], axis=1))
    # Real networks answer with few confident boxes: shift the logits far down.
    net.node("Sub", ["logits", net.constant("shift", np.float32(9) * np.ones(1, np.float32))], "l")
    net.node("Sigmoid", ["l"], "scores")
    net.node("Abs", ["boxes"], "b")
    net.node("Concat", ["b", "scores"], "output0", axis=1)
    return _model(net, size)


def _head(net: _Net, x: str, width: int) -> str:
    x = net.conv(net.conv(x, (width, 80), 1), (80, 80), 3)
    x = net.linear(x, (80, 4 + CLASSES), 1)
    shape = net.constant(f"{x}.shape", np.array([0, 4 + CLASSES, -1], np.int64))
    return net.node("Reshape", [x, shape], f"{x}.rows")


def _model(net: _Net, size: int | None) -> onnx.ModelProto:
    side: int | str = "side" if size is None else size
    sides = ["height", "width"] if size is None else [side, side]
    anchors: int | str = "n" if size is None else sum((size // s) ** 2 for s in _STRIDES)
    graph = helper.make_graph(
        net.nodes, "yolo11n-shaped",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *sides])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 4 + CLASSES, anchors])],
        net.weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    names = {index: f"thing{index}" for index in range(CLASSES)}
    helper.set_model_props(model, {"names": repr(names), "task": "detect", "stride": "32"})
    return model


def gflops(model: onnx.ModelProto) -> float:
    """Billions of multiplications and additions of one run, counted from the convolutions."""
    weights = {w.name: tuple(w.dims) for w in model.graph.initializer}
    shaped = onnx.shape_inference.infer_shapes(model)
    sizes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in shaped.graph.value_info
    }
    total = 0
    for node in shaped.graph.node:
        if node.op_type == "Conv":
            leaving, entering, height, width = weights[node.input[1]]
            _, _, rows, columns = sizes[node.output[0]]
            total += 2 * leaving * entering * height * width * rows * columns
    return total / 1e9


def write(path: Path, *, size: int | None = 640) -> Path:
    """Save the network to `path` and return it."""
    onnx.save(build(size=size), path)
    return path
