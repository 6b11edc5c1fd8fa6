"""Small ONNX models of several kinds, one of them trained here, with what they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
KINDS = ("setosa", "versicolor", "virginica")


@dataclass(frozen=True)
class Trained:
    """A model file and data it was trained on."""

    path: Path
    rows: Array

    def in_process(self, rows: Array) -> list[Array]:
        """What ONNX Runtime answers without any service."""
        session = ort.InferenceSession(self.path, providers=["CPUExecutionProvider"])
        return [np.asarray(answer) for answer in session.run(None, {"rows": rows})]


def train(path: Path) -> Trained:
    """A network of one hidden layer, trained by gradient descent on three clouds of points."""
    rng = np.random.default_rng(7)
    centres = np.array([[0, 0, 0, 0], [2, 2, 0, 1], [0, 2, 2, -1]])
    classes = np.repeat(np.arange(3), 40)
    rows = (centres[classes] + rng.normal(0, 0.5, (120, 4))).astype(np.float32)
    w1, w2 = rng.normal(0, 0.5, (4, 8)), rng.normal(0, 0.5, (8, 3))
    b1, b2 = np.zeros(8), np.zeros(3)
    for _ in range(300):
        hidden = np.maximum(rows @ w1 + b1, 0)
        scores = hidden @ w2 + b2
        odds = np.exp(scores - scores.max(1, keepdims=True))
        slope = (odds / odds.sum(1, keepdims=True) - np.eye(3)[classes]) / len(rows)
        back = (slope @ w2.T) * (hidden > 0)
        w2, b2 = w2 - hidden.T @ slope, b2 - slope.sum(0)
        w1, b1 = w1 - rows.T @ back, b1 - back.sum(0)
    weights = {"w1": w1, "b1": b1, "w2": w2, "b2": b2}
    nodes = [
        helper.make_node("Gemm", ["rows", "w1", "b1"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w2", "b2"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["odds"], axis=1),
        helper.make_node("ArgMax", ["odds"], ["class"], axis=1, keepdims=0),
    ]
    save(
        path,
        nodes,
        [value("rows", "FLOAT", "n", 4)],
        [value("class", "INT64", "n"), value("odds", "FLOAT", "n", 3)],
        {name: weight.astype(np.float32) for name, weight in weights.items()},
        notes={"names": repr(list(KINDS))},
    )
    trained = Trained(path, rows)
    assert (trained.in_process(rows)[0] == classes).mean() > 0.95, "the network learnt nothing"
    return trained


def save_echo(path: Path, *kinds: str) -> Path:
    """A model that answers each input `in_<kind>`, of any length, as `out_<kind>`."""
    nodes = [helper.make_node("Identity", [f"in_{kind}"], [f"out_{kind}"]) for kind in kinds]
    inputs = [value(f"in_{kind}", kind, "n") for kind in kinds]
    return save(path, nodes, inputs, [value(f"out_{kind}", kind, "n") for kind in kinds])


def save_product(path: Path) -> Path:
    """Two inputs that must fit together although their file does not say so: `a` @ `b`."""
    nodes = [helper.make_node("MatMul", ["a", "b"], ["product"])]
    inputs = [value("a", "FLOAT", "i", "j"), value("b", "FLOAT", "k", "l")]
    return save(path, nodes, inputs, [value("product", "FLOAT", "i", "l")])


def value(name: str, kind: str, *shape: int | str) -> onnx.ValueInfoProto:
    """An input or output."""
    return helper.make_tensor_value_info(name, getattr(TensorProto, kind), list(shape))


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Mapping[str, Array] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Path:
    """Write a model."""
    constants = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "small", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    helper.set_model_props(model, dict(notes or {}))
    onnx.save(model, path)
    return path
