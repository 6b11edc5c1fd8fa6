"""Predictions are asked for with raw bytes, the given parameters, and never with the token."""

from __future__ import annotations

import httpx
import pytest

from cnet.client import predict
from cnet.client.services import is_below, media_type
from cnet.errors import MalformedError, SpecError, UnreachableError


def test_request_carries_bytes_type_and_given_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNET_TOKEN", "secret")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"detections": [], "count": 0})

    image = b"\xff\xd8\xff\xe0 jpeg"
    found = predict(
        "http://localhost:9001/",
        image,
        confidence=0.25,
        iou_threshold=None,
        transport=httpx.MockTransport(answer),
    )
    assert found == {"detections": [], "count": 0}
    request = seen[0]
    assert str(request.url) == "http://localhost:9001/predict?confidence=0.25"
    assert request.content == image
    assert request.headers["content-type"] == "image/jpeg"
    assert "authorization" not in request.headers


def test_service_errors_become_classes() -> None:
    body = {"error": "bad_image", "details": "the picture is damaged", "field": "image"}
    transport = httpx.MockTransport(lambda _request: httpx.Response(400, json=body))
    with pytest.raises(MalformedError, match="damaged") as caught:
        predict("http://localhost:9001", b"x", transport=transport)
    assert (caught.value.code, caught.value.field) == ("bad_image", "image")


def test_empty_picture_and_absent_service() -> None:
    with pytest.raises(SpecError, match="empty"):
        predict("http://127.0.0.1:1", b"")
    with pytest.raises(UnreachableError, match="cnet ps"):
        predict("http://127.0.0.1:1", b"x")


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"RIFF\x10\0\0\0WEBP", "image/webp"),
        (b"GIF89a", "image/gif"),
        (b"hello", "application/octet-stream"),
    ],
)
def test_media_type_by_first_bytes(start: bytes, expected: str) -> None:
    assert media_type(start) == expected


@pytest.mark.parametrize(
    ("endpoint", "below"),
    [
        ("http://agent:8080/services/faces", True),
        ("http://AGENT:8080/services/faces", True),
        ("http://agent:8081/services/faces", False),
        ("https://agent:8080/services/faces", False),
        ("http://agent.evil:8080/services/faces", False),
        ("http://agent:8080@evil/services/faces", False),
        ("http://localhost:9001", False),
        ("http://[", False),
    ],
)
def test_only_what_is_below_an_agents_url_is_its_own(endpoint: str, below: bool) -> None:
    assert is_below("http://agent:8080", endpoint) is below


def test_an_agent_behind_a_path_has_only_what_is_below_it() -> None:
    assert is_below("https://host/cnet/", "https://host/cnet/services/faces")
    assert not is_below("https://host/cnet", "https://host/other")
    assert not is_below("https://host/cnet", "https://host/cnet-not")


def test_a_given_token_is_sent() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"detections": [], "count": 0})

    transport = httpx.MockTransport(answer)
    predict("http://agent:8080/services/faces", b"x", token="secret", transport=transport)
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert seen[0].url.path == "/services/faces/predict"
