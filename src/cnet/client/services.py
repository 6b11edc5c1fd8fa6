"""Predictions from an inference service, asked for at its own endpoint (contract 8).

The picture travels as raw bytes. The agent's token is sent to the agent only (who carries the
request on without it), never to a service's own port: a service is a workload, and a workload is
not trusted with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from cnet.client.replies import json_object
from cnet.client.transport import Transport
from cnet.errors import SpecError

_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"BM", "image/bmp"),
    (b"GIF8", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)


def predict(
    endpoint: str,
    image: bytes,
    *,
    token: str | None = None,
    timeout_s: float = 30.0,
    transport: httpx.BaseTransport | None = None,
    **parameters: float | int | str | None,
) -> dict[str, Any]:
    """What the service at `endpoint` finds in `image` (an encoded picture).

    `token` is for an endpoint below an agent's URL, see `is_below`. `parameters` are the service's
    own, such as `confidence` and `iou_threshold` (0–1) for yolo, or `scale_factor`,
    `min_neighbors`, `min_size` (pixels) for opencv; None leaves the service's default. Returns
    `{detections: [{class | type, bbox: [x, y, width, height], …}], count}`. Raises SpecError for
    an empty picture, and errors as `Transport.request`.
    """
    if not image:
        raise SpecError("the picture is empty", field="image")
    given = {name: value for name, value in parameters.items() if value is not None}
    with _connected(endpoint, token, timeout_s, transport) as http:
        reply = http.request(
            "POST",
            "/predict",
            params=given,
            content=image,
            headers={"Content-Type": media_type(image)},
        )
        return json_object(reply)


def infer(
    endpoint: str,
    body: Mapping[str, Any],
    *,
    token: str | None = None,
    timeout_s: float = 30.0,
    transport: httpx.BaseTransport | None = None,
) -> dict[str, Any]:
    """What the service at `endpoint` answers to named arrays: `{outputs: {name: lists}, …}`.

    `body` is `{inputs: lists by name, outputs?: [name]}`; of a model with one input the lists alone
    will do. Otherwise as `predict`.
    """
    with _connected(endpoint, token, timeout_s, transport) as http:
        return json_object(http.request("POST", "/predict", json=dict(body)))


def _connected(
    endpoint: str, token: str | None, timeout_s: float, transport: httpx.BaseTransport | None
) -> Transport:
    return Transport(
        endpoint,
        token=token,
        timeout_s=timeout_s,
        hint="look at `cnet ps` and `cnet logs` for the state of the service",
        transport=transport,
    )


def is_below(agent_url: str, endpoint: str) -> bool:
    """Whether `endpoint` is a path of the agent at `agent_url`, not just something on its host."""
    try:
        agent, there = httpx.URL(agent_url), httpx.URL(endpoint)
    except httpx.InvalidURL:
        return False
    same_place = (agent.scheme, agent.host, agent.port) == (there.scheme, there.host, there.port)
    return same_place and there.path.startswith(agent.path.rstrip("/") + "/")


def media_type(image: bytes) -> str:
    """The media type by the first bytes; `application/octet-stream` when unknown."""
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    for start, name in _SIGNATURES:
        if image.startswith(start):
            return name
    return "application/octet-stream"
