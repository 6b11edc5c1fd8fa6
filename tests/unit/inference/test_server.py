"""The ASGI application without a socket: what only shows when a client or runtime misbehaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest

from cnet.errors import ExecutionError, TransientError
from cnet.inference.lanes import Lanes
from cnet.inference.runtime import PredictRequest
from cnet.inference.server import InferenceServer

pytestmark = pytest.mark.anyio


class EchoRuntime:
    """Answers what it was sent, or raises what it was given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def health(self) -> Mapping[str, Any]:
        return {"runtime": "echo"}

    def info(self) -> Mapping[str, Any]:
        return {"loaded": True}

    def predict(self, request: PredictRequest, *, threads: int) -> Mapping[str, Any]:
        if self.error is not None:
            raise self.error
        return {"bytes": len(request.body), "query": request.query, "threads": threads}

    def unload(self) -> None:
        """Nothing is held."""


def body_in(*chunks: bytes) -> list[dict[str, Any]]:
    """The messages of a body sent in `chunks`."""
    return [
        {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]


async def ask(
    server: InferenceServer,
    messages: Sequence[dict[str, Any]],
    *,
    path: str = "/predict",
    method: str = "POST",
) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer; status 0 when there was none. Afterwards silence."""
    waiting = iter(messages)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        for message in waiting:
            return message
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "path": path, "method": method, "headers": [], "query_string": b"a=1",
    }  # fmt: skip
    with anyio.fail_after(60):
        await server(scope, receive, send)
    return (sent[0]["status"], json.loads(sent[1]["body"])) if sent else (0, {})


def make(error: Exception | None = None, *, limit: int = 100) -> InferenceServer:
    lanes = Lanes(2, max_waiting=4)
    return InferenceServer(EchoRuntime(error), lanes, name="echo", max_body_bytes=limit)


async def test_a_runtime_sees_body_query_and_its_share() -> None:
    answer = await ask(make(), body_in(b"abc", b"", b"def"))
    assert answer == (200, {"bytes": 6, "query": "a=1", "threads": 2})


async def test_plugged_in_words_reach_health_and_info() -> None:
    health = await ask(make(), [], path="/health", method="GET")
    assert health == (200, {"status": "healthy", "runtime": "echo"})
    assert await ask(make(), [], path="/info", method="GET") == (
        200,
        {"loaded": True, "name": "echo"},
    )


async def test_a_body_is_refused_as_soon_as_it_is_too_long() -> None:
    endless = [{"type": "http.request", "body": b"x" * 40, "more_body": True}] * 3
    status, answer = await ask(make(), endless)
    assert (status, answer["error"]) == (413, "too_large")


async def test_bodies_together_are_bounded() -> None:
    server = make()
    server._buffered = 8 * 100 - 10  # held by other requests
    status, answer = await ask(server, body_in(b"x" * 50))
    assert (status, answer["error"]) == (429, "overloaded")
    assert server._buffered == 8 * 100 - 10


async def test_bodies_are_forgotten_with_their_requests() -> None:
    server = make()
    await ask(server, body_in(b"x" * 50))
    await ask(server, body_in(b"x" * 500))
    await ask(server, [*body_in(b"x", b"y")[:1], {"type": "http.disconnect"}])
    assert server._buffered == 0


async def test_a_client_that_falls_silent_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnet.inference.server._BODY_IDLE_S", 0.01)
    status, answer = await ask(make(), body_in(b"x", b"y")[:1])
    assert (status, answer["error"]) == (408, "body_timeout")


async def test_a_client_that_hangs_up_in_the_body_gets_no_answer() -> None:
    messages = [*body_in(b"x", b"y")[:1], {"type": "http.disconnect"}]
    assert await ask(make(), messages) == (0, {})


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ZeroDivisionError("secret detail"), 500, "internal_error"),
        (ExecutionError("the model fails", code="model_failed"), 500, "model_failed"),
        (TransientError("later"), 429, "unavailable"),
    ],
)
async def test_errors_of_a_runtime(error: Exception, status: int, code: str) -> None:
    found, answer = await ask(make(error), body_in(b"x"))
    assert (found, answer["error"]) == (status, code)
    assert "secret" not in answer["details"]
