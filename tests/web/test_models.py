"""Models are tried from their page: boxes on a picture, numbers as JSON."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.support.cities import Cities
from tests.web.pages import ASTRONAUT, SHAPES, Visit, removed_after

MIB = 1024**2
DOUBLING = """\
class Model:
    inputs = {"rows": ("FP32", [-1, 2])}
    outputs = {"twice": ("FP32", [-1, 2])}

    def predict(self, inputs):
        if (inputs["rows"] < 0).any():
            raise ValueError("negative rows are not doubled")
        return {"twice": inputs["rows"] * 2}
"""


@pytest.fixture(scope="module")
def served(cities: Cities, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """jiangsu, by way of which three models are reached."""
    url = cities.urls["jiangsu"]
    file = tmp_path_factory.mktemp("models") / "doubling.py"
    file.write_text(DOUBLING)
    room = {"cpu": 0.5, "memory": 512 * MIB}
    with removed_after(url, "faces", "shapes", "doubling") as client:
        for name, kind, config in (
            ("faces", "opencv", {"cascade_type": "face"}),
            ("shapes", "mlmodel", {"model_type": "yolo", "model_path": str(SHAPES)}),
            ("doubling", "mlmodel", {"model_type": "custom", "model_path": str(file)}),
        ):
            found = client.submit(
                {"name": name, "type": kind, "config": config, "requirements": room}
            )
            assert found["status"] == "running", found
        yield url


def picture(folder: Path) -> Path:
    """Five shapes that the detector knows."""
    image = pytest.importorskip("PIL.Image")
    from examples.ml_models.shapes_data import generate

    file = folder / "five shapes.png"
    image.fromarray(generate(1000015).image[:, :, ::-1]).save(file)
    return file


def test_a_picture_that_is_chosen_before_the_script_has_come(served: str, visit: Visit) -> None:
    shown = visit("about:blank")
    shown.origin, page = served, shown.page
    held: list[Route] = []
    page.route(re.compile(r"/js/models\."), lambda route: held.append(route))
    page.goto(f"{served}/models/faces", wait_until="commit")
    page.set_input_files("#picture-file", ASTRONAUT)
    for route in held:
        route.continue_()
    expect(page.locator("#boxes .box-frame").first).to_be_visible()


def test_the_list(served: str, visit: Visit) -> None:
    shown = visit(f"{served}/models")
    shown.accessible()
    for name in ("faces", "shapes", "doubling"):
        expect(shown.page.get_by_role("link", name=f"Try it {name}")).to_be_visible()
    shown.page.get_by_placeholder("Name, type or path").fill("yolo")
    shown.page.keyboard.press("Enter")
    expect(shown.page.get_by_role("heading", level=2)).to_have_text(["shapes"])


def test_a_face_is_framed_on_the_picture(served: str, visit: Visit) -> None:
    shown = visit(f"{served}/models/faces")
    shown.page.set_input_files("#picture-file", ASTRONAUT)
    frame = shown.page.locator("#boxes .box-frame")
    expect(frame).to_have_count(1)
    box = [float(frame.get_attribute(name) or 0) for name in ("x", "y", "width", "height")]
    assert json.loads(shown.page.locator("#text-answer").inner_text())["detections"] == [
        {"type": "face", "bbox": box}
    ]
    assert abs(box[0] - 177) < 10
    assert shown.page.locator("#boxes").get_attribute("viewBox") == "0 0 512 512"
    expect(shown.page.locator("#timing")).to_contain_text("answered in")
    shown.accessible()


def test_a_model_of_another_agent_is_tried_from_here(
    served: str, cities: Cities, visit: Visit
) -> None:
    with removed_after(cities.urls["suqian"], "far-faces") as client:
        client.submit({"name": "far-faces", "type": "opencv", "config": {}})
        shown = visit(f"{cities.urls['changzhou']}/")
        shown.until_live()
        while shown.page.goto(f"{cities.urls['changzhou']}/models/far-faces").status == 404:  # type: ignore[union-attr]
            shown.expected.append("404")
        shown.page.set_input_files("#picture-file", ASTRONAUT)
        expect(shown.page.locator("#boxes .box-frame")).to_have_count(1)


def test_the_slider_hides_what_is_less_sure(served: str, visit: Visit, tmp_path: Path) -> None:
    shown = visit(f"{served}/models/shapes")
    shown.page.set_input_files("#picture-file", picture(tmp_path))
    found = shown.page.locator("#found .tag")
    expect(found).to_have_count(6)
    labels = shown.page.locator("#boxes .box-text")
    assert {text.rpartition(" ")[0].rpartition(" ")[0] for text in labels.all_text_contents()} == {
        "circle",
        "star",
        "triangle",
    }
    shown.page.locator("#threshold").fill("0.9")
    expect(found).to_have_text(["circle 93 %"])
    expect(shown.page.locator("#text-answer")).to_contain_text('"count": 1')
    command = shlex.split(shown.page.locator("#text-curl").text_content() or "")
    assert command[-1] == f"{served}/services/shapes/predict?confidence=0.9"
    assert "@five shapes.png" in command


def test_what_is_no_picture_is_refused_with_a_sentence(
    served: str, visit: Visit, tmp_path: Path
) -> None:
    (tmp_path / "no.png").write_bytes(b"not a picture")
    shown = visit(f"{served}/models/faces")
    shown.expected.append("400")
    shown.page.set_input_files("#picture-file", tmp_path / "no.png")
    expect(shown.page.locator("#fault")).to_contain_text("image")
    expect(shown.page.locator("#text-answer")).to_contain_text("bad_image")


def test_a_picture_is_dropped(served: str, visit: Visit) -> None:
    shown = visit(f"{served}/models/faces")
    transfer = shown.page.evaluate_handle(
        """bytes => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "a.jpg", {type: "image/jpeg"}));
          return transfer;
        }""",
        list(ASTRONAUT.read_bytes()),
    )
    shown.page.dispatch_event("[data-drop=picture]", "drop", {"dataTransfer": transfer})
    expect(shown.page.locator("#boxes .box-frame")).to_have_count(1)


def test_numbers_are_asked_as_json(served: str, visit: Visit) -> None:
    shown = visit(f"{served}/models/doubling")
    area = shown.page.get_by_label("Request")
    expect(area).to_have_value('{\n  "inputs": {\n    "rows": [\n      [0, 0]\n    ]\n  }\n}')
    shown.accessible()
    area.fill('{"inputs": {"rows": [[1, 2], [3, 4]]}}')
    shown.page.get_by_role("button", name="Predict").click()
    expect(shown.page.locator("#text-answer")).to_contain_text('"twice"')
    answer = json.loads(shown.page.locator("#text-answer").inner_text())
    assert answer["outputs"] == {"twice": [[2, 4], [6, 8]]}
    shown.expected.append("422")
    area.fill('{"inputs": {"rows": [[-1, 2]]}}')
    shown.page.get_by_role("button", name="Predict").click()
    expect(shown.page.locator("#fault")).to_contain_text("negative rows are not doubled")
    area.fill("{")
    shown.page.get_by_role("button", name="Predict").click()
    expect(shown.page.locator("#fault")).to_contain_text("JSON")


def test_in_chinese_and_dark(served: str, visit: Visit) -> None:
    shown = visit(f"{served}/models/faces", locale="zh-CN", color_scheme="dark")
    shown.page.set_input_files("#picture-file", ASTRONAUT)
    expect(shown.page.locator("#timing")).to_contain_text("用时")
    shown.accessible()


def test_a_model_that_is_not_there(served: str, visit: Visit) -> None:
    shown = visit(f"{served}/models/nobody")
    shown.expected.append("404")
    expect(shown.page.get_by_role("heading", name="Not found")).to_be_visible()


def test_without_push_a_model_appears_all_the_same(served: str, visit: Visit) -> None:
    shown = visit("about:blank")
    shown.origin = served
    shown.page.route("**/live", lambda route: route.abort())
    shown.expected.append("ERR_FAILED")
    shown.page.goto(f"{served}/models")
    with removed_after(served, "later") as client:
        config = {"cascade_type": "eye"}
        client.submit({"name": "later", "type": "opencv", "config": config})
        expect(shown.page.get_by_role("link", name="Try it later")).to_be_visible()
