"""The curl calls of docs/inference.md, as they are written there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.inference import networks
from tests.inference.services import PHOTOGRAPH, Service, running

PAGE = Path(__file__).parents[2] / "docs" / "inference.md"


def calls() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [block.strip() for block in blocks if block.startswith("curl ")]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_calls_of_the_page(tmp_path: Path, yolo: Service) -> None:
    (tmp_path / "photo.jpg").write_bytes(PHOTOGRAPH.read_bytes())
    model = networks.train(tmp_path / "model.onnx").path
    found = calls()
    assert len(found) >= 3
    with running(tmp_path, "onnx", "--model", str(model)) as onnx:
        ports = {"9001": yolo.client.base_url.port, "9002": onnx.client.base_url.port}
        for call in found:
            for written, port in ports.items():
                call = call.replace(f"http://localhost:{written}/", f"http://127.0.0.1:{port}/")
            done = subprocess.run(
                ["bash", "-c", call.replace("curl ", "curl --silent --show-error --fail ", 1)],
                cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, (call, done.stderr)
            answer = json.loads(done.stdout)
            assert {"detections", "outputs"} & set(answer), (call, answer)
