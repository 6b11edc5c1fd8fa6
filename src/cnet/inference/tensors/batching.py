"""Rows of several requests in one call of a model, and what it takes to be sure that they may be.

A free first size is not enough: a model can mix its rows (a softmax over the wrong axis). So it is
tried: the answers to rows together must be those to the same rows alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from cnet.errors import CnetError
from cnet.inference.lanes import Work
from cnet.inference.metrics import Metrics
from cnet.inference.runtime import Batching, ServesTensors, Signature, TensorSpec
from cnet.inference.tensors.datatypes import DTYPES, Array

MOST_ROWS = 64
TOLERANCE = 1e-5
"""Of numbers: products of matrices add in another order when there are more rows."""

_LOGGER = logging.getLogger(__name__)
_PROBES = 8
_QUICK_S = 0.001
_SLOW_S = 0.005
_LEAST_GAIN_S = 0.002
_REPEATS = 3

Infer = Callable[[Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request wants: arrays in, names of outputs."""

    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]


class Batches:
    """Implements `lanes.Group` over a runtime; makes the works of requests for tensors."""

    def __init__(self, runtime: ServesTensors, metrics: Metrics) -> None:
        self._runtime = runtime
        self._metrics = metrics
        batching = getattr(runtime, "batching", None) or Batching(most_rows=1)
        self.most_rows: int = batching.most_rows
        self._quick_rows: int = batching.quick_rows
        self._slow = 0

    def work(self, asked: Asked) -> Work:
        """What is to be done for a request."""
        return Work(
            do=self._do,
            payload=asked,
            key=_key(asked) if self.most_rows > 1 or self._quick_rows else None,
            rows=_rows(asked),
            group=self,
        )

    def is_quick(self, rows: int) -> bool:
        """Whether so many rows take less than a millisecond, as far as is known."""
        return rows <= self._quick_rows

    def took(self, seconds: float) -> None:
        """A model that turns out to be slow goes to the threads for good."""
        if seconds > _SLOW_S:
            self._slow += 1
            if self._slow > 1:
                _LOGGER.info("the model took %.0f ms in the event loop: no more", seconds * 1000)
                self._quick_rows = 0

    def _do(self, asked: Sequence[Asked], cpus: int) -> Sequence[Any]:
        if len(asked) > 1:
            answers = self._together(asked, cpus)
            if answers is not None:
                return answers
            self._metrics.retried += 1
        return [self._alone(each, cpus) for each in asked]

    def _alone(self, asked: Asked, cpus: int) -> Mapping[str, Array] | Exception:
        try:
            return self._runtime.infer(asked.inputs, outputs=asked.outputs, threads=cpus)
        except Exception as error:  # noqa: BLE001  raised anew where it is waited for
            return error

    def _together(self, asked: Sequence[Asked], cpus: int) -> Sequence[Any] | None:
        """None where that fails, or does not come out as one row for each."""
        names = asked[0].outputs
        inputs = {
            name: np.concatenate([each.inputs[name] for each in asked]) for name in asked[0].inputs
        }
        try:
            answers = self._runtime.infer(inputs, outputs=names, threads=cpus)
            arrays = {name: np.asarray(answers[name]) for name in names}
        except Exception as error:  # noqa: BLE001  each is asked alone, which says what is wrong
            _LOGGER.info("a batch of %d failed: %s", len(asked), error)
            return None
        ends = np.cumsum([_rows(each) for each in asked])
        if any(not array.ndim or len(array) != ends[-1] for array in arrays.values()):
            return None
        parts = {name: np.split(array, ends[:-1]) for name, array in arrays.items()}
        return [{name: parts[name][index] for name in names} for index in range(len(asked))]


def find_out(
    signature: Signature, infer: Infer, *, most_rows: int = MOST_ROWS, quick: bool = True
) -> Batching:
    """Whether rows may go together, and how many at a time, by trying random ones.

    `quick` tells that how long a call takes depends on the shape of its inputs alone. As many rows
    go together as cost little more than one.
    """
    reason = "it is switched off" if most_rows == 1 else _not_by_rows(signature)
    try:
        if reason:
            return Batching(quick_rows=_quick_alone(signature, infer, quick), reason=reason)
        reason = _mixes_rows(signature, infer)
        first = _seconds(infer, _sample(signature, 1))
        if reason:
            return Batching(quick_rows=int(quick and first < _QUICK_S), reason=reason)
        many = _seconds(infer, _sample(signature, most_rows))
    except (CnetError, ValueError, TypeError) as error:
        return Batching(reason=f"it could not be tried: {error}")
    a_row = max((many - first) / (most_rows - 1), 1e-9)
    budget = max(first, _LEAST_GAIN_S)
    rows = max(1, min(most_rows, 1 + int(budget / a_row)))
    quick_rows = 1 + int((_QUICK_S - first) / a_row) if quick and first < _QUICK_S else 0
    return Batching(
        most_rows=rows,
        quick_rows=min(quick_rows, most_rows),
        reason=f"rows are answered alike alone and together; up to {rows} cost little more than 1"
        if rows > 1
        else "more rows cost as much more time",
    )


def _quick_alone(signature: Signature, infer: Infer, quick: bool) -> int:
    """1 where a call is quick and can never be asked for more than was tried, else 0."""
    is_fixed = all(spec.shape and -1 not in spec.shape[1:] for spec in signature.inputs)
    return int(quick and is_fixed and _seconds(infer, _sample(signature, 1)) < _QUICK_S)


def told(batching: Batching) -> Mapping[str, object]:
    """As `/info` has it."""
    return {"max_rows": batching.most_rows, "reason": batching.reason}


def _not_by_rows(signature: Signature) -> str:
    for spec in (*signature.inputs, *signature.outputs):
        if spec.shape is None or not spec.shape or spec.shape[0] != -1:
            return f"the first size of {spec.name} is not free"
    for spec in signature.inputs:
        if -1 in (spec.shape or ())[1:]:
            return f"more than the first size of {spec.name} is free"
    return ""


def _mixes_rows(signature: Signature, infer: Infer) -> str:
    """Why rows may not go together; empty where they may."""
    inputs = _sample(signature, _PROBES)
    together = infer(inputs)
    for start, end in ((0, 1), (1, 3), (3, _PROBES)):
        part = infer({name: array[start:end] for name, array in inputs.items()})
        for name, whole in together.items():
            if len(whole) != _PROBES or not _same(whole[start:end], part[name]):
                return f"{name} of a row depends on the rows beside it"
    return ""


def _same(left: Array, right: Array) -> bool:
    if left.shape != right.shape:
        return False
    if left.dtype.kind == "f":
        return bool(np.allclose(left, right, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
    return bool(np.array_equal(left, right))


def _sample(signature: Signature, rows: int) -> dict[str, Array]:
    return {spec.name: sample(spec, rows) for spec in signature.inputs}


def sample(spec: TensorSpec, rows: int, *, free: int = 1) -> Array:
    """Random values for an input: `rows` where its first size is free, `free` for others."""
    rng = np.random.default_rng(20)
    shape = tuple(free if size == -1 else size for size in spec.shape or ())
    if spec.shape and spec.shape[0] == -1:
        shape = (rows, *shape[1:])
    dtype = DTYPES[spec.datatype]
    if spec.datatype == "BYTES":
        texts = np.empty(int(np.prod(shape)), object)
        texts[:] = [b"text %d" % (index % 7) for index in range(texts.size)]
        return texts.reshape(shape)
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, 2, size=shape).astype(dtype)


def _seconds(infer: Infer, inputs: Mapping[str, Array]) -> float:
    """The best of a few runs."""
    times = []
    for _ in range(_REPEATS):
        started = perf_counter()
        infer(inputs)
        times.append(perf_counter() - started)
    return min(times)


def _rows(asked: Asked) -> int:
    first = next(iter(asked.inputs.values()), None)
    return int(first.shape[0]) if first is not None and first.ndim else 1


def _key(asked: Asked) -> Hashable:
    arrays = sorted(asked.inputs.items())
    # An empty request, or one whose inputs have different numbers of rows, goes with no other.
    counts = {array.shape[0] if array.ndim else -1 for _, array in arrays}
    if len(counts) != 1 or not counts.isdisjoint({0, -1}):
        return object()
    return (
        asked.outputs,
        tuple((name, array.dtype.char, array.shape[1:]) for name, array in arrays),
    )
