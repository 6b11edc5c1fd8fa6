"""Arrays on the wire: what goes out comes in unchanged, and nothing else is taken."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cnet.errors import ExecutionError, SpecError
from cnet.inference.runtime import TensorSpec
from cnet.inference.tensors import binary, json_values
from cnet.inference.tensors.datatypes import DTYPES, Array, conform, datatype_of
from cnet.inference.tensors.signatures import check_shape, find, require_all

SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def elements(datatype: str, *, finite: bool) -> st.SearchStrategy[Any]:
    if datatype == "BYTES":
        return st.text(max_size=9).map(str.encode) if finite else st.binary(max_size=9)
    options: dict[str, Any] = {}
    if datatype.startswith("FP") and finite:
        options = {"allow_infinity": False}
    return arrays.from_dtype(DTYPES[datatype], **options)


@st.composite
def tensors(draw: st.DrawFn, *, finite: bool) -> tuple[str, Array]:
    datatype = draw(st.sampled_from(list(DTYPES)))
    shape = draw(SHAPES)
    array = np.empty(shape, DTYPES[datatype])
    count = array.size
    flat = draw(st.lists(elements(datatype, finite=finite), min_size=count, max_size=count))
    array.reshape(-1)[:] = flat
    return datatype, array


def same(one: Array, other: Array) -> bool:
    if one.dtype.kind == "f":
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)
    return one.dtype == other.dtype and np.array_equal(one, other)


@given(tensors(finite=False), st.integers(0, 7))
def test_bytes_round_trip_wherever_they_begin(tensor: tuple[str, Array], offset: int) -> None:
    datatype, array = tensor
    content = b"x" * offset + binary.write(array)
    found = binary.read(memoryview(content)[offset:], datatype, field="x")
    assert found.flags.aligned
    assert same(found.reshape(array.shape), array)


@given(tensors(finite=True))
def test_json_round_trip(tensor: tuple[str, Array]) -> None:
    datatype, array = tensor
    text = orjson.dumps(json_values.write(array, name="x"), option=orjson.OPT_SERIALIZE_NUMPY)
    found = json_values.read(orjson.loads(text), [datatype], field="x")
    # JSON cannot tell [[], []] of shape [2, 0, 3] from [2, 0].
    assert array.size == 0 or same(found, array)
    assert found.dtype == array.dtype


@given(st.sampled_from(sorted(set(DTYPES) - {"BYTES"})), st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(datatype: str, content: bytes) -> None:
    size = DTYPES[datatype].itemsize
    try:
        found = binary.read(memoryview(content), datatype, field="x")
    except SpecError as error:
        assert error.field == "x"
        assert len(content) % size or (datatype == "BOOL" and max(content) > 1)
    else:
        assert found.tobytes() == content


@given(st.binary(max_size=60))
def test_any_bytes_are_whole_elements_or_refused(content: bytes) -> None:
    try:
        found = binary.read(memoryview(content), "BYTES", field="x")
    except SpecError as error:
        assert "ends after the data do" in error.message
    else:
        assert binary.write(found) == content


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@given(JSON_VALUES, st.sampled_from(list(DTYPES)))
def test_any_json_is_read_as_it_is_or_refused(value: Any, datatype: str) -> None:
    try:
        found = json_values.read(value, [datatype], field="x")
    except SpecError as error:
        assert error.field == "x"
        return
    assert found.dtype == DTYPES[datatype]
    if datatype.startswith("FP"):
        return
    kept = json_values.write(found, name="x")
    assert json.dumps(kept.tolist() if isinstance(kept, np.ndarray) else kept) == json.dumps(value)


@pytest.mark.parametrize(
    ("value", "datatype", "words"),
    [
        ([1, "2"], "INT32", "text"),
        ([True], "FP32", "true or false"),
        ([1], "BOOL", "whole numbers"),
        ([1.0], "INT8", "numbers"),
        ([None], "INT8", "null"),
        ([128], "INT8", "range of INT8"),
        ([-1, 2**64 - 1], "UINT64", "range of UINT64"),
        ([70000.0], "FP16", "range of FP16"),
        ([[1], [1, 2]], "INT8", "same lengths"),
        ([[1], 2], "INT8", "same lengths"),
        ([["ab"], "cd"], "BYTES", "same lengths"),
        ([{"a": 1}], "INT8", "objects"),
        (json.loads("[" * 40 + "]" * 40), "INT8", "32 deep"),
    ],
)
def test_what_is_refused_is_told(value: Any, datatype: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        json_values.read(value, [datatype], field="x")


def test_the_first_datatype_that_holds_it_is_taken() -> None:
    assert json_values.read([[1, 2.5]], ["FP64", "BYTES"], field="x").dtype == np.float64
    assert json_values.read([["a"]], ["FP64", "BYTES"], field="x").tolist() == [[b"a"]]
    with pytest.raises(SpecError, match="FP64 or BYTES"):
        json_values.read([["a", 1]], ["FP64", "BYTES"], field="x")


def test_nan_is_null_in_both_directions() -> None:
    found = json_values.read([1, None], ["FP32"], field="x")
    assert np.isnan(found[1])
    text = orjson.dumps(json_values.write(found, name="x"), option=orjson.OPT_SERIALIZE_NUMPY)
    assert text == b"[1.0,null]"


def test_answers_of_models_become_one_of_the_datatypes() -> None:
    assert conform(np.array(["é", "b"]), name="y").tolist() == ["é".encode(), b"b"]
    assert conform([1.5, 2], name="y").dtype == np.float64
    assert conform(np.arange(3, dtype=">i4"), name="y").dtype == np.dtype("<i4")
    assert datatype_of(np.dtype("c8")) is None
    with pytest.raises(ExecutionError, match="complex64"):
        conform(np.zeros(1, np.complex64), name="y")
    with pytest.raises(ExecutionError, match="holds dict"):
        conform(np.array([{}], object), name="y")


def test_bytes_that_are_no_text_cannot_be_json() -> None:
    with pytest.raises(SpecError, match="y holds bytes that are not UTF-8"):
        json_values.write(np.array([b"\xff"], object), name="y")


def test_a_length_beyond_the_data_is_refused() -> None:
    for content in (b"\x01", struct.pack("<I", 5) + b"abcd", b"\xff\xff\xff\xff"):
        with pytest.raises(SpecError, match="element 0 of its BYTES"):
            binary.read(memoryview(content), "BYTES", field="x")


def test_shapes_and_names() -> None:
    spec = TensorSpec("x", "FP32", (-1, 3))
    check_shape([0, 3], spec, field="x")
    check_shape([7, 3, 1], TensorSpec("x", "FP32", None), field="x")
    for shape in ([3], [1, 4], [1, 3, 1]):
        with pytest.raises(SpecError, match=r"\[-1, 3\]"):
            check_shape(shape, spec, field="x")
    assert find([spec], "x", field="inputs") is spec
    with pytest.raises(SpecError, match="there are: x"):
        find([spec], "y", field="inputs")
    with pytest.raises(SpecError, match="x is missing"):
        require_all([spec], [], field="inputs")
