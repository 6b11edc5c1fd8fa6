"""From `{input_data, options}` to what a service of its kind is asked, and back.

Pure. What a service is like is read from its `/info`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnet.errors import SpecError

CLASSES, ODDS = "predict", "predict_proba"
"""Outputs of estimators."""


@dataclass(frozen=True, slots=True)
class Question:
    """The body for `/predict`; `single` when one row was wrapped into a table."""

    body: Mapping[str, Any]
    single: bool = False


def ask(info: Mapping[str, Any], input_data: Any, options: Mapping[str, Any]) -> Question:
    """Raises SpecError for options that would hide the input."""
    for name in ("image", "inputs"):
        if name in options:
            raise SpecError(f"options.{name}: belongs into input_data", field=f"options.{name}")
    if info["model_type"] == "yolo":
        fields = input_data if isinstance(input_data, dict) else {"image": input_data}
        return Question(fields | dict(options))
    inputs = info.get("inputs") or ()
    names = {spec["name"] for spec in inputs}
    asked, single = input_data, False
    if len(inputs) == 1 and not (isinstance(input_data, dict) and set(input_data) <= names):
        asked, single = _nested(input_data, len(next(iter(inputs))["shape"]))
    body = {"inputs": asked, **options}
    if ODDS in _outputs(info):
        body.setdefault("outputs", [CLASSES, ODDS])
    return Question(body, single)


def tell(info: Mapping[str, Any], question: Question, answer: Mapping[str, Any]) -> dict[str, Any]:
    """`{prediction, confidence?, metadata}` of what the service has answered."""
    metadata: dict[str, Any] = {
        name: info[name] for name in ("model_type", "served_by") if name in info
    }
    rest = dict(answer)
    if "timings_ms" in rest:
        metadata["timings_ms"] = rest.pop("timings_ms")
    if "detections" in rest:
        found = rest.pop("detections")
        sure = [one["confidence"] for one in found if "confidence" in one]
        return _told(found, max(sure, default=None), metadata | rest)
    outputs = rest.get("outputs")
    if not isinstance(outputs, dict):
        return _told(outputs, None, metadata)
    if "inputs" in info:  # arrays by name
        arrays = {name: _first(it) if question.single else it for name, it in outputs.items()}
        return _of_arrays(arrays, metadata, labels=info.get("labels"))
    if "prediction" not in outputs:
        return _told(outputs, None, metadata)
    rest = dict(outputs)
    return _told(rest.pop("prediction"), rest.pop("confidence", None), metadata | rest)


def _of_arrays(
    arrays: Mapping[str, Any], metadata: dict[str, Any], *, labels: Any
) -> dict[str, Any]:
    rest = dict(arrays)
    name = CLASSES if CLASSES in rest else next(iter(rest))
    prediction = rest.pop(name)
    sure = _highest(rest[ODDS]) if ODDS in rest else None
    if rest:
        metadata["outputs"] = rest
    if labels:
        metadata["labels"] = labels
    return _told(prediction, sure, metadata)


def _told(prediction: Any, confidence: Any, metadata: dict[str, Any]) -> dict[str, Any]:
    told = {"prediction": prediction, "metadata": metadata}
    if confidence is not None:
        told["confidence"] = confidence
    return told


def _nested(value: Any, rank: int) -> tuple[Any, bool]:
    """`value` wrapped into lists until it has as many axes as are wanted; whether it was."""
    depth, inside = 0, value
    while isinstance(inside, list):
        depth += 1
        inside = inside[0] if inside else None
    for _ in range(rank - depth):
        value = [value]
    return value, depth < rank


def _first(rows: Any) -> Any:
    return rows[0] if isinstance(rows, list) and len(rows) == 1 else rows


def _highest(odds: Any) -> Any:
    """Of a row of probabilities the greatest, of a table one for each row."""
    if not isinstance(odds, list) or not odds:
        return None
    if isinstance(odds[0], list):
        return [_highest(row) for row in odds]
    return max((one for one in odds if one is not None), default=None)


def _outputs(info: Mapping[str, Any]) -> list[str]:
    return [spec["name"] for spec in info.get("outputs") or () if isinstance(spec, dict)]
