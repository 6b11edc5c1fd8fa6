"""Containers of others on the same engine, which no agent may touch."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

from tests.support.engine import IMAGE, Engine

from tools.chaos.model import InvariantError
from tools.chaos.waiting import until

BACK_WITHIN_S = 60.0


class Foreign:
    """One without labels, one of another agent's, one that was never started."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ids: dict[str, str] = {}
        self._started: dict[str, str] = {}

    @property
    def names(self) -> set[str]:
        return set(self._ids)

    def make(self) -> None:
        """Once the engine is up."""
        workload_id = str(uuid.uuid4())
        labels = {
            "cnet.instance": "another",
            "cnet.workload_id": workload_id,
            "cnet.attempt": "1",
            "cnet.node_id": "chaos",
        }
        self._make("somebodys", {}, start=True)
        self._make(f"cnet-{workload_id}.1", labels, start=True)
        self._make("unstarted", {}, start=False)
        self.engine_restarted()

    def _make(self, name: str, labels: dict[str, str], *, start: bool) -> None:
        body = {
            "Image": IMAGE,
            "Cmd": ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"],
            "Labels": labels,
            "HostConfig": {"RestartPolicy": {"Name": "always"}},
        }
        made = self._engine.ask("POST", f"/containers/create?name={name}", json=body)
        self._ids[name] = made["Id"]
        if start:
            self._engine.ask("POST", f"/containers/{name}/start")
            self._started[name] = ""

    def engine_restarted(self) -> None:
        """It has started them again itself: wait for that, and look when it was."""
        for name in self._started:
            if not until(partial(self._running, name), timeout_s=BACK_WITHIN_S):
                raise InvariantError("foreign", f"{name} is {self._details(name)['State']}")
            self._started[name] = self._details(name)["State"]["StartedAt"]

    def check(self) -> None:
        """Raises InvariantError `foreign`."""
        there = {each["Names"][0].lstrip("/"): each["Id"] for each in self._engine.containers()}
        for name, container_id in self._ids.items():
            if there.get(name) != container_id:
                raise InvariantError("foreign", f"{name} was removed")
        for name, started_at in self._started.items():
            state = self._details(name)["State"]
            if not state["Running"] or state["StartedAt"] != started_at:
                raise InvariantError("foreign", f"{name} was touched: {state}")

    def _running(self, name: str) -> bool:
        return bool(self._details(name)["State"]["Running"])

    def _details(self, name: str) -> dict[str, Any]:
        details: dict[str, Any] = self._engine.ask("GET", f"/containers/{name}/json")
        return details
