"""The shapes in which YOLO networks answer, how they are told apart, and how they are read.

C = number of classes, A = number of anchors or grid cells, K = a fixed number of results.

| layout            | networks             | shape       | columns                                |
|-------------------|----------------------|-------------|----------------------------------------|
| `objectness`      | v5, v7 (also v6)     | [1, A, 5+C] | cx, cy, w, h, objectness, C scores     |
| `columns`         | v8, v9, v11, v12     | [1, 4+C, A] | cx, cy, w, h, C scores, lying on side  |
| `rows`            | the same, transposed | [1, A, 4+C] | cx, cy, w, h, C scores                 |
| `end_to_end`      | v10, v26, `nms=True` | [1, K, 6]   | x1, y1, x2, y2, score, class; no NMS   |
| `end_to_end_v7`   | v7 `--end2end`       | [n, 7]      | picture, x1, y1, x2, y2, class, score  |

All coordinates are pixels of the network's input. Sources: the export code of ultralytics/yolov5
(`models/yolo.py`, `Detect.forward`), WongKinYiu/yolov7 (`models/experimental.py`, `ONNX_TRT`/
`ONNX_ORT`), ultralytics (`nn/modules/head.py`, `Detect` and `v10Detect`), THU-MIG/yolov10.

Telling apart (`recognise`): the number of dimensions, then which layouts the number of named
classes permits, then which the number of grid cells permits: a network with strides 8, 16, 32
(and 64) has sum(H/s x W/s) cells, three times that with v5's and v7's three anchors a cell. Six
columns in at most 1,000 rows are end to end unless their number is that of the cells of at least
two strides. What then remains open is decided by the shorter side, which holds the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cnet.errors import ConfigError
from cnet.inference.images.pictures import Size
from cnet.inference.yolo.candidates import Candidates

_STRIDES = (8, 16, 32, 64)
_ANCHORS_A_CELL = 3
_MOST_END_TO_END_ROWS = 1_000

Output = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.float64]


class Layout(StrEnum):
    """Words for `--layout` and `/info`; the table above says what each holds."""

    OBJECTNESS = "objectness"
    COLUMNS = "columns"
    ROWS = "rows"
    END_TO_END = "end_to_end"
    END_TO_END_V7 = "end_to_end_v7"

    @property
    def needs_suppression(self) -> bool:
        """Whether the same thing may be answered several times."""
        return self not in (Layout.END_TO_END, Layout.END_TO_END_V7)

    def classes_of(self, shape: Sequence[int]) -> int | None:
        """C by the shape of the output; None where the shape does not tell."""
        if self is Layout.COLUMNS:
            return shape[1] - 4
        if self is Layout.ROWS:
            return shape[2] - 4
        return shape[2] - 5 if self is Layout.OBJECTNESS else None


def pick_output(shapes: Sequence[Sequence[int]]) -> int:
    """Which of the outputs holds the detections.

    v5 exports may carry their raw heads behind it. Raises ConfigError with what to do where no
    or more than one output can be meant.
    """
    fitting = [i for i, shape in enumerate(shapes) if _is_detections(shape)]
    if len(fitting) == 1 and all(len(s) == 5 for i, s in enumerate(shapes) if i != fitting[0]):
        return fitting[0]
    listed = ", ".join(str(list(shape)) for shape in shapes)
    if not fitting and len(shapes) > 1 and all(len(shape) in (4, 5) for shape in shapes):
        raise ConfigError(
            f"the model answers with raw heads {listed}; export it with its detection layer "
            "(v5: export.py; v7: export.py --grid)"
        )
    raise ConfigError(
        f"the model's outputs {listed} are not those of a detector: one output of shape "
        "[1, rows, columns] or [n, 7] is needed (no segmentation, pose or classification model)"
    )


def _is_detections(shape: Sequence[int]) -> bool:
    return (len(shape) == 2 and shape[1] == 7) or (len(shape) == 3 and shape[0] == 1)


def recognise(
    shape: Sequence[int], *, size: Size, classes: int | None, is_end_to_end: bool = False
) -> Layout:
    """The layout of an output of `shape`, answered to an input of `size`.

    `classes`: how many the model names, None when it names none. `is_end_to_end`: the metadata
    says so. Raises ConfigError where nothing fits.
    """
    if len(shape) == 2:
        return Layout.END_TO_END_V7
    possible = [layout for layout in _LAYOUTS if _fits(layout, shape, classes)]
    if Layout.END_TO_END in possible and (is_end_to_end or not _is_grid_of_rows(shape, size)):
        return Layout.END_TO_END
    possible = [layout for layout in possible if layout is not Layout.END_TO_END]
    for narrow in (_by_grid(shape, size), _by_side(shape)):
        narrower = [layout for layout in possible if layout in narrow]
        possible = narrower or possible
        if len(possible) == 1:
            return possible[0]
    if possible:
        return possible[0]
    known = "" if classes is None else f" and {classes} named classes"
    raise ConfigError(
        f"no YOLO layout has an output of shape {list(shape)}{known}; known are "
        "[1, A, 5+C] (v5, v7), [1, 4+C, A] (v8, v9, v11), [1, A, 4+C], [1, K, 6] (v10) and [n, 7]"
    )


# In the order of preference where everything else leaves a choice.
_LAYOUTS = (Layout.END_TO_END, Layout.OBJECTNESS, Layout.COLUMNS, Layout.ROWS)


def _is_grid_of_rows(shape: Sequence[int], size: Size) -> bool:
    """Whether the rows are cells after all.

    One stride is no proof: 640 x 480 pixels at stride 32 are the 300 rows that v10 has.
    """
    cells = _cells(size, least_strides=2)
    return shape[1] in cells | {_ANCHORS_A_CELL * count for count in cells}


def _fits(layout: Layout, shape: Sequence[int], classes: int | None) -> bool:
    if layout is Layout.END_TO_END:
        return shape[2] == 6 and shape[1] <= _MOST_END_TO_END_ROWS
    found = layout.classes_of(shape)
    return found is not None and found >= 1 and classes in (None, found)


def _by_grid(shape: Sequence[int], size: Size) -> set[Layout]:
    """Layouts whose number of cells is one that a network with this input can have."""
    fitting = set()
    if shape[2] in _cells(size):
        fitting.add(Layout.COLUMNS)
    if shape[1] in _cells(size):
        fitting.add(Layout.ROWS)
    if shape[1] in {_ANCHORS_A_CELL * cells for cells in _cells(size)}:
        fitting.add(Layout.OBJECTNESS)
    return fitting


def _cells(size: Size, *, least_strides: int = 1) -> set[int]:
    """Numbers of grid cells for each run of neighbouring strides."""
    grids = [-(-size.width // s) * -(-size.height // s) for s in _STRIDES]
    runs = combinations(range(len(grids) + 1), 2)
    return {sum(grids[start:end]) for start, end in runs if end - start >= least_strides}


def _by_side(shape: Sequence[int]) -> set[Layout]:
    if shape[1] < shape[2]:
        return {Layout.COLUMNS}
    return {Layout.OBJECTNESS, Layout.ROWS}


def read(layout: Layout, output: Output, confidence: float) -> Candidates:
    """The candidates of at least `confidence` in `output`, in the order of the output."""
    found = _READERS[layout](output, confidence)
    sane = np.isfinite(found.corners).all(axis=1)
    return found if sane.all() else found.take(np.flatnonzero(sane))


def _read_columns(output: Output, confidence: float) -> Candidates:
    table = output[0]
    return _read_scores(table[:4], table[4:], None, confidence)


def _read_rows(output: Output, confidence: float) -> Candidates:
    table = output[0].T
    return _read_scores(table[:4], table[4:], None, confidence)


def _read_objectness(output: Output, confidence: float) -> Candidates:
    # Objectness bounds the product from above, so most rows need no look at their classes.
    rows = output[0]
    table = rows[rows[:, 4] >= confidence].T
    return _read_scores(table[:4], table[5:], table[4], confidence)


def _read_scores(boxes: Output, scores: Output, weight: Output | None, least: float) -> Candidates:
    """`boxes` [4, n] as centre and size, `scores` [C, n], `weight` [n] multiplies the scores."""
    best = scores.max(axis=0).astype(np.float32)
    if weight is not None:
        best *= weight.astype(np.float32)
    chosen = np.flatnonzero(best >= least)
    centres = boxes[:, chosen].astype(np.float64).T
    half = centres[:, 2:] / 2
    corners = np.hstack([centres[:, :2] - half, centres[:, :2] + half])
    classes = scores[:, chosen].argmax(axis=0).astype(np.int32)
    return Candidates(corners, best[chosen], classes)


def _read_end_to_end(output: Output, confidence: float) -> Candidates:
    rows = output[0]
    return _rows_with(rows[:, :4], rows[:, 4], rows[:, 5], confidence)


def _read_end_to_end_v7(output: Output, confidence: float) -> Candidates:
    return _rows_with(output[:, 1:5], output[:, 6], output[:, 5], confidence)


def _rows_with(corners: Output, scores: Output, classes: Output, least: float) -> Candidates:
    indices = classes.astype(np.float64)  # float16 cannot even be compared with 2**31
    chosen = np.flatnonzero((scores >= least) & (indices >= 0) & (indices < 2**31))
    return Candidates(
        corners[chosen].astype(np.float64),
        scores[chosen].astype(np.float32),
        indices[chosen].astype(np.int32),
    )


_READERS: dict[Layout, Callable[[Output, float], Candidates]] = {
    Layout.COLUMNS: _read_columns,
    Layout.ROWS: _read_rows,
    Layout.OBJECTNESS: _read_objectness,
    Layout.END_TO_END: _read_end_to_end,
    Layout.END_TO_END_V7: _read_end_to_end_v7,
}
