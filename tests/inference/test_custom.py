"""The runtime `custom` through the real program: files of the user's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from tests.inference.open_inference import infer, infer_binary
from tests.inference.services import Service, run_to_end, running

RNG = np.random.default_rng(11)
ROWS = RNG.normal(size=(50, 3))

LEAST_SQUARES = '''
    """A model that was trained elsewhere: weights in a file beside this one."""
    from pathlib import Path
    import numpy as np
    from scaling import scale

    class Model:
        inputs = {"rows": ("FP64", [-1, 3])}
        outputs = {"values": ("FP64", [-1]), "signs": ("BYTES", [-1])}
        labels = ("minus", "plus")

        def load(self):
            self.weights = np.load(Path(__file__).with_name("weights.npy"))

        def predict(self, inputs):
            inputs["rows"] += 0  # may be written to
            if np.isnan(inputs["rows"]).any():
                raise ValueError("NaN is no measurement")
            values = scale(inputs["rows"]) @ self.weights
            return {"values": values, "signs": np.where(values < 0, "minus", "plus")}

        def unload(self):
            Path(__file__).with_name("ended").write_text("well")
'''


def write(folder: Path, text: str, name: str = "model.py") -> Path:
    path = folder / name
    path.write_text(dedent(text))
    return path


@contextmanager
def serving(folder: Path, text: str, *arguments: str) -> Iterator[Service]:
    path = write(folder, text)
    with running(folder, "custom", "--model", str(path), *arguments) as service:
        yield service


def predict(service: Service, inputs: Any) -> Any:
    reply = service.client.post("/predict", json={"inputs": inputs})
    assert reply.status_code == 200, reply.text
    return reply.json()["outputs"]


def refusal(service: Service, body: Any) -> tuple[int, str, str]:
    reply = service.client.post("/predict", json=body)
    problem = reply.json()
    return reply.status_code, problem["error"], problem["details"]


def test_a_trained_class_with_tensors(tmp_path: Path) -> None:
    weights, *_ = np.linalg.lstsq(ROWS * 2, ROWS @ [1, -2, 3], rcond=None)
    np.save(tmp_path / "weights.npy", weights)
    write(tmp_path, "def scale(rows):\n    return rows * 2\n", "scaling.py")
    expected = (ROWS * 2) @ weights
    signs = ["minus" if each < 0 else "plus" for each in expected]
    with serving(tmp_path, LEAST_SQUARES, "--threads", "2") as service:
        info = service.client.get("/info").json()
        assert (info["model_type"], info["labels"]) == ("custom", ["minus", "plus"])
        assert info["inputs"] == [{"name": "rows", "datatype": "FP64", "shape": [-1, 3]}]
        batched = predict(service, ROWS.tolist())
        assert np.abs(np.array(batched["values"]) - expected).max() < 1e-12
        assert batched["signs"] == signs
        for ask in (infer, infer_binary):
            found = ask(service, "custom", {"rows": (ROWS, "FP64")})
            assert np.abs(found["values"] - expected).max() < 1e-12
        for index in (0, 7):
            alone = predict(service, {"rows": ROWS[index : index + 1].tolist()})
            assert abs(alone["values"][0] - expected[index]) < 1e-12
        status, code, details = refusal(service, {"inputs": [[1, 2, None]]})
        assert (status, code) == (422, "model_failed")
        assert details == "ValueError: NaN is no measurement (model.py, line 18)"
        assert refusal(service, {"inputs": [[1, 2]]})[1] == "invalid_field"
        assert service.stop() == 0
    assert (tmp_path / "ended").read_text() == "well"
    assert not (tmp_path / "__pycache__").exists()


FUNCTIONS = """
    import sys
    from pathlib import Path
    from decimal import Decimal as Model  # imported, so not the model

    def load():
        return {"calls": 0}

    def predict(state, inputs):
        state["calls"] += 1
        if inputs == "fail":
            return 1 / 0
        if inputs == "leave":
            sys.exit(3)
        if inputs == "object":
            return object()
        return {"given": inputs, "calls": state["calls"]}

    def unload(state):
        Path(__file__).with_name("calls").write_text(str(state["calls"]))
        raise RuntimeError("too late to matter")
"""


def test_functions_take_and_give_any_json(tmp_path: Path) -> None:
    with serving(tmp_path, FUNCTIONS) as service:
        given = {"text": "größer", "list": [1, None, True, {"a": 1.5}]}
        assert predict(service, given) == {"given": given, "calls": 1}
        assert predict(service, None) == {"given": None, "calls": 2}
        for inputs, words in [
            ("fail", "ZeroDivisionError: division by zero (model.py, line 12)"),
            ("leave", "SystemExit: 3 (model.py, line 14)"),
            ("object", "cannot be written as JSON"),
        ]:
            status, code, details = refusal(service, {"inputs": inputs})
            assert (status, code, words in details) == (500, "model_failed", True), details
        assert "Traceback" in service.log.read_text()
        assert refusal(service, {})[:2] == (422, "invalid_field")
        assert refusal(service, {"inputs": 1, "input": 2})[:2] == (422, "invalid_field")
        assert service.client.get("/v2").status_code == 404
        assert service.stop() == 0
    assert (tmp_path / "calls").read_text() == "5"
    assert "too late to matter" in service.log.read_text()


def test_the_example_of_the_page(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "inference.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    with serving(tmp_path, example) as service:
        assert predict(service, [[1, 1, 1], [0, 1, 1]]) == {"values": [2, 1]}
        found = infer(service, "custom", {"rows": (np.ones((1, 3), np.float32), "FP32")})
        assert found["values"].tolist() == [2]


def test_predict_alone_is_enough(tmp_path: Path) -> None:
    with serving(tmp_path, "def predict(inputs):\n    return inputs[::-1]\n") as service:
        assert predict(service, "abc") == "cba"
        assert service.stop() == 0


def test_answers_that_are_not_as_declared(tmp_path: Path) -> None:
    text = """
        inputs = {"x": ("INT64", [])}
        outputs = {"y": ("INT64", []), "z": ("INT64", [])}

        def predict(inputs):
            return {"y": inputs["x"] + 1, "z": {}} if inputs["x"] else 7
    """
    with serving(tmp_path, text) as service:
        reply = service.client.post("/predict", json={"inputs": 4, "outputs": ["y"]})
        assert reply.json()["outputs"] == {"y": 5}
        for inputs, words in [(4, "output z holds dict"), (0, "must return a dict with y, z")]:
            status, code, details = refusal(service, {"inputs": inputs})
            assert (status, code, words in details) == (500, "model_failed", True), details


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def predict(inputs:\n", "SyntaxError"),
        ("x = 1\n", "neither a class Model nor a function predict"),
        ("class Model:\n    pass\n", "has no method predict"),
        ("def load(): {}['a']\ndef predict(a, b): ...\n", "KeyError: 'a' (model.py, line 1)"),
        ("raise SystemExit(4)\n", "SystemExit: 4 (model.py, line 1)"),
        ("inputs = 1\ndef predict(inputs): ...\n", "inputs must be declared like"),
        ("inputs = outputs = {'x': 'FP32'}\ndef predict(i): ...\n", "must be (datatype, shape)"),
        ("inputs = outputs = {'x': ([], [])}\ndef predict(i): ...\n", "the datatype is one of"),
        ("inputs = outputs = {'x': ('F', [])}\ndef predict(i): ...\n", "the datatype is one of"),
        ("inputs = outputs = {'x': ('FP32', [-2])}\ndef predict(i): ...\n", "a shape is whole"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_served(tmp_path: Path, text: str, words: str) -> None:
    done = run_to_end("custom", "--model", str(write(tmp_path, text)))
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("cnet-inference: ")
    assert words in last


def test_a_class_by_name_and_files_that_are_none(tmp_path: Path) -> None:
    with serving(
        tmp_path, "class Other:\n    def predict(self, inputs): return 1\n", "--class", "Other"
    ) as service:
        assert predict(service, 0) == 1
    done = run_to_end("custom", "--model", str(tmp_path / "model.py"), "--class", "Model")
    assert (done.returncode, "has no class Model" in done.stderr) == (2, True)
    done = run_to_end("custom", "--model", str(tmp_path / "none.py"))
    assert (done.returncode, "does not exist" in done.stderr) == (2, True)
    write(tmp_path, "", "model.txt")
    done = run_to_end("custom", "--model", str(tmp_path / "model.txt"))
    assert (done.returncode, "must end with .py" in done.stderr) == (2, True)
