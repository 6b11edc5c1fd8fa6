"""NVIDIA's client of the Open Inference Protocol, of the environment that `make frameworks` makes.

CNET_TEST_FRAMEWORKS names it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from tests.inference import networks
from tests.inference.services import running

WHERE = os.environ.get("CNET_TEST_FRAMEWORKS") or None
EXACT = 1e-6

SCRIPT = dedent(
    """
    import json, sys
    import numpy as np
    import tritonclient.http as http
    from tritonclient.utils import InferenceServerException

    address, rows = sys.argv[1], np.load(sys.argv[2])
    client = http.InferenceServerClient(address)
    told = {
        "live": client.is_server_live(), "ready": client.is_server_ready(),
        "model": client.is_model_ready("kinds"), "version": client.is_model_ready("kinds", "1"),
        "other": client.is_model_ready("others"),
        "extensions": client.get_server_metadata()["extensions"],
        "inputs": client.get_model_metadata("kinds")["inputs"],
    }
    forms = ("json", False, False), ("binary", True, True), ("mixed", True, False)
    for name, sends, gets in forms:
        given = http.InferInput("rows", list(rows.shape), "FP32")
        given.set_data_from_numpy(rows, binary_data=sends)
        wanted = [http.InferRequestedOutput(n, binary_data=gets) for n in ("class", "odds")]
        answer = client.infer("kinds", [given], outputs=wanted, request_id=name)
        told[name] = [answer.as_numpy("class").tolist(), answer.as_numpy("odds").tolist()]
        told[name + " id"] = answer.get_response()["id"]
    given.set_data_from_numpy(rows)
    told["default"] = client.infer("kinds", [given]).as_numpy("odds").tolist()
    later = client.async_infer("kinds", [given])
    told["async"] = later.get_result().as_numpy("odds").tolist()
    wrong = http.InferInput("rows", [1, 3], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 3), np.float32))
    try:
        client.infer("kinds", [wrong])
    except InferenceServerException as error:
        told["refusal"] = [error.status(), error.message()]
    echo = http.InferenceServerClient(sys.argv[3])
    texts = np.array([b"", "gr\\u00f6\\u00dfer".encode()], object)
    for binary in (False, True):
        given = http.InferInput("in_STRING", [2], "BYTES")
        given.set_data_from_numpy(texts, binary_data=binary)
        answer = echo.infer("echo", [given]).as_numpy("out_STRING")
        told["texts" + str(binary)] = [each.decode() for each in answer]
    client.close(), echo.close()
    print(json.dumps(told))
    """
)


@pytest.fixture
def python() -> Path:
    """The interpreter with tritonclient[http]."""
    if WHERE is None:
        pytest.skip("CNET_TEST_FRAMEWORKS is not set: `make frameworks` says how")
    return Path(WHERE).absolute() / "bin" / "python"


@pytest.mark.timeout(600)
def test_tritonclient(python: Path, tmp_path: Path) -> None:
    trained = networks.train(tmp_path / "kinds.onnx")
    np.save(tmp_path / "rows.npy", trained.rows)
    path = networks.save_echo(tmp_path / "echo.onnx", "STRING")
    kinds = ("onnx", "--model", str(trained.path), "--model-name", "kinds")
    echo = ("onnx", "--model", str(path), "--model-name", "echo")
    with running(tmp_path, *kinds) as service, running(tmp_path, *echo) as other:
        addresses = [each.client.base_url.netloc.decode() for each in (service, other)]
        command = [str(python), "-c", SCRIPT, addresses[0], str(tmp_path / "rows.npy")]
        done = subprocess.run(
            [*command, addresses[1]], capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["live"], told["ready"], told["model"], told["version"]) == (True,) * 4
    assert told["other"] is False
    assert told["extensions"] == ["binary_tensor_data"]
    assert told["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, 4]}]
    classes, odds = trained.in_process(trained.rows)
    for form in ("json", "binary", "mixed"):
        assert told[form][0] == classes.tolist()
        assert np.abs(np.array(told[form][1]) - odds).max() < EXACT
        assert told[f"{form} id"] == form
    for form in ("default", "async"):
        assert np.abs(np.array(told[form]) - odds).max() < EXACT
    status, words = told["refusal"]
    assert (status, "[-1, 4]" in words) == ("422", True)
    assert told["textsFalse"] == told["textsTrue"] == ["", "größer"]
