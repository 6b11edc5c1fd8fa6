"""The runtime `onnx` through the real program: the same numbers as ONNX Runtime in-process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.inference import networks
from tests.inference.networks import KINDS, Trained
from tests.inference.services import Service, run_to_end, running

EXACT = 1e-6  # of probabilities: one row and many take other paths through the same arithmetic


def predict(service: Service, inputs: Any, **fields: Any) -> dict[str, Any]:
    reply = service.client.post("/predict", json={"inputs": inputs, **fields})
    assert reply.status_code == 200, reply.text
    outputs: dict[str, Any] = reply.json()["outputs"]
    return outputs


def refusal(service: Service, body: Any) -> tuple[int, str, str]:
    reply = service.client.post("/predict", json=body)
    problem = reply.json()
    return reply.status_code, problem["error"], problem["details"]


def test_info_tells_names_shapes_datatypes_and_labels(service: Service, trained: Trained) -> None:
    info = service.client.get("/info").json()
    assert info["inputs"] == [
        {"name": "rows", "shape": ["n", 4], "type": "tensor(float)", "datatype": "FP32"}
    ]
    assert [(each["name"], each["shape"], each["datatype"]) for each in info["outputs"]] == [
        ("class", ["n"], "INT64"),
        ("odds", ["n", 3], "FP32"),
    ]
    assert info["labels"] == list(KINDS)
    told = {key: info[key] for key in ("model_type", "model_path", "loaded", "threads", "name")}
    assert told == {
        "model_type": "onnx", "model_path": str(trained.path), "loaded": True, "threads": 2,
        "name": "kinds",
    }  # fmt: skip
    health = {"status": "healthy", "model": str(trained.path)}
    assert service.client.get("/health").json() == health


def test_alone_and_batched_as_in_process(service: Service, trained: Trained) -> None:
    classes, odds = trained.in_process(trained.rows)
    batched = predict(service, {"rows": trained.rows.tolist()})
    assert batched["class"] == classes.tolist()
    assert np.abs(np.array(batched["odds"]) - odds).max() < EXACT
    for row, kind, chances in zip(trained.rows[::10], classes[::10], odds[::10], strict=True):
        alone = predict(service, [row.tolist()])
        assert alone["class"] == [kind]
        assert np.abs(np.array(alone["odds"]) - chances).max() < EXACT


def test_many_at_once_each_get_their_own(service: Service, trained: Trained) -> None:
    classes = trained.in_process(trained.rows)[0].tolist()
    with ThreadPoolExecutor(8) as pool:
        rows = [[row.tolist()] for row in trained.rows[:60]]
        answers = list(pool.map(lambda row: predict(service, row, outputs=["class"]), rows))
    assert answers == [{"class": [kind]} for kind in classes[:60]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, ("inputs is missing", "rows")),
        ({"inputs": {}}, ("rows is missing",)),
        ({"inputs": {"row": [[1, 2, 3, 4]]}}, ("'row'", "there are: rows")),
        ({"inputs": [1, 2, 3, 4]}, ("inputs.rows", "[-1, 4]", "[4]")),
        ({"inputs": [[1, 2, 3]]}, ("inputs.rows", "[-1, 4]", "[1, 3]")),
        ({"inputs": [[1, 2, 3, 4], [1, 2, 3]]}, ("inputs.rows", "same lengths")),
        ({"inputs": [["1", 2, 3, 4]]}, ("inputs.rows", "FP32", "text")),
        ({"inputs": [[True, 2, 3, 4]]}, ("inputs.rows", "FP32", "true or false")),
        ({"inputs": [[1e300, 2, 3, 4]]}, ("inputs.rows", "range")),
        ({"inputs": [[1, 2, 3, 4]], "outputs": ["clas"]}, ("'clas'", "class, odds")),
        ({"inputs": [[1, 2, 3, 4]], "outputs": []}, ("outputs",)),
        ({"inputs": [[1, 2, 3, 4]], "outptus": ["class"]}, ("outptus", "inputs, outputs")),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    service: Service, body: Any, words: tuple[str, ...]
) -> None:
    status, code, details = refusal(service, body)
    assert (status, code) == (422, "invalid_field")
    for word in words:
        assert word in details


def test_other_bodies(service: Service) -> None:
    headers = {"content-type": "application/json"}
    post = service.client.post
    assert post("/predict", content=b"{", headers=headers).status_code == 400
    assert post("/predict", content=b"[]", headers=headers).status_code == 400
    assert post("/predict", content=b"[" * 5000, headers=headers).status_code == 400
    assert post("/predict", content=b"x", headers={"content-type": "image/png"}).status_code == 415


def test_every_number_text_and_truth(tmp_path: Path) -> None:
    """A model that gives back what it is given: nothing changes on the way in and out."""
    values: dict[str, list[Any]] = {
        "BOOL": [True, False],
        "UINT8": [0, 255],
        "INT16": [-32768, 32767],
        "INT64": [-(2**63), 2**63 - 1],
        "UINT64": [0, 2**64 - 1],
        "FLOAT16": [0.5, None],
        "FLOAT": [3.4028235e38, None],
        "DOUBLE": [0.1, 1e300],
        "STRING": ["", "größer ✓"],
    }
    path = networks.save_echo(tmp_path / "echo.onnx", *values)
    with running(tmp_path, "onnx", "--model", str(path)) as service:
        sent = {f"in_{kind}": value for kind, value in values.items()}
        answer = predict(service, sent)
        assert answer == {f"out_{kind}": value for kind, value in values.items()}
        for kind, value in [("UINT8", 256), ("UINT8", -1), ("INT64", 2**63), ("UINT64", -1)]:
            _, code, details = refusal(service, {"inputs": {**sent, f"in_{kind}": [value, 0]}})
            assert (code, f"in_{kind}" in details) == ("invalid_field", True)
        assert refusal(service, {"inputs": {**sent, "in_INT16": [1.5, 2]}})[1] == "invalid_field"


def test_inputs_that_do_not_fit_together_are_the_clients_fault(tmp_path: Path) -> None:
    path = networks.save_product(tmp_path / "product.onnx")
    with running(tmp_path, "onnx", "--model", str(path)) as service:
        assert predict(service, {"a": [[1, 2]], "b": [[3], [4]]}) == {"product": [[11]]}
        status, code, details = refusal(service, {"inputs": {"a": [[1, 2]], "b": [[3]]}})
        assert (status, code) == (422, "model_failed")
        assert "a [1, 2], b [1, 1]" in details


def test_probabilities_as_tables_of_names_become_columns(tmp_path: Path) -> None:
    """What scikit-learn models converted with skl2onnx's defaults answer."""
    zip_map = helper.make_node(
        "ZipMap", ["odds"], ["named"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"]
    )
    row = helper.make_map_type_proto(networks.TensorProto.STRING, _float_tensor())
    named = helper.make_value_info("named", helper.make_sequence_type_proto(row))
    inputs = [networks.value("odds", "FLOAT", "n", 2)]
    path = networks.save(tmp_path / "zip.onnx", [zip_map], inputs, [named])
    with running(tmp_path, "onnx", "--model", str(path)) as service:
        assert service.client.get("/info").json()["labels"] == ["no", "yes"]
        assert predict(service, [[0.25, 0.75], [1, 0]]) == {"named": [[0.25, 0.75], [1, 0]]}


def _float_tensor() -> Any:
    return helper.make_tensor_type_proto(networks.TensorProto.FLOAT, [])


def test_a_model_with_types_nobody_can_send_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    inputs, outputs = networks.value("x", "BFLOAT16", 2), networks.value("y", "BFLOAT16", 2)
    path = networks.save(tmp_path / "half.onnx", [node], [inputs], [outputs])
    done = run_to_end("onnx", "--model", str(path))
    assert done.returncode == 2
    assert "of the model is tensor(bfloat16)" in done.stderr


def test_a_missing_extra_is_told_with_the_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text(
        "raise ModuleNotFoundError('No module named onnxruntime', name='onnxruntime')"
    )
    networks.train(tmp_path / "kinds.onnx")
    done = run_to_end(
        "onnx", "--model", str(tmp_path / "kinds.onnx"), environment={"PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 2
    assert "onnxruntime is missing" in done.stderr
    assert "-m pip install 'cnet[onnx]'" in done.stderr
