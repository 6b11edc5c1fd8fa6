"""The runtimes `pytorch` and `tensorflow`: the same numbers as the frameworks in-process.

CNET_TEST_FRAMEWORKS names the environment that `make frameworks` makes. Its interpreter trains the
models, says what they answer, and serves them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.inference.open_inference import infer, infer_binary
from tests.inference.services import Service, run_to_end, running

WHERE = os.environ.get("CNET_TEST_FRAMEWORKS") or None
PROGRAMS = Path(__file__).with_name("frameworks")
WITHIN_S = 200  # a framework takes its time to import on a machine with other things to do
TOLERANCE = 1e-5
AT_ONCE = 12
TENSORS = {
    "inputs": {"rows": ["FP32", [-1, 4]]},
    "outputs": {"odds": ["FP32", [-1, 3]], "class": ["INT64", [-1]]},
}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter with the frameworks."""
    if WHERE is None:
        pytest.skip("CNET_TEST_FRAMEWORKS is not set: `make frameworks` says how")
    found = Path(WHERE).absolute() / "bin" / "python"
    assert found.exists(), f"CNET_TEST_FRAMEWORKS: there is no {found}"
    return found


def train(python: Path, name: str, folder: Path) -> dict[str, Any]:
    program = str(PROGRAMS / f"train_{name}.py")
    done = subprocess.run(
        [str(python), program, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(np.load(folder / f"{name}.npz"))


@pytest.fixture(scope="module")
def pytorch(python: Path, folder: Path) -> dict[str, Any]:
    """Models of PyTorch in `folder`, and what they answer."""
    return train(python, "pytorch", folder)


@pytest.fixture(scope="module")
def tensorflow(python: Path, folder: Path) -> dict[str, Any]:
    """Models of TensorFlow in `folder`, and what they answer."""
    return train(python, "tensorflow", folder)


@contextmanager
def serving(python: Path, folder: Path, kind: str, *arguments: str) -> Iterator[Service]:
    options = ("--threads", "2", "--device", "cpu", "--model-name", "m")
    with running(folder, kind, *arguments, *options, python=python, within_s=WITHIN_S) as service:
        yield service


def check_numbers(service: Service, rows: Any, output: str, expected: Any) -> Mapping[str, Any]:
    """Alone, batched and together with others, by `/predict` and `/v2`; what `/info` tells."""
    info: Mapping[str, Any] = service.client.get("/info").json()
    assert info["inputs"][0]["name"] == "rows"

    def ask(body: Any) -> Any:
        reply = httpx.post(f"{service.client.base_url}/predict", json=body, timeout=60)
        assert reply.status_code == 200, reply.text
        return np.array(reply.json()["outputs"][output])

    assert np.abs(ask({"inputs": rows.tolist()}) - expected).max() < TOLERANCE
    for by in (infer, infer_binary):
        found = by(service, "m", {"rows": (rows, "FP32")})[output]
        assert np.abs(found - expected).max() < TOLERANCE
    with ThreadPoolExecutor(AT_ONCE) as pool:
        alone = pool.map(lambda row: ask({"inputs": [row]})[0], rows[:AT_ONCE].tolist())
        assert np.abs(np.array(list(alone)) - expected[:AT_ONCE]).max() < TOLERANCE
    wrong = service.client.post("/predict", json={"inputs": [[1, 2, 3]]})
    assert wrong.status_code == 422
    return info


@pytest.mark.parametrize("form", ["torchscript", "torch.export", "state_dict"])
def test_pytorch(python: Path, folder: Path, pytorch: dict[str, Any], form: str) -> None:
    file = {"torchscript": "script.pt", "torch.export": "archive.pt2", "state_dict": "weights.pt"}
    arguments = ["--model", str(folder / file[form]), "--labels", "a,b,c"]
    if form == "state_dict":
        arguments += ["--script", str(folder / "classifier.py")]
    names = ("odds", "class") if form == "state_dict" else ("output_0", "output_1")
    with serving(python, folder, "pytorch", *arguments) as service:
        info = check_numbers(service, pytorch["rows"], names[0], pytorch["odds"])
        assert (info["model_type"], info["format"]) == ("pytorch", form)
        assert info["served_by"].startswith("torch 2.")
        assert (info["device"], info["labels"]) == ("cpu", ["a", "b", "c"])
        is_known = form != "torchscript"
        assert (info["batching"]["max_rows"] > 1) == is_known, info["batching"]
        if is_known:
            assert info["inputs"][0]["shape"] == [-1, 4]
        best = infer(service, "m", {"rows": (pytorch["rows"], "FP32")})[names[1]]
        assert best.tolist() == pytorch["best"].tolist()


def test_tensors_of_torchscript_can_be_declared(
    python: Path, folder: Path, pytorch: dict[str, Any]
) -> None:
    told = [part for role, what in TENSORS.items() for part in (f"--{role}", json.dumps(what))]
    arguments = ("--model", str(folder / "script.pt"), *told)
    with serving(python, folder, "pytorch", *arguments) as service:
        info = check_numbers(service, pytorch["rows"], "odds", pytorch["odds"])
        assert info["batching"]["max_rows"] > 1
        assert [each["name"] for each in info["outputs"]] == ["odds", "class"]


def test_files_of_pytorch_that_cannot_be_served(
    python: Path, folder: Path, pytorch: dict[str, Any]
) -> None:
    script = ("--script", str(folder / "classifier.py"))
    (folder / "other.py").write_text((folder / "classifier.py").read_text().replace("16", "8"))
    for arguments, words in [
        (("--model", str(folder / "weights.pt")), "--script (config.script_path) must name"),
        (("--model", str(folder / "whole.pt"), *script), "save module.state_dict()"),
        (("--model", str(folder / "script.pt"), *script), "is a whole model"),
        (("--model", str(folder / "classifier.py")), "is no file of torch.jit.save"),
        (
            ("--model", str(folder / "weights.pt"), "--script", str(folder / "other.py")),
            "do not fit Model",
        ),
        (("--model", str(folder / "script.pt"), "--device", "cuda:7"), "CUDA devices here"),
    ]:
        done = run_to_end("pytorch", *arguments, python=python, timeout_s=WITHIN_S)
        assert done.returncode == 2, done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert words in last, last
        assert last.startswith("cnet-inference: ")


@pytest.mark.parametrize(
    ("form", "file", "output"),
    [
        ("keras", "model.keras", "odds"),
        ("saved_model", "saved", "output_0"),
        ("litert", "model.tflite", "output_0"),
    ],
)
def test_tensorflow(
    python: Path, folder: Path, tensorflow: dict[str, Any], form: str, file: str, output: str
) -> None:
    with serving(python, folder, "tensorflow", "--model", str(folder / file)) as service:
        info = check_numbers(service, tensorflow["rows"], output, tensorflow["odds"])
        assert (info["model_type"], info["format"]) == ("tensorflow", form)
        assert info["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, 4]}]
        assert info["outputs"] == [{"name": output, "datatype": "FP32", "shape": [-1, 3]}]
        assert info["batching"]["max_rows"] > 1, info["batching"]


def test_texts_of_tensorflow(python: Path, folder: Path, tensorflow: dict[str, Any]) -> None:
    with serving(python, folder, "tensorflow", "--model", str(folder / "lengths")) as service:
        reply = service.client.post("/predict", json={"inputs": ["größe", ""]})
        assert reply.json()["outputs"]["lengths"] == [7, 0]
        texts = np.array([b"abc", b"x"], object)
        for by in (infer, infer_binary):
            found = by(service, "m", {"texts": (texts, "BYTES")})
            assert found["lengths"].tolist() == [3, 1]
            assert [each if isinstance(each, str) else each.decode() for each in found["capitals"]]


def test_models_of_tensorflow_that_cannot_be_served(
    python: Path, folder: Path, tensorflow: dict[str, Any]
) -> None:
    (folder / "none.keras").write_bytes(b"nothing at all")
    (folder / "empty").mkdir()
    for arguments, words in [
        (("--model", str(folder / "none.keras")), "is no SavedModel folder"),
        (("--model", str(folder / "empty")), "it has no saved_model.pb"),
        (("--model", str(folder / "absent")), "No such file"),
        (("--model", str(folder / "saved"), "--signature", "x"), "it has: serve, serving_default"),
        (("--model", str(folder / "model.tflite"), "--signature", "x"), "it has: serving_default"),
    ]:
        done = run_to_end("tensorflow", *arguments, python=python, timeout_s=WITHIN_S)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr.strip().splitlines()[-1], done.stderr


@pytest.mark.parametrize(
    ("kind", "module", "extra"), [("pytorch", "torch", "torch"), ("tensorflow",) * 3]
)
def test_a_missing_framework_is_told_with_the_command_that_installs_it(
    tmp_path: Path, kind: str, module: str, extra: str
) -> None:
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('no', name='{module}')")
    model = tmp_path / "m"
    model.mkdir()
    environment = {"PYTHONPATH": str(tmp_path)}
    done = run_to_end(kind, "--model", str(model), environment=environment)
    assert done.returncode == 2
    assert f"Python module {module} is missing" in done.stderr
    assert f"-m pip install 'cnet[{extra}]'" in done.stderr
