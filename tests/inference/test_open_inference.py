"""The Open Inference Protocol over HTTP, against the real program."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import cnet
from tests.inference import models, networks, open_inference
from tests.inference.networks import Trained
from tests.inference.open_inference import infer, infer_binary, post, post_binary
from tests.inference.services import Service, running

EXACT = 1e-6  # of probabilities: one row and many take other paths through the same arithmetic
INFER = "/v2/models/kinds/infer"
ONNX_NAMES = {"FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE", "BYTES": "STRING"}
DATATYPES = (*open_inference.NUMPY, "BYTES")


@pytest.fixture(scope="module")
def echo(folder: Path) -> Iterator[Service]:
    """A model with an input of every datatype, each given back."""
    kinds = [ONNX_NAMES.get(datatype, datatype) for datatype in DATATYPES]
    path = networks.save_echo(folder / "echo.onnx", *kinds)
    with running(folder, "onnx", "--model", str(path)) as found:
        yield found


def problem(reply: httpx.Response, status: int, *words: str) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    told: dict[str, Any] = reply.json()
    assert sorted(told) == ["code", "error"]
    for word in words:
        assert word in told["error"]
    return told


class TestMetadata:
    def test_server(self, service: Service) -> None:
        assert service.client.get("/v2").json() == {
            "name": "cnet-inference", "version": cnet.__version__,
            "extensions": ["binary_tensor_data"],
        }  # fmt: skip
        assert service.client.get("/v2/health/live").json() == {"live": True}
        assert service.client.get("/v2/health/ready").json() == {"ready": True}
        assert "/v2" in service.client.get("/").json()["routes"]

    @pytest.mark.parametrize("path", ["/v2/models/kinds", "/v2/models/kinds/versions/1"])
    def test_model(self, service: Service, path: str) -> None:
        assert service.client.get(path).json() == {
            "name": "kinds",
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "rows", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [
                {"name": "class", "datatype": "INT64", "shape": [-1]},
                {"name": "odds", "datatype": "FP32", "shape": [-1, 3]},
            ],
        }
        ready = service.client.get(f"{path}/ready")
        assert (ready.status_code, ready.json()) == (200, {"name": "kinds", "ready": True})

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("/v2/models/kin", ("'kin'", "'kinds'")),
            ("/v2/models/kinds/versions/2/ready", ("'2'", "'1'")),
            ("/v2/models/kinds/config", ("/config", "/infer")),
            ("/v2/repository/index", ("/v2/models/",)),
        ],
    )
    def test_what_there_is_not(self, service: Service, path: str, words: tuple[str, ...]) -> None:
        assert problem(service.client.get(path), 404, *words)["code"] == "not_found"

    def test_other_methods(self, service: Service) -> None:
        reply = service.client.get(INFER)
        assert problem(reply, 405, "POST")["code"] == "method_not_allowed"
        assert reply.headers["allow"] == "POST"
        problem(service.client.post("/v2/models/kinds"), 405, "GET")

    def test_a_name_with_slashes_and_spaces(self, folder: Path, trained: Trained) -> None:
        arguments = ("onnx", "--model", str(trained.path), "--model-name", "a/b c")
        with running(folder, *arguments) as found:
            for path in ("/v2/models/a/b%20c/ready", "/v2/models/a%2Fb%20c/versions/1/ready"):
                assert found.client.get(path).json() == {"name": "a/b c", "ready": True}

    def test_runtimes_without_tensors_have_no_v2(self, faces: Service) -> None:
        problem(faces.client.get("/v2/health/ready"), 404, "/predict")


class TestNumbers:
    def test_alone_and_batched_as_in_process(self, service: Service, trained: Trained) -> None:
        classes, odds = trained.in_process(trained.rows)
        for ask in (infer, infer_binary):
            batched = ask(service, "kinds", {"rows": (trained.rows, "FP32")})
            assert np.array_equal(batched["class"], classes)
            assert np.abs(batched["odds"] - odds).max() < EXACT
            for index in range(0, 120, 12):
                row = trained.rows[index : index + 1]
                alone = ask(service, "kinds", {"rows": (row, "FP32")})
                assert np.array_equal(alone["class"], classes[index : index + 1])
                assert np.abs(alone["odds"] - odds[index]).max() < EXACT

    def test_predict_and_infer_agree_to_the_last_bit(
        self, service: Service, trained: Trained
    ) -> None:
        plain = service.client.post("/predict", json={"inputs": trained.rows.tolist()}).json()
        binary = infer_binary(service, "kinds", {"rows": (trained.rows, "FP32")})
        by_json = infer(service, "kinds", {"rows": (trained.rows, "FP32")})
        assert np.array_equal(np.array(plain["outputs"]["odds"], np.float32), binary["odds"])
        assert np.array_equal(by_json["odds"], binary["odds"])

    def test_every_datatype(self, echo: Service) -> None:
        rng = np.random.default_rng(3)
        sent: dict[str, tuple[Any, str]] = {}
        for datatype in DATATYPES:
            if datatype == "BYTES":
                array = np.array([b"", "größer".encode(), b"x" * 300], object)
            else:
                array = rng.integers(0, 2, 3).astype(open_inference.NUMPY[datatype])
            sent[f"in_{ONNX_NAMES.get(datatype, datatype)}"] = (array, datatype)
        for ask in (infer, infer_binary):
            found = ask(echo, "onnx", sent)
            assert len(found) == len(DATATYPES)
            for name, (array, datatype) in sent.items():
                answer = found[name.replace("in_", "out_")]
                if datatype == "BYTES" and ask is infer:
                    answer = np.array([each.encode() for each in answer], object)
                assert np.array_equal(answer, array), datatype

    def test_outputs_are_chosen_one_by_one(self, service: Service, trained: Trained) -> None:
        body = {
            "id": "seven",
            "parameters": {"nobody knows": 1},
            "inputs": [open_inference.tensor("rows", trained.rows[:2], "FP32")],
            "outputs": [
                {"name": "odds", "parameters": {"binary_data": True}},
                {"name": "class"},
            ],
        }
        reply = post(service, "/v2/models/kinds/versions/1/infer", body)
        assert reply.headers["content-type"] == "application/octet-stream"
        end = int(reply.headers[open_inference.HEADER])
        head = httpx.Response(200, content=reply.content[:end]).json()
        assert (head["id"], head["model_name"], head["model_version"]) == ("seven", "kinds", "1")
        first, second = head["outputs"]
        assert (first["name"], first["parameters"]) == ("odds", {"binary_data_size": 24})
        assert (second["datatype"], second["shape"], len(second["data"])) == ("INT64", [2], 2)
        odds = np.frombuffer(reply.content[end:], "<f4").reshape(2, 3)
        assert np.abs(odds - trained.in_process(trained.rows[:2])[1]).max() < EXACT

    def test_nested_data_and_no_rows_at_all(self, service: Service) -> None:
        nested = {"name": "rows", "shape": [1, 4], "datatype": "FP32", "data": [[1, 2, 3, 4]]}
        assert post(service, INFER, {"inputs": [nested]}).status_code == 200
        found = infer(service, "kinds", {"rows": (np.zeros((0, 4), np.float32), "FP32")})
        assert (found["class"].shape, found["odds"].shape) == ((0,), (0, 3))

    def test_a_detector_gives_its_bare_output(self, yolo: Service) -> None:
        model = yolo.client.get("/v2/models/yolo").json()
        assert [each["name"] for each in model["inputs"]] == ["images"]
        picture = np.zeros((1, 3, 64, 96), np.float32)
        found = infer_binary(yolo, "yolo", {"images": (picture, "FP32")})
        assert np.array_equal(found["output0"], models.columns())


GOOD = {"name": "rows", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}


def changed(**fields: Any) -> dict[str, Any]:
    tensor = {name: value for name, value in {**GOOD, **fields}.items() if value is not None}
    return {"inputs": [tensor]}


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({}, ("inputs must be a list",)),
            ({"inputs": []}, ("rows is missing",)),
            ({"inputs": [1]}, ("inputs must be a list of objects",)),
            ({"inputs": [GOOD, GOOD]}, ("inputs[1].name", "twice")),
            (changed(name="row"), ("inputs[0].name", "'row'", "there are: rows")),
            (changed(name=None), ("inputs[0].name", "None")),
            (changed(datatype="FP64"), ("inputs[0].datatype", "FP32", "'FP64'")),
            (changed(datatype="float"), ("inputs[0].datatype", "'float'", "none")),
            (changed(datatype=None), ("inputs[0].datatype",)),
            (changed(shape=[4]), ("inputs[0].shape", "[-1, 4]", "[4]")),
            (changed(shape=[1, -4]), ("inputs[0].shape", "whole numbers")),
            (changed(shape=[1, 4.0]), ("inputs[0].shape", "whole numbers")),
            (changed(shape=[2**62, 4]), ("inputs[0].shape", "whole numbers")),
            (changed(shape=[1] * 40), ("inputs[0].shape", "at most 32")),
            (changed(shape=[0, 2**30]), ("inputs[0].shape", "empty tensor")),
            (changed(name="x" * 5000), ("xxx...; there are: rows",)),
            (changed(shape=None), ("inputs[0].shape",)),
            (changed(shape=[2, 4]), ("inputs[0] has 4 elements", "[2, 4] is 8")),
            (changed(data=[1, 2, 3]), ("inputs[0] has 3 elements",)),
            (changed(data=[[1, 2], [3, 4]]), ("inputs[0].data", "[2, 2]", "[1, 4]")),
            (changed(data=["1", 2, 3, 4]), ("inputs[0].data", "text")),
            (changed(data=[1e300, 2, 3, 4]), ("inputs[0].data", "range of FP32")),
            (changed(data=7), ("inputs[0].data", "list")),
            (changed(data=None), ("inputs[0].data", "binary_data_size")),
            (changed(parameters={"binary_data_size": 16}), ("inputs[0]", "give one of them")),
            (changed(parameters={"shared_memory_region": "x"}), ("shared_memory_region",)),
            (changed(parameters=[]), ("inputs[0].parameters must be an object",)),
            (changed(dtype="FP32"), ("inputs[0]", "'dtype'")),
            ({**changed(), "outputs": [{"name": "clas"}]}, ("outputs[0].name", "class, odds")),
            ({**changed(), "outputs": {}}, ("outputs must be a list",)),
            (
                {**changed(), "outputs": [{"name": "odds", "parameters": {"classification": 2}}]},
                ("classification",),
            ),
            ({**changed(), "parameters": {"binary_data_output": 1}}, ("true or false",)),
            ({**changed(), "id": 7}, ("id must be text",)),
            ({**changed(), "input": []}, ("'input'",)),
        ],
    )
    def test_what_does_not_fit(self, service: Service, body: Any, words: tuple[str, ...]) -> None:
        problem(post(service, INFER, body), 422, *words)

    @pytest.mark.parametrize(
        ("size", "tail", "words"),
        [
            (16, b"x" * 15, ("binary_data_size is 16", "15 bytes are left")),
            (16, b"x" * 17, ("1 bytes behind the JSON",)),
            (15, b"x" * 15, ("15 bytes", "4 bytes an element")),
            (12, b"x" * 12, ("3 elements",)),
            (-1, b"", ("binary_data_size must be a whole number",)),
            ("16", b"x" * 16, ("binary_data_size must be a whole number",)),
        ],
    )
    def test_lengths(
        self, service: Service, size: Any, tail: bytes, words: tuple[str, ...]
    ) -> None:
        head = changed(data=None, parameters={"binary_data_size": size})
        problem(post_binary(service, INFER, head, tail), 422, *words)

    @pytest.mark.parametrize("length", ["-1", "x", "99999", "1" * 30, "١"])
    def test_length_of_the_header(self, service: Service, length: str) -> None:
        headers = {open_inference.HEADER.encode(): length.encode()}
        reply = service.client.post(INFER, content=b"{}", headers=headers)
        problem(reply, 400, "Inference-Header-Content-Length")

    def test_other_bodies(self, service: Service) -> None:
        def send(content: bytes, **headers: str) -> httpx.Response:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return service.client.post(INFER, content=content, headers=names)

        problem(send(b"{"), 400, "not JSON")
        problem(send(b"x", content_type="application/octet-stream"), 400, "needs the header")
        problem(send(b"x", content_type="image/png"), 415, "image/png")
        problem(send(b"x", content_encoding="gzip"), 415, "gzip")

    def test_bytes_that_are_no_text_in_a_reply_of_json(self, echo: Service) -> None:
        array = np.array([b"\xff\xfe"], object)
        size = len(open_inference.encode(array, "BYTES"))
        head = {
            "inputs": [
                {
                    "name": "in_STRING", "shape": [1], "datatype": "BYTES",
                    "parameters": {"binary_data_size": size},
                }
            ],
            "outputs": [{"name": "out_STRING"}],
        }  # fmt: skip
        others = [
            {"name": f"in_{ONNX_NAMES.get(name, name)}", "shape": [0], "datatype": name, "data": []}
            for name in open_inference.NUMPY
        ]
        head["inputs"] += others
        tail = open_inference.encode(array, "BYTES")
        problem(post_binary(echo, "/v2/models/onnx/infer", head, tail), 422, "in_STRING", "UTF-8")


def test_routes_of_tensors_import_nothing_for_those_without(tmp_path: Path) -> None:
    code = (
        "import sys, cnet.inference.main\n"
        "heavy = {'numpy', 'cnet.inference.openinference.routes'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
