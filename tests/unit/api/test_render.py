"""Workloads and nodes as they look on the wire."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cnet.api import render
from cnet.executors.process import ProcessConfig
from cnet.manager import Workload
from cnet.model.events import AgentEvent
from cnet.model.lifecycle import Phase
from cnet.model.workload import RestartPolicy, WorkloadSpec, WorkloadStatus

AT = 1_795_227_665.25
RUNNING = WorkloadStatus(
    phase=Phase.RUNNING, attempt=1, pid=42, created_at=AT, updated_at=AT, started_at=AT
)


def _workload(status: WorkloadStatus, *, kind: str = "process", **config: Any) -> Workload:
    config = {"command": "sleep"} | config
    spec = WorkloadSpec(name="test", type=kind, config=config, requirements={"cpu": 0.1})
    parsed = ProcessConfig.model_validate(config) if kind == "process" else None
    return Workload("the-id", spec, status, executor=None, config=parsed, restart=RestartPolicy())


def _render(status: WorkloadStatus, **fields: Any) -> dict[str, Any]:
    return render.workload(_workload(status, **fields), "nanjing")


def test_a_running_process() -> None:
    body = _render(RUNNING, args=["60"])
    assert (body["id"], body["name"], body["type"]) == ("the-id", "test", "process")
    assert (body["status"], body["status_reason"], body["desired"]) == ("running", None, "running")
    assert body["requirements"] == {"cpu": 0.1, "gpu": 0, "memory": 0, "storage": 0}
    assert body["pid"] == body["process_pid"] == 42
    assert (body["command"], body["args"]) == ("sleep", ["60"])
    assert body["config"] == body["metadata"]
    assert body["created_at"].endswith("Z")
    assert datetime.fromisoformat(body["created_at"]) == datetime.fromtimestamp(AT, UTC)
    assert not {"exit_code", "endpoint", "log_tail", "ended_at", "secret_env"} & body.keys()


@pytest.mark.parametrize(
    ("phase", "word"),
    [
        (Phase.PENDING, "pending"),
        (Phase.STARTING, "pending"),
        (Phase.BACKOFF, "pending"),
        (Phase.RUNNING, "running"),
        (Phase.STOPPING, "running"),
        (Phase.COMPLETED, "completed"),
        (Phase.FAILED, "failed"),
        (Phase.STOPPED, "stopped"),
    ],
)
def test_the_five_words(phase: Phase, word: str) -> None:
    assert _render(replace(RUNNING, phase=phase))["status"] == word


def test_an_exit_code_is_told_once_it_is_final() -> None:
    ended = replace(RUNNING, phase=Phase.FAILED, pid=None, exit_code=-1, exit_signal="SIGKILL")
    body = _render(ended)
    assert (body["exit_code"], body["exit_signal"]) == (-1, "SIGKILL")
    assert "pid" not in body and "process_pid" not in body
    waiting = _render(replace(ended, phase=Phase.BACKOFF))
    assert "exit_code" not in waiting and "exit_signal" not in waiting


def test_secrets_are_never_shown() -> None:
    body = _render(RUNNING, secret_env={"PASSWORD": "hunter2"}, env={"A": "b"})
    assert body["config"]["secret_env"] == {"PASSWORD": "***"}
    assert "hunter2" not in str(body)
    assert body["env"] == {"A": "b"}


def test_secrets_are_not_shown_either_when_the_plugin_is_gone() -> None:
    body = _render(RUNNING, kind="gone", secret_env={"PASSWORD": "hunter2"})
    assert "hunter2" not in str(body)


def test_no_field_of_a_config_can_pass_for_one_of_the_workload() -> None:
    forged = {"id": "forged", "status": "completed", "labels": ["x"], "pid": 1}
    item = _workload(RUNNING, kind="plugin")
    item.spec = item.spec.model_copy(update={"config": forged})
    body = render.workload(item, "nanjing")
    assert (body["id"], body["status"], body["labels"]) == ("the-id", "running", {})
    assert body["config"]["id"] == "forged"


def test_a_service() -> None:
    body = _render(replace(RUNNING, port=9001, endpoint="http://localhost:9001"), kind="mlmodel")
    assert (body["endpoint"], body["service_port"]) == ("http://localhost:9001", 9001)
    assert body["process_pid"] == 42
    assert body.get("pid") is None


def test_an_event() -> None:
    item = AgentEvent(seq=7, time=AT, event="workload", workload_id="x", data={"name": "n"})
    assert render.event(item) == {
        "seq": 7,
        "time": "2026-11-21T02:21:05.250000Z",
        "event": "workload",
        "workload_id": "x",
        "name": "n",
    }
