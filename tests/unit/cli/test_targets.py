"""Names, ids and starts of ids: which workload is meant, and when that is unclear."""

from __future__ import annotations

import httpx
import pytest

from cnet.cli.targets import resolve
from cnet.client import AgentClient
from cnet.errors import ConflictError, NotFoundError

WORKLOADS = [
    {"id": "aaaa1111-0000-4000-8000-000000000001", "name": "web", "status": "completed"},
    {"id": "aaaa2222-0000-4000-8000-000000000002", "name": "web", "status": "running"},
    {"id": "bbbb1111-0000-4000-8000-000000000003", "name": "old", "status": "failed"},
    {"id": "bbbb2222-0000-4000-8000-000000000004", "name": "old", "status": "completed"},
    {"id": "cccc1111-0000-4000-8000-000000000005", "name": "twin", "status": "running"},
    {"id": "cccc2222-0000-4000-8000-000000000006", "name": "twin", "status": "pending"},
    {"id": "dddd1111-0000-4000-8000-000000000007", "name": "aaaa1", "status": "running"},
]


def answer(request: httpx.Request) -> httpx.Response:
    path = request.url.path.removeprefix("/api/workloads").strip("/")
    if path:
        found = [each for each in WORKLOADS if each["id"] == path]
        if not found:
            return httpx.Response(404, json={"error": "not_found", "details": "no such workload"})
        return httpx.Response(200, json=found[0])
    name = request.url.params.get("name")
    found = [each for each in WORKLOADS if name in (None, each["name"])]
    return httpx.Response(200, json={"workloads": found, "count": len(found), "next_cursor": None})


def resolved(target: str) -> str:
    with AgentClient("http://agent", transport=httpx.MockTransport(answer)) as client:
        return str(resolve(client, target)["id"])[:5]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("aaaa1111-0000-4000-8000-000000000001", "aaaa1"),
        ("AAAA1111-0000-4000-8000-000000000001", "aaaa1"),
        ("web", "aaaa2"),  # the running one
        ("aaaa2", "aaaa2"),
        ("BBBB1", "bbbb1"),
        ("aaaa1", "dddd1"),  # a name goes before the start of an id
    ],
)
def test_clear_targets(target: str, expected: str) -> None:
    assert resolved(target) == expected


@pytest.mark.parametrize(
    ("target", "listed"),
    [("twin", ["cccc1111", "cccc2222"]), ("old", ["bbbb1111", "failed"]), ("aaaa", ["aaaa2222"])],
)
def test_unclear_targets_list_the_candidates(target: str, listed: list[str]) -> None:
    with pytest.raises(ConflictError) as caught:
        resolved(target)
    assert caught.value.code == "ambiguous_target"
    assert all(word in caught.value.message for word in listed)


@pytest.mark.parametrize(
    "target", ["nobody", "aaa", "eeee", "eeee1111-0000-4000-8000-000000000009"]
)
def test_unknown_targets(target: str) -> None:
    with pytest.raises(NotFoundError):
        resolved(target)
