"""Inputs as services want them, and predictions as the first document has them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.api.ml.answers import ask, tell
from cnet.errors import SpecError

TABLE = {
    "model_type": "sklearn",
    "inputs": [{"name": "input", "shape": [-1, 2], "datatype": "FP64"}],
    "outputs": [{"name": "predict", "shape": [-1]}, {"name": "predict_proba", "shape": [-1, 2]}],
}
COLUMN = {"model_type": "onnx", "inputs": [{"name": "x", "shape": [-1, 1]}], "outputs": []}
TWO = {"model_type": "onnx", "inputs": [{"name": "a", "shape": [1]}, {"name": "b", "shape": [1]}]}
SCRIPT = {"model_type": "script", "served_by": "s"}
NUMBERS = st.floats(allow_nan=False)


@pytest.mark.parametrize(
    ("info", "data", "inputs", "single"),
    [
        (COLUMN, 5.5, [[5.5]], True),
        (TABLE, [1, 2], [[1, 2]], True),
        (TABLE, [[1, 2], [3, 4]], [[1, 2], [3, 4]], False),
        (TABLE, {"input": [[1, 2]]}, {"input": [[1, 2]]}, False),
        (TABLE, {"other": 1}, [[{"other": 1}]], True),
        (TWO, {"a": [1], "b": [2]}, {"a": [1], "b": [2]}, False),
        (TWO, 3, 3, False),
        (SCRIPT, {"any": "thing"}, {"any": "thing"}, False),
    ],
)
def test_inputs_are_wrapped_as_far_as_is_wanted(
    info: Any, data: Any, inputs: Any, single: bool
) -> None:
    question = ask(info, data, {})
    assert (question.body["inputs"], question.single) == (inputs, single)


@given(st.lists(NUMBERS, min_size=2, max_size=2))
def test_a_row_comes_back_as_a_row(row: list[float]) -> None:
    question = ask(TABLE, row, {})
    answer = {"outputs": {"predict": [1], "predict_proba": [[0.25, 0.75]]}, "timings_ms": {"t": 1}}
    told = tell(TABLE, question, answer)
    assert (told["prediction"], told["confidence"]) == (1, 0.75)
    assert told["metadata"]["timings_ms"] == {"t": 1}


@given(st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=5))
def test_rows_come_back_as_rows(rows: list[list[float]]) -> None:
    question = ask(TABLE, rows, {})
    count = len(rows)
    answer = {"outputs": {"predict": [0] * count, "predict_proba": [[0.5, None]] * count}}
    told = tell(TABLE, question, answer)
    assert (told["prediction"], told["confidence"]) == ([0] * count, [0.5] * count)


def test_options_go_beside_the_input() -> None:
    assert ask(TABLE, 1, {"outputs": ["predict"]}).body["outputs"] == ["predict"]
    yolo = {"model_type": "yolo"}
    assert ask(yolo, "…", {"confidence": 0.4}).body == {"image": "…", "confidence": 0.4}
    for name in ("inputs", "image"):
        with pytest.raises(SpecError):
            ask(TABLE, 1, {name: 1})


def test_what_scripts_and_detectors_say() -> None:
    question = ask(SCRIPT, 1, {})
    told = tell(SCRIPT, question, {"outputs": {"prediction": 2, "confidence": 0.5, "more": 1}})
    assert told == {
        "prediction": 2,
        "confidence": 0.5,
        "metadata": {"model_type": "script", "served_by": "s", "more": 1},
    }
    assert tell(SCRIPT, question, {"outputs": {"else": 1}})["prediction"] == {"else": 1}
    assert "confidence" not in tell(SCRIPT, question, {"outputs": "text"})
    yolo = {"model_type": "yolo"}
    found = [{"class": "a", "confidence": 0.5}, {"class": "b", "confidence": 0.9}]
    told = tell(yolo, ask(yolo, "…", {}), {"detections": found, "count": 2})
    assert (told["prediction"], told["confidence"]) == (found, 0.9)
    assert told["metadata"] == {"model_type": "yolo", "count": 2}
