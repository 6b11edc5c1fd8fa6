"""Parameters: the same judgement whether a value is a JSON number or a text."""

from __future__ import annotations

import math

import pytest

from cnet.errors import SpecError
from cnet.inference.fields import Choice, Number, check

CONFIDENCE = Number("confidence", 0.5, 0, 1, zero_is_default=True)
NEIGHBORS = Number("min_neighbors", None, 0, 1000, whole=True, zero_is_default=True)
SCALE = Number("scale_factor", 1.1, 1.01, 10)
SEARCH = Choice("search", "faces", ("faces", "image"))
ALL = (CONFIDENCE, NEIGHBORS, SCALE, SEARCH)


def test_defaults_and_values() -> None:
    defaults = {"confidence": 0.5, "min_neighbors": None, "scale_factor": 1.1, "search": "faces"}
    assert check({}, ALL) == defaults
    assert check({"confidence": None, "search": None}, ALL) == defaults
    assert check({"confidence": 0, "min_neighbors": "0"}, ALL) == defaults
    sent = {"confidence": 1, "min_neighbors": 5.0, "scale_factor": "1.3", "search": "image"}
    expected = {"confidence": 1, "min_neighbors": 5, "scale_factor": 1.3, "search": "image"}
    assert check(sent, ALL) == expected
    assert isinstance(check(sent, ALL)["min_neighbors"], int)


@pytest.mark.parametrize(
    "value",
    [1.01, -0.1, math.nan, math.inf, "nan", "-inf", "1e999", "", "half", True, [0.5], {}, "9" * 99],
)
def test_wrong_confidence_is_named_with_its_range(value: object) -> None:
    with pytest.raises(SpecError, match="confidence must be a number from 0 to 1") as caught:
        check({"confidence": value}, ALL)
    assert caught.value.field == "confidence"


@pytest.mark.parametrize("value", [2.5, "2.5", 1001, 10**400, -1])
def test_whole_numbers(value: object) -> None:
    with pytest.raises(SpecError, match="min_neighbors must be a whole number from 0 to 1000"):
        check({"min_neighbors": value}, ALL)


def test_zero_is_wrong_where_it_means_nothing() -> None:
    with pytest.raises(SpecError, match=r"from 1\.01 to 10"):
        check({"scale_factor": 0}, ALL)


@pytest.mark.parametrize("value", ["face", "", 1, ["faces"]])
def test_choices(value: object) -> None:
    with pytest.raises(SpecError, match='"faces" or "image"'):
        check({"search": value}, ALL)


def test_unknown_fields_are_named_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"'confidnce'.*image, confidence") as caught:
        check({"confidnce": 0.5}, ALL)
    assert caught.value.field == "confidnce"
