"""Requests as they go out, and error replies as they come back as exceptions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import httpx
import pytest

from cnet.client import AgentClient
from cnet.errors import (
    AuthError,
    CapacityError,
    CnetError,
    ConflictError,
    ForbiddenError,
    MalformedError,
    MediaTypeError,
    NotFoundError,
    PortTakenError,
    SpecError,
    StorageFullError,
    TooLargeError,
    TransientError,
    TransitionError,
    UnreachableError,
)

Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler, *, token: str | None = None) -> AgentClient:
    return AgentClient("http://agent:8080", token, transport=httpx.MockTransport(handler))


def replying(status: int, body: object) -> AgentClient:
    return client_of(lambda _request: httpx.Response(status, json=body))


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("malformed_body", 400, MalformedError),
        ("invalid_field", 422, SpecError),
        ("unsupported_media_type", 415, MediaTypeError),
        ("too_large", 413, TooLargeError),
        ("unauthorized", 401, AuthError),
        ("forbidden", 403, ForbiddenError),
        ("not_found", 404, NotFoundError),
        ("method_not_allowed", 405, SpecError),
        ("wrong_state", 409, TransitionError),
        ("port_taken", 409, PortTakenError),
        ("no_capacity", 409, CapacityError),
        ("conflict", 409, ConflictError),
        ("unavailable", 503, TransientError),
        ("storage_full", 507, StorageFullError),
    ],
)
def test_each_code_becomes_its_class(code: str, status: int, kind: type[CnetError]) -> None:
    with (
        replying(status, {"error": code, "details": "a sentence"}) as client,
        pytest.raises(CnetError) as caught,
    ):
        client.get("x")
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.message == "a sentence"


def test_field_and_reasons_are_carried() -> None:
    with (
        replying(422, {"error": "invalid_field", "details": "d", "field": "config.port"}) as client,
        pytest.raises(SpecError) as spec,
    ):
        client.submit({"name": "x", "type": "process"})
    assert spec.value.field == "config.port"
    reasons = ["a: cpu 1 cores short", "b: unreachable"]
    with (
        replying(409, {"error": "no_capacity", "details": "d", "reasons": reasons}) as client,
        pytest.raises(CapacityError) as capacity,
    ):
        client.submit({"name": "x", "type": "process"})
    assert list(capacity.value.reasons) == reasons


def test_unknown_code_falls_back_to_the_status_and_keeps_the_code() -> None:
    with (
        replying(409, {"error": "brand_new", "details": "d"}) as client,
        pytest.raises(ConflictError) as caught,
    ):
        client.get("x")
    assert caught.value.code == "brand_new"


@pytest.mark.parametrize(
    ("status", "kind"), [(502, TransientError), (404, NotFoundError), (500, CnetError)]
)
def test_foreign_error_page_still_gives_a_sentence(status: int, kind: type[CnetError]) -> None:
    page = httpx.Response(status, text="<h1>Bad\n Gateway</h1>")
    with client_of(lambda _request: page) as client, pytest.raises(kind) as caught:
        client.health()
    assert f"/api/health answered {status}: <h1>Bad Gateway</h1>" in caught.value.message


@pytest.mark.parametrize(
    "body", ["[]", "hello", '{"workloads": 3}'], ids=["list", "text", "wrong field"]
)
def test_answer_of_something_else_is_no_agent(body: str) -> None:
    with (
        client_of(lambda _request: httpx.Response(200, text=body)) as client,
        pytest.raises(CnetError, match="is this a CNET agent"),
    ):
        client.list()


def test_no_connection_names_the_url_and_what_to_try() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with client_of(refuse) as client, pytest.raises(UnreachableError) as caught:
        client.health()
    assert "http://agent:8080" in caught.value.message
    assert "cnet agent" in caught.value.message
    assert "CNET_AGENT" in caught.value.message


def test_broken_connection_is_unreachable_and_late_answer_is_timeout() -> None:
    def break_off(request: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("gone", request=request)

    def be_late(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("late", request=request)

    with client_of(break_off) as client, pytest.raises(UnreachableError, match="broke"):
        client.health()
    with client_of(be_late) as client, pytest.raises(TransientError) as caught:
        client.health()
    assert caught.value.code == "timeout"


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://x", "http://", "http://[::1"])
def test_bad_url_is_refused_before_any_request(url: str) -> None:
    with pytest.raises(SpecError):
        AgentClient(url)


def test_token_is_sent_as_bearer_and_only_when_there_is_one() -> None:
    seen: list[str | None] = []

    def remember(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, json={"status": "healthy"})

    with client_of(remember, token="secret") as client:
        client.health()
    with client_of(remember) as client:
        client.health()
    assert seen == ["Bearer secret", None]


def test_submit_adds_an_id_and_keeps_a_given_one() -> None:
    bodies: list[dict[str, object]] = []

    def remember(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content) | {"query": request.url.query.decode()})
        return httpx.Response(201, json={"status": "running"})

    given = str(uuid.uuid4())
    with client_of(remember) as client:
        client.submit({"name": "a", "type": "process"})
        client.submit({"name": "a", "type": "process", "id": given}, wait=False)
    assert uuid.UUID(str(bodies[0]["id"])).version == 4
    assert bodies[0]["query"] == ""
    assert (bodies[1]["id"], bodies[1]["query"]) == (given, "wait=false")


def test_list_walks_all_pages_with_its_filters() -> None:
    pages = {None: (["a", "b"], "2"), "2": (["c"], None)}
    queries: list[dict[str, str]] = []

    def page(request: httpx.Request) -> httpx.Response:
        query = dict(request.url.params)
        queries.append(query)
        names, cursor = pages[query.get("cursor")]
        found = [{"name": name} for name in names]
        return httpx.Response(200, json={"workloads": found, "count": 3, "next_cursor": cursor})

    with client_of(page) as client:
        found = client.list(status="running", name="x y")
    assert [each["name"] for each in found] == ["a", "b", "c"]
    assert all(query["status"] == "running" and query["name"] == "x y" for query in queries)


def test_an_id_cannot_leave_its_place_in_the_path() -> None:
    paths: list[bytes] = []

    def remember(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(200, json={})

    with client_of(remember) as client:
        client.get("../health?x#y")
    assert paths == [b"/api/workloads/..%2Fhealth%3Fx%23y"]


def test_environment_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with AgentClient("http://127.0.0.1:2") as client, pytest.raises(UnreachableError) as caught:
        client.health()
    assert "http://127.0.0.1:2" in caught.value.message
