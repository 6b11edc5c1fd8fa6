"""Damaged requests of the Open Inference Protocol: understood whole, or refused in words."""

from __future__ import annotations

import json
import random
import struct

import numpy as np
import pytest

from cnet.errors import SpecError
from cnet.inference.openinference import answers, requests
from cnet.inference.openinference.requests import HEADER_LENGTH, InferRequest
from cnet.inference.runtime import PredictRequest, Signature, TensorSpec
from cnet.inference.tensors.datatypes import DTYPES
from tests.inference.mutations import mutate

SIGNATURE = Signature(
    platform="none",
    inputs=(TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "BYTES", (-1,), ("INT16",))),
    outputs=(TensorSpec("c", "FP32", (-1, 2)), TensorSpec("d", "BYTES", (-1,))),
    default_outputs=("c",),
)
FLOATS = np.array([[1, 2], [3, 4]], np.float32)
TEXTS = struct.pack("<I", 2) + b"hi" + struct.pack("<I", 0)
HEAD = {
    "id": "1",
    "parameters": {"binary_data_output": True},
    "inputs": [
        {"name": "a", "shape": [2, 2], "datatype": "FP32", "data": FLOATS.tolist()},
        {"name": "b", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 10}},
    ],
    "outputs": [{"name": "d"}, {"name": "c", "parameters": {"binary_data": False}}],
}


def request(head: bytes, tail: bytes, length: str | None = None) -> PredictRequest:
    headers = {HEADER_LENGTH: length or str(len(head))}
    return PredictRequest("application/octet-stream", "", head + tail, headers)


def read(sent: PredictRequest) -> InferRequest:
    return requests.read(sent, SIGNATURE)


def test_the_whole_request() -> None:
    found = read(request(json.dumps(HEAD).encode(), TEXTS))
    assert (found.id, found.outputs) == ("1", {"d": True, "c": False})
    assert np.array_equal(found.inputs["a"], FLOATS)
    assert found.inputs["b"].tolist() == [b"hi", b""]


def test_a_datatype_that_is_taken_beside_its_own() -> None:
    head = {"inputs": [HEAD["inputs"][0], {  # type: ignore[index]
        "name": "b", "shape": [2], "datatype": "INT16", "parameters": {"binary_data_size": 4},
    }]}  # fmt: skip
    found = read(request(json.dumps(head).encode(), struct.pack("<hh", -1, 7)))
    assert found.inputs["b"].tolist() == [-1, 7]
    assert found.outputs == {"c": False}


@pytest.mark.parametrize("seed", range(8))
def test_damaged_requests(seed: int) -> None:
    rng = random.Random(seed)
    head = json.dumps(HEAD).encode()
    understood = refused = 0
    for _ in range(1500):
        text = mutate(rng, head, header=len(head)) if rng.random() < 0.7 else head
        tail = mutate(rng, TEXTS) if rng.random() < 0.5 else TEXTS
        length = str(rng.randrange(400)) if rng.random() < 0.1 else None
        try:
            found = read(request(text, tail, length))
        except SpecError as error:
            assert error.message and len(error.message) < 2000
            refused += 1
            continue
        understood += 1
        for spec in SIGNATURE.inputs:
            array = found.inputs[spec.name]
            assert array.dtype in {DTYPES[name] for name in (spec.datatype, *spec.also)}
        given = {"c": found.inputs["a"], "d": np.array([b"x"], object)}
        assert answers.write(found, given, model="m", version="1").status == 200
    assert understood > 50
    assert refused > 500
