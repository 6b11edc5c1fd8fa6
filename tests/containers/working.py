"""Agents with an engine, and what tests ask of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cnet.client import AgentClient
from cnet.client.agent import JsonObject
from tests.support.agents import AgentProcess, start_agent
from tests.support.engine import IMAGE, Engine

GIB = 1024**3
MIB = 1024**2
ROOM = {"cpu": 4, "gpu": 0, "memory": 8 * GIB, "storage": 20 * GIB}


def start(folder: Path, engine: Engine, *, docker: Any = None, **config: Any) -> AgentProcess:
    """An agent of 4 cores that uses the engine."""
    config.setdefault("resources", ROOM)
    config["docker"] = {"host": engine.host, **(docker or {})}
    return start_agent(folder, **config)


@contextmanager
def agent_with(folder: Path, engine: Engine, **config: Any) -> Iterator[AgentProcess]:
    """The same, stopped with nothing left behind."""
    agent = start(folder, engine, **config)
    try:
        yield agent
    except BaseException:
        print(agent.log())
        agent.discard()
        raise
    agent.stop()


def spec(*command: str, name: str = "c", config: Any = None, **fields: Any) -> dict[str, Any]:
    """A container of the busybox image that runs a command."""
    given = {"image": IMAGE, **({"command": list(command)} if command else {}), **(config or {})}
    return {"name": name, "type": "container", "config": given, **fields}


def sleeper(seconds: int = 600, **fields: Any) -> dict[str, Any]:
    """One that ends at SIGTERM, which process 1 would not hear without a trap."""
    script = f"trap 'exit 0' TERM; i=0; while [ $i -lt {seconds * 10} ]; do sleep 0.1; done"
    return spec("sh", "-c", script, **fields)


def ended(client: AgentClient, workload: JsonObject) -> JsonObject:
    """The workload once it has ended."""
    return client.wait_for(workload["id"], timeout=60)


def output(client: AgentClient, workload: JsonObject) -> list[str]:
    """All that it has said."""
    lines: list[str] = client.logs(workload["id"], lines=0)["logs"]
    return lines
