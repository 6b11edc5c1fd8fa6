"""Tiny ONNX models in every layout the YOLO runtime knows, with answers known beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]

NAMES = ("cat", "dog", "bird")


@dataclass(frozen=True)
class Truth:
    """One thing the model answers: corners in pixels of its input, class, score."""

    corners: tuple[float, float, float, float]
    class_id: int
    score: float


# On an input of 96 x 64 (width x height), grid of strides 8, 16, 32: 96 + 24 + 6 = 126 cells.
WIDTH, HEIGHT, CELLS = 96, 64, 126
TRUTHS = (
    Truth((20, 10, 60, 40), 1, 0.9),
    Truth((22, 12, 60, 40), 1, 0.6),  # the same dog, less sure: NMS drops it
    Truth((22, 12, 60, 40), 2, 0.7),  # a bird at the same place stays: NMS is by class
    Truth((70, 50, 90, 60), 0, 0.55),
    Truth((5, 5, 15, 15), 0, 0.2),  # under the default confidence
)


def columns(truths: Sequence[Truth] = TRUTHS, *, cells: int = CELLS, classes: int = 3) -> Floats:
    """[1, 4+C, cells]: v8, v9, v11."""
    table = np.zeros((1, 4 + classes, cells), np.float32)
    for cell, truth in _placed(truths, cells):
        table[0, :4, cell] = _centre(truth)
        table[0, 4 + truth.class_id, cell] = truth.score
    return table


def rows(truths: Sequence[Truth] = TRUTHS) -> Floats:
    """[1, cells, 4+C]: the same, transposed."""
    return np.ascontiguousarray(columns(truths).transpose(0, 2, 1))


def objectness(truths: Sequence[Truth] = TRUTHS, *, classes: int = 3) -> Floats:
    """[1, 3*cells, 5+C]: v5, v7. The score is objectness times class score."""
    table = np.zeros((1, 3 * CELLS, 5 + classes), np.float32)
    table[0, :, 5:] = 0.99  # classes without objectness count for nothing
    for cell, truth in _placed(truths, 3 * CELLS):
        table[0, cell, :4] = _centre(truth)
        table[0, cell, 4] = 0.95
        table[0, cell, 5:] = 0
        table[0, cell, 5 + truth.class_id] = truth.score / 0.95
    return table


def end_to_end(truths: Sequence[Truth] = TRUTHS, *, results: int = 300) -> Floats:
    """[1, 300, 6]: v10; padded with rows of score 0, without doubles."""
    table = np.zeros((1, results, 6), np.float32)
    for row, truth in enumerate(_without_doubles(truths)):
        table[0, row] = (*truth.corners, truth.score, truth.class_id)
    return table


def end_to_end_v7(truths: Sequence[Truth] = TRUTHS) -> Floats:
    """[n, 7]: v7 exported with its own NMS."""
    found = [(0, *t.corners, t.class_id, t.score) for t in _without_doubles(truths)]
    return np.array(found, np.float32).reshape(-1, 7)


def save_constant(
    path: Path,
    *outputs: NDArray[Any],
    size: tuple[int | str, int | str] = (HEIGHT, WIDTH),
    metadata: Mapping[str, str] | None = None,
    half: bool = False,
    channels: int = 3,
) -> Path:
    """A model that gives `outputs` whatever it sees. `size` = (height, width), names = free."""
    nodes, values = [], []
    for index, output in enumerate(outputs):
        array = output.astype(np.float16) if half else output
        name = f"output{index}"
        tensor = numpy_helper.from_array(array, f"{name}.value")
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        values.append(helper.make_tensor_value_info(name, tensor.data_type, array.shape))
    return save(path, nodes, values, [], size, metadata, half=half, channels=channels)


def save_bright_cells(
    path: Path, *, size: tuple[int | str, int | str] = ("h", "w"), half: bool = False
) -> Path:
    """A detector of one class that works: each cell of 32 x 32 pixels scores its brightness.

    It takes any height and width and answers [1, 5, cells].
    """
    number = np.float16 if half else np.float32
    constants = [
        numpy_helper.from_array(np.array([1, 1, -1], np.int64), "flat"),
        numpy_helper.from_array(np.array(2, np.int64), "axis_y"),
        numpy_helper.from_array(np.array(3, np.int64), "axis_x"),
        numpy_helper.from_array(np.array(0, number), "zero"),
        numpy_helper.from_array(np.array(1, number), "one"),
        numpy_helper.from_array(np.array(0.5, number), "half"),
        numpy_helper.from_array(np.array(32, number), "cell"),
    ]
    make = helper.make_node
    nodes = [
        make("Cast", ["images"], ["wide"], to=TensorProto.FLOAT),
        make("ReduceMean", ["wide"], ["light"], axes=[1], keepdims=1),
        make("AveragePool", ["light"], ["pooled"], kernel_shape=[32, 32], strides=[32, 32]),
        make(
            "Cast", ["pooled"], ["score"], to=numpy_helper.from_array(np.zeros(1, number)).data_type
        ),
        make("Mul", ["score", "zero"], ["nothing"]),
        make("Add", ["nothing", "one"], ["ones"]),
        make("Mul", ["ones", "cell"], ["side"]),
        *_running_sum("x"),
        *_running_sum("y"),
    ]
    for name in ("cx", "cy", "side", "side", "score"):
        nodes.append(make("Reshape", [name, "flat"], [f"{name}{len(nodes)}"]))
    parts = [node.output[0] for node in nodes[-5:]]
    nodes.append(make("Concat", parts, ["output0"], axis=1))
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    values = [helper.make_tensor_value_info("output0", kind, [1, 5, "cells"])]
    notes = {"names": "{0: 'light'}", "imgsz": "[128, 128]", "stride": "32", "task": "detect"}
    return save(path, nodes, values, constants, size, notes, half=half)


def names_note(names: Sequence[str] = NAMES) -> dict[str, str]:
    """The metadata as Ultralytics writes it."""
    return {"names": repr(dict(enumerate(names))), "task": "detect", "stride": "32"}


def _running_sum(axis: str) -> list[onnx.NodeProto]:
    make = helper.make_node
    return [
        make("Cast", ["ones"], [f"ones_{axis}"], to=TensorProto.FLOAT),
        make("CumSum", [f"ones_{axis}", f"axis_{axis}"], [f"count_{axis}"]),
        make("CastLike", [f"count_{axis}", "ones"], [f"cast_{axis}"]),
        make("Sub", [f"cast_{axis}", "half"], [f"middle_{axis}"]),
        make("Mul", [f"middle_{axis}", "cell"], [f"c{axis}"]),
    ]


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    values: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto],
    size: tuple[int | str, int | str],
    metadata: Mapping[str, str] | None,
    *,
    half: bool = False,
    channels: int = 3,
) -> Path:
    """Write a model of one input `images` [1, channels, *size] that answers `values`."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    entering = helper.make_tensor_value_info("images", kind, [1, channels, *size])
    graph = helper.make_graph(nodes, "tiny", [entering], values, constants)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
    return path


def _centre(truth: Truth) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = truth.corners
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def _placed(truths: Sequence[Truth], cells: int) -> list[tuple[int, Truth]]:
    """Spread over the cells, the last one included."""
    step = cells // len(truths) if truths else 0
    return [(cells - 1 - index * step, truth) for index, truth in enumerate(truths)]


def _without_doubles(truths: Sequence[Truth]) -> list[Truth]:
    return [truth for truth in truths if truth.score != 0.6]
