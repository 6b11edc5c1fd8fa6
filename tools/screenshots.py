"""Pictures of the web page for the documentation: four cities at work, seen by Chromium.

    python -m tools.screenshots [--into docs/images] [--only overview …]

Nothing is posed but the work itself: models that are served and asked, a script that trains, one
that has failed, one that finds no room. Each picture is a PNG of at most 256 colours.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize
from tests.support.cities import ROOT, Cities, running_cities
from tests.web.browser import launched

from cnet.client import AgentClient, JsonObject
from cnet.client.data import Source

MAX_BYTES = 150 * 1024
MIB = 1024**2
SETTLE_S = 150
"""A log of some length, curves of some samples."""
ASTRONAUT = ROOT / "examples" / "assets" / "astronaut.jpg"
SHAPES = ROOT / "examples" / "ml_models" / "shapes_yolo.onnx"
HELD_OUT = 1_000_005
ASKED = 60
TRAINING = """\
import random, time
loss = 2.3
for epoch in range(1, 10_000):
    loss *= 0.97 + random.random() * 0.02
    print(f"epoch {epoch:4d}  loss {loss:.4f}  accuracy {1 - loss / 4:.3f}  lr 0.0010", flush=True)
    time.sleep(0.4)
"""
NOTES = """\
# Shapes, 2026-11

Pictures of circles, squares, triangles and stars with boxes, made by
`examples/ml_models/shapes_data.py`. Classes are balanced.

| split | pictures |
|-------|----------|
| train |    4,000 |
| val   |      500 |
"""
DESK = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=780)


@dataclass(frozen=True)
class Picture:
    """One picture: where, how it is looked at, and what is done before."""

    name: str
    city: str
    path: str
    prepare: Callable[[Page], None] = lambda page: None
    dark: bool = False
    chinese: bool = False
    phone: bool = False


class Stage:
    """The work that the pictures show."""

    def __init__(self, cities: Cities, folder: Path) -> None:
        self.cities = cities
        self._folder = folder
        self.ids: dict[str, str] = {}

    def set_up(self) -> None:
        """Submit all of it and wait until it is as it should be."""
        work = self._folder / "work"
        work.mkdir()
        (work / "train.py").write_text(TRAINING)
        script = str(work / "train.py")
        detector = self._folder / "detector"
        detector.mkdir()
        (detector / SHAPES.name).write_bytes(SHAPES.read_bytes())
        self._data("nanjing", "detectors", detector)
        self._data("nanjing", "shapes-2026-11", self._dataset())
        self._submit("faces", "opencv", {"cascade_type": "face"}, cpu=0.5)
        self._service()
        model = {"model_type": "yolo", "model_path": f"data://detectors/{SHAPES.name}"}
        self._submit("shapes", "mlmodel", model, cpu=1)
        self._submit("smiles", "opencv", {"cascade_type": "smile"}, cpu=0.5, node="suqian")
        command = {"command": sys.executable, "args": [script]}
        self._submit("train-shapes", "process", command, cpu=2, labels={"team": "vision"})
        self._submit("s3", "datagateway", {"bucket": "cnet"}, cpu=0.2, node="nanjing")
        index = {"command": "sleep", "args": ["3600"]}
        self._submit("nightly-index", "process", index, node="changzhou")
        failing = {"command": "sh", "args": ["-c", "echo 'no such table: readings' >&2; exit 3"]}
        self._submit("import-readings", "process", failing)
        self._submit("thumbnails", "process", {"command": "true"})
        self._submit("finetune-large", "process", command, cpu=6.5, memory=14 * 1024)
        with AgentClient(self.cities.urls["jiangsu"]) as client:
            self.ids = {each["name"]: each["id"] for each in client.list()}
            client.wait_for(self.ids["train-shapes"], until="running")
        time.sleep(SETTLE_S)

    def _submit(
        self,
        name: str,
        kind: str,
        config: JsonObject,
        *,
        cpu: float = 0.5,
        memory: int = 512,
        labels: dict[str, str] | None = None,
        node: str | None = None,
    ) -> None:
        """To jiangsu, which has hardly any room itself."""
        room = {"cpu": cpu, "memory": memory * MIB}
        spec = {"name": name, "type": kind, "config": config, "requirements": room, "node": node}
        with AgentClient(self.cities.urls["jiangsu"]) as client:
            client.submit(spec | {"labels": labels or {}})

    def _service(self) -> None:
        """Eyes, with a canary that looks for smiles, and some requests to both."""
        room = {"cpu": 0.1, "memory": 256 * MIB}
        template = {"type": "opencv", "requirements": room, "config": {"cascade_type": "eye"}}
        canary = template | {"config": {"cascade_type": "smile"}}
        with AgentClient(self.cities.urls["jiangsu"]) as client:
            client.services.create({"name": "eyes", "replicas": 2, "template": template})
            client.services.update("eyes", {"template": canary, "weight": 10, "replicas": 1})
        for _ in range(ASKED):
            answer = httpx.post(
                f"{self.cities.urls['jiangsu']}/services/eyes/predict",
                content=ASTRONAUT.read_bytes(),
                headers={"content-type": "image/jpeg"},
                timeout=60,
            )
            answer.raise_for_status()

    def _dataset(self) -> Path:
        folder = self._folder / "dataset"
        (folder / "val").mkdir(parents=True)
        (folder / "README.md").write_text(NOTES)
        (folder / "labels.csv").write_text(
            "file,class,x,y,width,height\n1.png,circle,243,63,77,89\n"
        )
        for number in range(3):
            (folder / "val" / f"{number + 1}.png").write_bytes(shapes(HELD_OUT + number))
        return folder

    def _data(self, city: str, key: str, folder: Path) -> None:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        with AgentClient(self.cities.urls[city]) as client:
            client.data.upload(
                [Source(path.relative_to(folder).as_posix(), path) for path in files],
                tree=True,
                name=key,
                config={"data_key": key, "tags": ["v2"]},
            )

    def pictures(self) -> list[Picture]:
        """What is shown, in the order of the documentation."""
        training = self.ids["train-shapes"]
        return [
            Picture("overview", "nanjing", "/"),
            Picture("overview-dark-zh", "nanjing", "/", dark=True, chinese=True),
            Picture("overview-phone", "nanjing", "/", phone=True, dark=True),
            Picture("topology", "jiangsu", "/topology", _settle),
            Picture("node-dark", "jiangsu", "/nodes/nanjing", dark=True),
            Picture("workloads", "jiangsu", "/workloads"),
            Picture("log-dark", "jiangsu", f"/workloads/{training}?tab=log", _settle, dark=True),
            Picture("submit", "jiangsu", "/submit/mlmodel", _plan),
            Picture("submit-phone-zh", "jiangsu", "/submit/container", chinese=True, phone=True),
            Picture("service", "jiangsu", "/service/eyes", _settle),
            Picture("model", "jiangsu", "/models/faces", _try_faces),
            Picture(
                "model-dark-zh", "jiangsu", "/models/shapes", _try_shapes, dark=True, chinese=True
            ),
            Picture("data", "nanjing", "/data/objects/shapes-2026-11?file=val/1.png", _settle),
            Picture("events-zh", "jiangsu", "/events", chinese=True),
        ]  # fmt: skip

    def take(self, browser: Browser, picture: Picture) -> bytes:
        """A PNG of the page as it is in its window."""
        context = browser.new_context(
            viewport=PHONE if picture.phone else DESK,
            device_scale_factor=1,
            locale="zh-CN" if picture.chinese else "en-GB",
            color_scheme="dark" if picture.dark else "light",
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.goto(self.cities.urls[picture.city] + picture.path, wait_until="load")
        page.wait_for_selector("html[data-stream=open]", state="attached")
        picture.prepare(page)
        page.wait_for_timeout(500)
        taken = page.screenshot()
        context.close()
        return small(taken)


def _settle(page: Page) -> None:
    page.wait_for_timeout(2_500)


def _plan(page: Page) -> None:
    page.fill('[name="name"]', "defects")
    page.fill('[name="config.model_path"]', "data://defects/yolo11n.onnx")
    page.fill('[name="config.service_port"]', "")
    page.fill('[name="requirements.cpu"]', "3")
    page.click("button[value=plan]")
    page.wait_for_selector("#plan dl, #plan .text-good, #plan .text-warn")
    page.locator("main").focus()


def _try(page: Page, name: str, kind: str, content: bytes) -> None:
    page.set_input_files("#picture-file", {"name": name, "mimeType": kind, "buffer": content})
    page.wait_for_selector("#boxes .box-frame")


def _try_faces(page: Page) -> None:
    _try(page, "astronaut.jpg", "image/jpeg", ASTRONAUT.read_bytes())


def _try_shapes(page: Page) -> None:
    _try(page, "shapes.png", "image/png", shapes(HELD_OUT))


def shapes(seed: int) -> bytes:
    """A PNG that the detector has not been trained with."""
    from examples.ml_models.shapes_data import generate

    encoded = io.BytesIO()
    Image.fromarray(generate(seed).image[:, :, ::-1]).save(encoded, "PNG")
    return encoded.getvalue()


def small(png: bytes) -> bytes:
    """The same picture with at most 256 colours."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    reduced = picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    out = io.BytesIO()
    reduced.save(out, "PNG", optimize=True)
    return out.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Take them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    options = parser.parse_args(arguments)
    options.into.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="cnet-screenshots-") as folder,
        running_cities(Path(folder)) as cities,
        launched() as browser,
    ):
        stage = Stage(cities, Path(folder))
        stage.set_up()
        for picture in stage.pictures():
            if options.only and picture.name not in options.only:
                continue
            content = stage.take(browser, picture)
            (options.into / f"{picture.name}.png").write_bytes(content)
            note = "" if len(content) <= MAX_BYTES else f"  over {MAX_BYTES // 1024} KiB"
            print(f"{picture.name}.png  {len(content) // 1024} KiB{note}", flush=True)


if __name__ == "__main__":
    main()
