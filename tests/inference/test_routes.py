"""The wire, as contract 8 and 0 have it, against the real program."""

from __future__ import annotations

import json
import socket
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.inference import models
from tests.inference.services import PHOTOGRAPH, Service, base64_of, running


def encode(width: int, height: int, kind: str = "JPEG", **options: Any) -> bytes:
    stream = BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(stream, kind, **options)
    return stream.getvalue()


WIDE = encode(192, 64)  # see tests/unit/inference/test_yolo_network.py for its boxes
DOG = {"class": "dog", "class_id": 1, "confidence": 0.9, "bbox": [40, 0, 80, 48]}
BIRD = {"class": "bird", "class_id": 2, "confidence": 0.7, "bbox": [44, 0, 76, 48]}


def post_raw(service: Service, body: bytes, **query: float | str) -> httpx.Response:
    headers = {"content-type": "image/jpeg"}
    return service.client.post("/predict", content=body, params=query, headers=headers)


def assert_problem(reply: httpx.Response, status: int, code: str, *words: str) -> None:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    problem = reply.json()
    assert sorted(problem) == ["details", "error"]
    assert problem["error"] == code
    for word in words:
        assert word in problem["details"]


class TestYolo:
    def test_health(self, yolo: Service, folder: Path) -> None:
        reply = yolo.client.get("/health")
        expected = {"status": "healthy", "model": str(folder / "known.onnx")}
        assert (reply.status_code, reply.json()) == (200, expected)

    def test_info(self, yolo: Service, folder: Path) -> None:
        info = yolo.client.get("/info").json()
        expected = {
            "model_type": "yolo",
            "model_path": str(folder / "known.onnx"),
            "version": "1.0",
            "loaded": True,
            "layout": "columns",
            "labels": ["cat", "dog", "bird"],
            "threads": 2,
            "input_size": [96, 64],
        }
        assert {key: info[key] for key in expected} == expected
        assert info["inputs"][0]["shape"] == [1, 3, 64, 96]
        assert info["outputs"][0]["shape"] == [1, 7, 126]

    def test_every_form_gives_the_same_detections(self, yolo: Service) -> None:
        text = base64_of(WIDE)
        replies = [
            yolo.client.post("/predict", json={"image": text}),
            yolo.client.post("/predict", json={"image": f"data:image/jpeg;base64,{text}"}),
            yolo.client.post("/predict", files={"image": ("a.jpg", WIDE, "image/jpeg")}),
            yolo.client.post("/predict", files={"file": WIDE}),
            post_raw(yolo, WIDE),
            yolo.client.post(
                "/predict",
                content=json.dumps({"image": text}).encode(),
                headers={"content-type": "application/json; charset=utf-8"},
            ),
        ]
        for reply in replies:
            assert reply.status_code == 200, reply.text
            answer = reply.json()
            assert answer["detections"] == [DOG, BIRD]
            assert answer["count"] == 2
            assert answer["image"] == {"width": 192, "height": 64}
            stages = {"decode", "preprocess", "inference", "postprocess"}
            assert set(answer["timings_ms"]) == stages

    def test_thresholds_in_every_form(self, yolo: Service) -> None:
        text = base64_of(WIDE)
        asked = {"confidence": 0.75, "iou_threshold": 0.9}
        fields = {key: str(value) for key, value in asked.items()}
        for reply in (
            yolo.client.post("/predict", json={"image": text, **asked}),
            yolo.client.post("/predict", files={"image": WIDE}, data=fields),
            post_raw(yolo, WIDE, **asked),
        ):
            assert reply.json()["detections"] == [DOG]
        with_doubles = post_raw(yolo, WIDE, iou_threshold=0.95).json()
        assert [d["confidence"] for d in with_doubles["detections"]] == [0.9, 0.7, 0.6]
        assert post_raw(yolo, WIDE, confidence=0).json()["detections"] == [DOG, BIRD]

    def test_nothing_found_is_an_empty_list(self, yolo: Service) -> None:
        answer = post_raw(yolo, WIDE, confidence=0.95).json()
        assert (answer["detections"], answer["count"]) == ([], 0)

    def test_the_run_is_named_on_every_response(self, yolo: Service) -> None:
        client = yolo.client
        replies = [
            client.get("/health"), client.get("/info"), client.get("/"), client.get("/none"),
            client.put("/predict"), post_raw(yolo, WIDE), post_raw(yolo, b"no picture"),
        ]  # fmt: skip
        assert [reply.headers["x-cnet-run"] for reply in replies] == ["run-7"] * len(replies)

    def test_unknown_paths_and_methods(self, yolo: Service) -> None:
        client = yolo.client
        assert_problem(client.get("/predictions"), 404, "not_found", "/predictions", "/predict")
        assert_problem(client.get("/predict"), 405, "method_not_allowed", "POST")
        assert client.get("/predict").headers["allow"] == "POST"
        assert_problem(client.delete("/health"), 405, "method_not_allowed", "GET")
        assert client.head("/health").status_code == 200

    @pytest.mark.parametrize(
        ("content", "field"),
        [
            ({"confidence": 1.5}, "confidence"),
            ({"confidence": "nan"}, "confidence"),
            ({"iou_threshold": -1}, "iou_threshold"),
            ({"confidnce": 0.5}, "confidnce"),
            ({"image": 5}, "image"),
        ],
    )
    def test_wrong_fields(self, yolo: Service, content: dict[str, Any], field: str) -> None:
        reply = yolo.client.post("/predict", json={"image": base64_of(WIDE), **content})
        assert_problem(reply, 422, "invalid_field", field)

    def test_missing_image(self, yolo: Service) -> None:
        assert_problem(yolo.client.post("/predict", json={}), 422, "invalid_field", "image")

    def test_other_bodies(self, yolo: Service) -> None:
        client = yolo.client
        headers = {"content-type": "application/json"}
        reply = client.post("/predict", content=b'{"image":', headers=headers)
        assert_problem(reply, 400, "malformed_body")
        reply = client.post("/predict", content=WIDE, headers={"content-type": "text/html"})
        assert_problem(reply, 415, "unsupported_media_type", "multipart/form-data")
        assert_problem(client.post("/predict"), 415, "unsupported_media_type")
        assert_problem(post_raw(yolo, b"no picture"), 400, "bad_image")
        assert_problem(post_raw(yolo, WIDE[:200]), 400, "bad_image")

    def test_too_many_pixels(self, yolo: Service) -> None:
        reply = post_raw(yolo, encode(1001, 1000, "PNG"))
        assert_problem(reply, 413, "too_large", "1001 x 1000", "1000000")

    def test_too_long_a_body(self, yolo: Service) -> None:
        announced = post_raw(yolo, b"x" * 2_000_001)
        assert_problem(announced, 413, "too_large", "2000000")
        chunks = (b"x" * 100_000 for _ in range(40))
        headers = {"content-type": "image/png"}
        streamed = yolo.client.post("/predict", content=chunks, headers=headers)
        assert_problem(streamed, 413, "too_large", "2000000")
        assert post_raw(yolo, WIDE).status_code == 200

    def test_too_long_a_body_is_refused_before_it_is_sent(self, yolo: Service) -> None:
        with socket.create_connection((yolo.client.base_url.host, yolo.client.base_url.port)) as s:
            s.settimeout(10)
            s.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
                b"Content-Length: 99999999999\r\n\r\n"
            )
            assert s.recv(4096).startswith(b"HTTP/1.1 413 ")

    def test_exif_orientation(self, yolo: Service) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # shown turned by a quarter
        lying = encode(64, 192, exif=exif)
        answer = post_raw(yolo, lying).json()
        assert answer["image"] == {"width": 192, "height": 64}
        assert answer["detections"] == [DOG, BIRD]


class TestOpencv:
    def test_health_and_info(self, faces: Service) -> None:
        health = faces.client.get("/health")
        assert health.json() == {"status": "healthy", "cascade_type": "face"}
        assert "x-cnet-run" not in health.headers
        info = faces.client.get("/info").json()
        expected = {
            "service_type": "opencv",
            "cascade_type": "face",
            "cascade_path": "",
            "version": "1.0",
            "loaded": True,
        }
        assert {key: info[key] for key in expected} == expected

    def test_one_face_on_the_photograph(self, faces: Service) -> None:
        picture = PHOTOGRAPH.read_bytes()
        answer = faces.client.post("/predict", json={"image": base64_of(picture)}).json()
        assert answer["count"] == 1
        assert answer["detections"][0]["type"] == "face"
        assert answer["detections"][0]["bbox"] == pytest.approx([177, 66, 95, 95], abs=8)
        assert post_raw(faces, picture, min_size=300).json()["detections"] == []

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ({"scale_factor": 1}, ("scale_factor", "1.01")),
            ({"min_neighbors": 2.5}, ("min_neighbors", "whole")),
            ({"min_size": -1}, ("min_size",)),
            ({"search": "faces"}, ("search", '"image"')),
            ({"confidence": 0.5}, ("confidence", "min_neighbors")),
        ],
    )
    def test_wrong_fields(
        self, faces: Service, query: dict[str, Any], words: tuple[str, ...]
    ) -> None:
        reply = post_raw(faces, PHOTOGRAPH.read_bytes(), **query)
        assert_problem(reply, 422, "invalid_field", *words)


@pytest.mark.parametrize("kind", ["eye", "smile"])
def test_eyes_and_smiles_name_their_face(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, "opencv", "--cascade-type", kind) as service:
        answer = post_raw(service, PHOTOGRAPH.read_bytes()).json()
        assert answer["count"] == {"eye": 2, "smile": 1}[kind]
        for found in answer["detections"]:
            assert found["type"] == kind
            assert found["face"] == pytest.approx([177, 66, 95, 95], abs=8)


def test_a_working_detector_of_any_size(tmp_path: Path) -> None:
    path = models.save_bright_cells(tmp_path / "m.onnx")
    picture = np.zeros((256, 512, 3), np.uint8)
    picture[128:256, 256:384] = 255
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    with running(tmp_path, "yolo", "--model", str(path)) as service:
        reply = post_raw(service, stream.getvalue(), confidence=0.9)
    found = {"class": "light", "class_id": 0, "confidence": 1.0, "bbox": [256, 128, 128, 128]}
    assert reply.json()["detections"] == [found]
