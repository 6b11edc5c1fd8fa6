"""An agent as a program speaking plain HTTP sees it; adds nothing to the requests it makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import orjson

from tests.support.agents import AgentProcess

Json = dict[str, Any]


class Node:
    """`http` speaks to the agent; the other methods are the few things every test does."""

    def __init__(self, agent: AgentProcess) -> None:
        self.agent = agent
        self.http = httpx.Client(base_url=agent.url, timeout=60, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def process(self, *argv: str, name: str = "test", **fields: Any) -> Json:
        """Submit a process that must be accepted; its workload object."""
        return self.submit(process_spec(*argv, name=name, **fields))

    def submit(self, spec: Json, **params: Any) -> Json:
        """Submit a workload that must be accepted; its workload object."""
        reply = self.http.post("/api/workloads", json=spec, params=params)
        assert reply.status_code in {200, 201}, reply.text
        return self.json(reply)

    def get(self, workload_id: str) -> Json:
        """The workload object."""
        return self.json(self.http.get(f"/api/workloads/{workload_id}"))

    def stop(self, workload_id: str) -> Json:
        """Stop it; the workload object of the answer."""
        reply = self.http.post(f"/api/workloads/{workload_id}/stop")
        assert reply.status_code == 200, reply.text
        found: Json = self.json(reply)["workload"]
        return found

    def delete_all(self) -> None:
        """Delete what there is."""
        for service in self.json(self.http.get("/api/services"))["services"]:
            reply = self.http.delete(f"/api/services/{service['name']}")
            assert reply.status_code in {200, 404}, reply.text
        for workload in self.json(self.http.get("/api/workloads"))["workloads"]:
            reply = self.http.delete(f"/api/workloads/{workload['id']}")
            assert reply.status_code in {200, 404}, reply.text

    def used(self) -> Json:
        """What all workloads hold together."""
        found: Json = self.json(self.http.get("/api/resources"))["resources"]["used"]
        return found

    def logs(self, workload_id: str, lines: int | str = 0) -> list[str]:
        """All that is kept of the output, by default."""
        reply = self.http.get(f"/api/workloads/{workload_id}/logs", params={"lines": lines})
        found: list[str] = self.json(reply)["logs"]
        return found

    def wait(
        self, workload_id: str, condition: Callable[[Json], bool], *, timeout_s: float = 90.0
    ) -> Json:
        """The workload once it meets `condition`; woken by the agent's events."""
        return self.agent.client.wait_for(workload_id, until=condition, timeout=timeout_s)

    def wait_status(self, workload_id: str, status: str, *, timeout_s: float = 90.0) -> Json:
        """The workload once it has that status."""
        return self.wait(workload_id, lambda it: bool(it["status"] == status), timeout_s=timeout_s)

    @contextmanager
    def events(self, *, after: int | None = None, **params: Any) -> Iterator[Iterator[Json]]:
        """Events of the stream as `{id, event, data}`."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        with self.http.stream("GET", "/api/events", params=params, headers=headers) as reply:
            assert reply.status_code == 200
            assert reply.headers["content-type"].startswith("text/event-stream")
            yield _parsed(reply.iter_lines())

    @staticmethod
    def json(reply: httpx.Response) -> Json:
        """The body, which must be a JSON object sent as such."""
        assert reply.headers["content-type"] == "application/json", reply.text
        found: Json = reply.json()
        assert isinstance(found, dict)
        return found


def process_spec(*argv: str, name: str = "test", **fields: Any) -> Json:
    """The request for a process; `config` among the fields adds to the command."""
    config = {"command": argv[0], "args": list(argv[1:]), **fields.pop("config", {})}
    return {"name": name, "type": "process", "config": config, **fields}


def until_told(go: Path, then: str = "exit 0") -> tuple[str, ...]:
    """A command that runs until the file `go` is there."""
    return ("sh", "-c", f'while [ ! -e "$0" ]; do sleep 0.01; done; {then}', str(go))


def refused(
    reply: httpx.Response, status: int, code: str, *, field: str | None = None, says: str = ""
) -> Json:
    """Check an error against contract 0; its body."""
    assert reply.status_code == status, reply.text
    body = Node.json(reply)
    assert body["error"] == code, body
    assert isinstance(body["details"], str) and body["details"], body
    assert says in body["details"], body
    if field is not None:
        assert body.get("field") == field, body
        assert field.rsplit(".", 1)[-1] in body["details"], body
    return body


def _parsed(lines: Iterator[str]) -> Iterator[Json]:
    fields: dict[str, str] = {}
    deadline = time.monotonic() + 60
    for line in lines:
        assert time.monotonic() < deadline, "the stream went on for a minute"
        if line:
            key, _, value = line.partition(": ")
            fields[key] = value
            continue
        if "data" in fields:
            yield {**fields, "data": orjson.loads(fields["data"])}
        fields = {}
