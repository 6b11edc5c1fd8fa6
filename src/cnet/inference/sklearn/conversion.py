"""Estimators converted to ONNX by skl2onnx, and compared with themselves.

A conversion is used only where, on several hundred inputs, it gives the same classes and numbers
within `converted.TOLERANCE`. Double precision is tried first, then single: trees compare single
ones themselves.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from cnet.errors import CnetError
from cnet.inference.runtime import TensorSpec
from cnet.inference.sklearn.converted import INPUT, TOLERANCE, Conversion, ConvertedModel, Output
from cnet.inference.sklearn.converted import as_declared as _as_declared
from cnet.inference.sklearn.estimators import Estimator
from cnet.inference.sklearn.files import words
from cnet.inference.sklearn.probes import probes
from cnet.inference.tensors.datatypes import DTYPES, Array, conform, datatype_of

_LOGGER = logging.getLogger(__name__)
_LARGEST_FILE = 32 << 20
_MOST_FEATURES = 10_000
_LEAST_DECIDED = 0.5
_ALONE = 3
_PRECISIONS: tuple[Literal["FP64", "FP32"], ...] = ("FP64", "FP32")


class Converted(NamedTuple):
    """The ONNX file, and the model made of it."""

    content: bytes
    model: ConvertedModel


class NotConvertibleError(Exception):
    """Why an estimator is served by scikit-learn."""


def convert(estimator: Estimator, path: Path, *, threads: int) -> Converted:
    """The estimator from the file at `path` as an ONNX model; NotConvertibleError says why not."""
    spec = estimator.signature.inputs[0]
    width = spec.shape[1] if spec.shape and len(spec.shape) == 2 else -1
    if spec.datatype == "BYTES" or not 1 <= width <= _MOST_FEATURES:
        raise NotConvertibleError("its input is no table of numbers of a fixed width")
    if path.stat().st_size > _LARGEST_FILE:
        raise NotConvertibleError(f"its file is larger than {_LARGEST_FILE >> 20} MiB")
    if _is_choosy(estimator.object):
        raise NotConvertibleError("it refuses numbers that it has not seen, which ONNX would not")
    rows = probes(estimator.object, width)
    if any(len(spec.shape or ()) > 1 for spec in estimator.signature.outputs if _is_choice(spec)):
        raise NotConvertibleError("it gives several classes for a row")
    try:
        expected = _expected(estimator, rows)
    except CnetError as error:
        raise NotConvertibleError(f"it refuses some numbers: {error.message}") from error
    reasons = []
    for precision in _PRECISIONS:
        try:
            return _converted(estimator, precision, rows, expected, path, threads)
        except NotConvertibleError as error:
            reasons.append(f"{precision}: {error}")
    raise NotConvertibleError("; ".join(reasons))


def _converted(
    estimator: Estimator,
    precision: Literal["FP64", "FP32"],
    rows: Array,
    expected: Mapping[str, Array],
    path: Path,
    threads: int,
) -> Converted:
    content = _to_onnx(estimator.object, precision, rows.shape[1])
    bound = float(np.abs(rows).max())
    bare = Conversion(precision, bound, {}, None, lowest=False, rows=len(rows))
    try:
        answers = ConvertedModel(content, bare, path=path, threads=threads).run(rows)
    except CnetError as error:
        raise NotConvertibleError(error.message) from error
    for decisions, lowest in _deciders(estimator, answers, len(rows)):
        trial = Conversion(precision, bound, {}, decisions, lowest=lowest, rows=len(rows))
        model = ConvertedModel(content, trial, path=path, threads=threads)
        decided = np.broadcast_to(model.decided(answers), len(rows))
        outputs = _matches(expected, answers, decided)
        if not outputs or decided.mean() < _LEAST_DECIDED:
            continue
        found = Conversion(precision, bound, outputs, decisions, lowest=lowest, rows=len(rows))
        final = ConvertedModel(content, found, path=path, threads=threads)
        for index in range(_ALONE):
            alone = {name: expected[name][index : index + 1] for name in outputs}
            row = rows[index : index + 1]
            if _matches(alone, final.run(row), decided[index : index + 1]).keys() != outputs.keys():
                raise NotConvertibleError("rows alone are answered otherwise than together")
        return Converted(content, final)
    raise NotConvertibleError(f"it answers otherwise than scikit-learn on {len(rows)} inputs")


def _expected(estimator: Estimator, rows: Array) -> dict[str, Array]:
    names = [spec.name for spec in estimator.signature.outputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of overflows, in inputs that are far away
        answers = estimator.infer({INPUT: rows}, outputs=names)
    return {name: conform(answer, name=name) for name, answer in answers.items()}


def _to_onnx(estimator: Any, precision: str, width: int) -> bytes:
    try:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    except ImportError as error:
        raise NotConvertibleError(f"{error.name or 'skl2onnx'} is not installed") from error
    kind = DoubleTensorType if precision == "FP64" else FloatTensorType
    reason = ""
    # Not every classifier knows the option, without which probabilities are tables of names.
    for options in ({id(estimator): {"zipmap": False}}, None):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = to_onnx(
                    estimator, initial_types=[(INPUT, kind([None, width]))], options=options
                )
            content: bytes = made.SerializeToString()
        except Exception as error:  # noqa: BLE001  whatever it cannot convert it tells in its own way
            reason = reason if options is None and reason else words(error)
            continue
        return content
    raise NotConvertibleError(f"skl2onnx cannot convert it: {reason}")


def _deciders(
    estimator: Estimator, answers: Mapping[str, Array], rows: int
) -> Iterator[tuple[str | None, bool]]:
    """What may decide the class of a row: which output, and whether its lowest number does."""
    if not _gives_classes(estimator.object):
        yield None, False
        return
    for name, answer in answers.items():
        if answer.dtype.kind == "f" and answer.ndim in (1, 2) and len(answer) == rows:
            yield name, False
            yield name, True


def _matches(
    expected: Mapping[str, Array], answers: Mapping[str, Array], decided: Array
) -> dict[str, Output]:
    """Which outputs of the ONNX model are those of the estimator."""
    found = {}
    for name, wanted in expected.items():
        columns = wanted.shape[1] if wanted.ndim == 2 else None
        for source, answer in answers.items():
            output = Output(source, datatype_of(wanted.dtype) or "FP64", columns)
            if answer.size == wanted.size and _agree(wanted, answer, output, decided):
                found[name] = output
                break
    return found


def _agree(wanted: Array, answer: Array, output: Output, decided: Array) -> bool:
    if answer.dtype.kind in "OUS":
        answer = conform(answer, name=output.source)
    if (answer.dtype.kind == "O") != (wanted.dtype.kind == "O"):
        return False
    given = _as_declared(answer, output)
    if given.shape != wanted.shape:
        return False
    if wanted.dtype.kind != "f":
        return bool(np.array_equal(given[decided], wanted[decided]))
    if DTYPES[output.datatype].kind == "f" and answer.dtype.kind != "f":
        return bool(np.array_equal(given[decided], wanted[decided]))
    with np.errstate(invalid="ignore"):
        return bool(np.allclose(given, wanted, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))


def _is_choice(spec: TensorSpec) -> bool:
    return spec.name == "predict" and not spec.datatype.startswith("FP")


def _gives_classes(estimator: Any) -> bool:
    return (
        hasattr(estimator, "classes_")
        or hasattr(estimator, "cluster_centers_")
        or (hasattr(estimator, "predict") and not _is_regressor(estimator))
    )


def _is_regressor(estimator: Any) -> bool:
    from sklearn.base import is_regressor

    return bool(is_regressor(estimator))


def _is_choosy(estimator: Any) -> bool:
    """Whether a part of it refuses values it was not fitted on."""
    if not hasattr(estimator, "get_params"):
        return False
    return any(
        name.split("__")[-1] == "handle_unknown" and value == "error"
        for name, value in estimator.get_params().items()
    )
