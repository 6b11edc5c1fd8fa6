"""`cnet run --model/--cascade` and `cnet predict`, with real services and real pictures."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from tests.cli.conftest import Cnet
from tests.support.agents import AgentProcess

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOGRAPH = EXAMPLES / "assets" / "astronaut.jpg"
SHAPES = EXAMPLES / "ml_models" / "shapes_yolo.onnx"


@pytest.fixture(scope="module", autouse=True)
def faces(agent: AgentProcess) -> Iterator[None]:
    spec = {"name": "faces", "type": "opencv", "config": {"cascade_type": "face"}}
    workload = agent.client.submit(spec)
    assert workload["status"] == "running", workload
    yield
    agent.client.delete(workload["id"])


def test_one_face_on_the_photograph_is_drawn(cnet: Cnet, tmp_path: Path) -> None:
    copy = tmp_path / "out.png"
    found = cnet("predict", "faces", str(PHOTOGRAPH), "--save", str(copy), "--json").json
    assert found["count"] == 1
    assert found["file"] == str(PHOTOGRAPH)
    x, y, width, height = found["detections"][0]["bbox"]
    assert (x - 177) ** 2 + (y - 66) ** 2 < 20**2
    with Image.open(PHOTOGRAPH) as before, Image.open(copy) as after:
        changed = ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox()
    assert changed is not None
    assert abs(changed[0] - x) < 5
    assert abs(changed[2] - (x + width)) < 5
    assert abs(changed[3] - (y + height)) < 5


def test_several_pictures_go_into_a_folder(cnet: Cnet, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    Image.new("RGB", (100, 80), "white").save(empty)
    folder = tmp_path / "out"
    assert cnet("predict", "faces", str(PHOTOGRAPH), str(empty), "--save", str(folder)).code == 2
    folder.mkdir()
    done = cnet("predict", "faces", str(PHOTOGRAPH), str(empty), "--save", str(folder))
    assert done.code == 0
    assert "1 found" in done.out
    assert "0 found" in done.out
    assert sorted(path.name for path in folder.iterdir()) == ["astronaut.png", "empty.png"]


def test_model_from_a_flag_takes_thresholds(
    cnet: Cnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(SHAPES.parent)
    started = cnet("run", "--model", SHAPES.name, "--name", "shapes", "--json")
    assert started.code == 0, started.err
    picture = tmp_path / "square.png"
    canvas = Image.new("RGB", (320, 320), (30, 60, 120))
    canvas.paste((230, 200, 20), (100, 90, 220, 210))
    content = BytesIO()
    canvas.save(content, "PNG")
    picture.write_bytes(content.getvalue())
    found = cnet("predict", "shapes", str(picture), "--json").json
    assert [each["class"] for each in found["detections"]] == ["square"]
    none = cnet("predict", "shapes", str(picture), "--confidence", "1", "--json").json
    assert none["detections"] == []
    assert cnet("rm", "-f", "shapes").code == 0


def test_service_that_cannot_be_ready_shows_why(cnet: Cnet, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"this is no model")
    done = cnet("run", "--model", str(broken), "--name", "broken", "--restart", "never")
    assert done.code == 1
    assert "broken  failed" in done.out
    assert "broken.onnx" in done.err  # the end of its log
    assert cnet("rm", "broken").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["faces", "/nowhere.jpg"], 2, "/nowhere.jpg: No such file"),
        (["faces", str(Path(__file__))], 2, "image is none of"),
        (["faces", str(PHOTOGRAPH), "--set", "nonsense=1"], 2, "nonsense"),
        (["nobody", str(PHOTOGRAPH)], 3, "nobody"),
        (["http://127.0.0.1:1", str(PHOTOGRAPH)], 4, "http://127.0.0.1:1"),
        (["faces"], 2, "give pictures, or --inputs"),
        (["faces", str(PHOTOGRAPH), "--inputs", "[]"], 2, "give pictures, or --inputs"),
        (["faces", "--inputs", "[1"], 2, "--inputs: not JSON"),
        (["faces", "--inputs", "@/nowhere.json"], 2, "/nowhere.json: No such file"),
        (["faces", "--inputs", "[1]", "--confidence", "0.5"], 2, "go with pictures"),
    ],
)
def test_what_goes_wrong_is_said(
    cnet: Cnet, arguments: list[str], code: int, complaint: str
) -> None:
    done = cnet("predict", *arguments)
    assert done.code == code
    assert complaint in done.err


def test_a_process_serves_no_predictions(cnet: Cnet) -> None:
    assert cnet("run", "--name", "sleeper", "--", "sleep", "600").code == 0
    done = cnet("predict", "sleeper", str(PHOTOGRAPH))
    assert done.code == 1
    assert "serves no endpoint" in done.err
    assert cnet("rm", "-f", "sleeper").code == 0


def test_rows_go_to_the_replicas_of_a_service(cnet: Cnet, tmp_path: Path) -> None:
    program = tmp_path / "doubler.py"
    program.write_text(
        """
class Model:
    inputs = {"rows": ("FP64", [-1, 2])}
    outputs = {"doubled": ("FP64", [-1, 2])}

    def predict(self, inputs):
        return {"doubled": 2 * inputs["rows"]}
"""
    )
    made = cnet("service", "create", "--name", "m", "--replicas", "2", "--model", str(program))
    assert made.code == 0, made.err
    told = cnet("predict", "m", "--inputs", "[[1, 2.5], [3, 4]]")
    assert told.code == 0, told.err
    assert "doubled: [[2.0, 5.0], [6.0, 8.0]]" in told.out
    file = tmp_path / "rows.json"
    file.write_text('{"inputs": {"rows": [[0, 1]]}, "outputs": ["doubled"]}')
    found = cnet("predict", "m", "--inputs", f"@{file}", "--json").json
    assert found["outputs"] == {"doubled": [[0, 2]]}
    assert found["endpoint"].endswith("/services/m")
    refused = cnet("predict", "m", "--inputs", "[[1]]")
    assert refused.code == 2 and "rows" in refused.err
    assert cnet("service", "rm", "m").code == 0


class _Echo(BaseHTTPRequestHandler):
    """A program of a user's own behind /predict."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"mood": "good"}')

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_program_may_answer_with_anything(cnet: Cnet) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        told = cnet("predict", url, "--inputs", "1")
        assert 'mood: "good"' in told.out, told.err
        refused = cnet("predict", url, str(PHOTOGRAPH))
        assert refused.code == 2 and "no detections" in refused.err
        server.shutdown()
