"""Rows of several requests in one call: when that may be, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from cnet.errors import SpecError
from cnet.inference.metrics import Metrics
from cnet.inference.runtime import Batching, Signature, TensorSpec
from cnet.inference.tensors.batching import Asked, Batches, find_out
from cnet.inference.tensors.datatypes import Array


def signature(inputs: Sequence[int], outputs: Sequence[int], datatype: str = "FP32") -> Signature:
    return Signature(
        "test",
        (TensorSpec("x", datatype, tuple(inputs)),),
        (TensorSpec("y", datatype, tuple(outputs)),),
        ("y",),
    )


class Rows:
    """Twice each row; refuses a call with a NaN in it."""

    signature = signature([-1, 2], [-1, 2])
    batching = Batching(most_rows=8)

    def __init__(self) -> None:
        self.calls: list[int] = []

    def infer(
        self, inputs: Mapping[str, Array], *, outputs: Sequence[str], threads: int
    ) -> Mapping[str, Array]:
        self.calls.append(len(inputs["x"]))
        if np.isnan(inputs["x"]).any():
            raise SpecError("NaN is no number")
        return {"y": inputs["x"] * 2}


def rows(*values: float) -> Asked:
    return Asked({"x": np.array([[value, 1] for value in values], np.float32)}, ("y",))


def test_requests_get_their_own_rows() -> None:
    model = Rows()
    batches = Batches(model, Metrics())
    works = [batches.work(rows(1)), batches.work(rows(2, 3)), batches.work(rows(4))]
    assert len({work.key for work in works}) == 1
    assert [work.rows for work in works] == [1, 2, 1]
    answers = works[0].do([work.payload for work in works], 1)
    assert model.calls == [4]
    assert [each["y"].tolist() for each in answers] == [
        [[2, 2]],
        [[4, 2], [6, 2]],
        [[8, 2]],
    ]


def test_a_batch_that_fails_is_asked_one_by_one() -> None:
    model, metrics = Rows(), Metrics()
    batches = Batches(model, metrics)
    asked = [rows(1), rows(float("nan")), rows(3)]
    answers = batches.work(asked[0]).do(asked, 1)
    assert isinstance(answers[1], SpecError)
    assert [answers[index]["y"].tolist() for index in (0, 2)] == [[[2, 2]], [[6, 2]]]
    assert (model.calls, metrics.retried) == ([3, 1, 1, 1], 1)


def test_an_answer_of_another_length_is_not_shared_out() -> None:
    class Sum(Rows):
        def infer(self, inputs: Mapping[str, Array], **_: Any) -> Mapping[str, Array]:
            return {"y": inputs["x"].sum(axis=0, keepdims=True)}

    batches = Batches(Sum(), Metrics())
    answers = batches.work(rows(1)).do([rows(1), rows(2)], 1)
    assert [each["y"].tolist() for each in answers] == [[[1, 1]], [[2, 1]]]


def test_what_does_not_fit_together_has_another_key() -> None:
    batches = Batches(Rows(), Metrics())
    wide = Asked({"x": np.zeros((1, 3), np.float32)}, ("y",))
    double = Asked({"x": np.zeros((1, 2))}, ("y",))
    others = Asked(rows(1).inputs, ("y", "z"))
    empty = [Asked({"x": np.zeros((0, 2), np.float32)}, ("y",)) for _ in range(2)]
    keys = {batches.work(each).key for each in (rows(1), wide, double, others, *empty)}
    assert len(keys) == 6


@pytest.mark.parametrize(
    ("shapes", "call", "words"),
    [
        (([-1, 3], [-1, 3]), lambda x: x * 2, ""),
        (([-1, 3], [-1]), lambda x: x.argmax(axis=1).astype(np.float32), ""),
        (([-1, 3], [-1, 3]), lambda x: x - x.mean(axis=0), "depends on the rows beside it"),
        (([-1, 3], [-1, 3]), lambda x: np.cumsum(x, axis=0), "depends on the rows beside it"),
        (([-1, 3], [-1, 3]), lambda x: x[:1], "depends on the rows beside it"),
        (([1, 3], [1, 3]), lambda x: x, "the first size of x is not free"),
        (([-1, 3], [3, 3]), lambda x: x, "the first size of y is not free"),
        (([-1, -1], [-1, -1]), lambda x: x, "more than the first size of x is free"),
    ],
)  # fmt: skip
def test_whether_rows_may_go_together_is_tried(shapes: Any, call: Any, words: str) -> None:
    found = find_out(signature(*shapes), lambda inputs: {"y": call(inputs["x"])})
    assert (found.most_rows > 1) == (not words), found
    assert words in found.reason


def test_a_model_that_cannot_be_tried_goes_alone() -> None:
    def fails(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        raise SpecError("no random numbers, please")

    found = find_out(signature([-1, 3], [-1, 3]), fails)
    assert (found.most_rows, found.quick_rows) == (1, 0)
    assert "no random numbers" in found.reason
