"""`plan`, `why`, `nodes` and `node …` against an agent that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from cnet.cli import session
from cnet.cli.main import main
from cnet.cli.node import label_changes
from cnet.client import AgentClient
from cnet.errors import SpecError

PLAN = {
    "node": "nanjing",
    "candidates": ["nanjing", "suqian"],
    "rejections": [{"node_id": "jiangsu", "reasons": ["cpu 0.5 cores short", "draining"]}],
    "impossible": False,
    "preempts": None,
}
WORKLOAD = {"id": "11111111-2222-3333-4444-555555555555", "name": "w", "status": "pending"}

Requests = list[httpx.Request]
Scripted = Callable[[dict[str, Any]], Requests]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """`scripted({"POST /api/plan": reply})`: the agent's answers; returns what it is asked."""

    def install(replies: dict[str, Any]) -> Requests:
        seen: Requests = []

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(200, json=replies[f"{request.method} {request.url.path}"])

        def connect(_self: session.Session, *, timeout: float = 30.0) -> AgentClient:
            return AgentClient(transport=httpx.MockTransport(answer), timeout=timeout)

        monkeypatch.setattr(session.Session, "connect", connect)
        return seen

    return install


def test_plan_says_where_and_why_not_elsewhere(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = scripted({"POST /api/plan": PLAN})
    assert main(["plan", "--name", "x", "--cpu", "1", "--affinity", "zone=a", "--", "true"]) == 0
    body = json.loads(seen[0].content)
    assert body["requirements"] == {"cpu": 1.0}
    assert body["affinity"] == [{"node_labels": {"zone": "a"}}]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["x:", "would", "run", "on", "nanjing"]
    assert lines[2:4] == [["nanjing", "yes,", "1."], ["suqian", "yes,", "2."]]
    assert " ".join(lines[4]) == "jiangsu no cpu 0.5 cores short; draining"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "would wait: no node has room now"),
        ({"impossible": True}, "fits no known node"),
        ({"preempts": "suqian"}, "would make room on suqian"),
    ],
)
def test_plan_without_a_node_is_code_1(
    scripted: Scripted, capsys: pytest.CaptureFixture[str], more: dict[str, Any], words: str
) -> None:
    scripted({"POST /api/plan": PLAN | {"node": None, "candidates": []} | more})
    assert main(["plan", "--", "true"]) == 1
    assert words in capsys.readouterr().out


def test_plan_as_json_is_the_answer_with_the_name(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted({"POST /api/plan": PLAN})
    assert main(["plan", "--json", "--name", "x", "--", "true"]) == 0
    assert json.loads(capsys.readouterr().out) == PLAN | {"name": "x"}


def test_why_names_every_node(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {
        "workload_id": WORKLOAD["id"],
        "node": None,
        "status": "pending",
        "status_reason": "no_capacity",
        "candidates": [],
        "rejections": PLAN["rejections"],
    }
    path = f"/api/workloads/{WORKLOAD['id']}"
    scripted({f"GET {path}": WORKLOAD, f"GET {path}/why": answer})
    assert main(["why", str(WORKLOAD["id"])]) == 0
    out = capsys.readouterr().out
    assert "w: pending (no_capacity) on no node" in out
    assert "cpu 0.5 cores short; draining" in out
    assert main(["why", "--json", str(WORKLOAD["id"])]) == 0
    assert json.loads(capsys.readouterr().out) == answer


def test_node_commands_ask_the_right_thing(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    node = {"node_id": "a b", "labels": {"disk": "nvme"}}
    reply = {"message": "done", "node": node}
    seen = scripted(
        {
            "GET /api/nodes/a b": node,
            "POST /api/nodes/a b/drain": reply,
            "POST /api/nodes/a b/undrain": reply,
            "PATCH /api/nodes/a b/labels": reply,
        }
    )
    assert main(["node", "describe", "a b"]) == 0
    assert "disk: nvme" in capsys.readouterr().out
    assert main(["node", "drain", "a b"]) == 0
    assert main(["node", "undrain", "a b", "--json"]) == 0
    assert main(["node", "label", "a b", "disk=nvme", "zone-"]) == 0
    assert "a b: disk=nvme" in capsys.readouterr().out
    assert json.loads(seen[-1].content) == {"labels": {"disk": "nvme", "zone": None}}
    assert seen[1].url.raw_path == b"/api/nodes/a%20b/drain"


def test_labels_to_set_and_to_remove() -> None:
    assert label_changes(["a=1", "b-", "c-=x", "d=-", "e="]) == {
        "a": "1",
        "b": None,
        "c-": "x",
        "d": "-",
        "e": "",
    }


@pytest.mark.parametrize("change", ["", "a", "-", "=x"])
def test_what_is_no_label_change_is_refused(change: str) -> None:
    with pytest.raises(SpecError, match="NAME=VALUE"):
        label_changes([change])
