"""A tree of agent processes, and the conditions that tests of it wait for."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx

from cnet._support.ports import free_ports
from tests.api.node import Json, Node
from tests.support.agents import AgentProcess, alive, new_agent, wait_until

GIB = 1024**3
NOTHING = {"cpu": 0, "gpu": 0, "memory": 0, "storage": 0}
PATIENCE_S = 90.0
"""Far above what anything here takes on a quiet machine."""


def room(cpu: float, memory: int = 8 * GIB) -> Json:
    """`resources` of an agent: so many cores."""
    return {"cpu": cpu, "gpu": 0, "memory": memory, "storage": 20 * GIB}


class Tree:
    """Agents by name, each with a port that it keeps over restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.agents: dict[str, AgentProcess] = {}
        self.nodes: dict[str, Node] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for agent in self.agents.values():
            agent.discard()

    def start(self, name: str, **options: Any) -> Node:
        """`launch` an agent, and wait until it is healthy."""
        self.launch(name, **options)
        self.wait_healthy()
        return self.nodes[name]

    def launch(
        self,
        name: str,
        *,
        parent: str | None = None,
        escalate: bool = False,
        peers: tuple[str, ...] = (),
        share: bool = False,
        environ: Mapping[str, str] | None = None,
        **config: Any,
    ) -> None:
        """Start an agent that dials those named; several in a row start at the same time."""
        folder = self._folder / name
        folder.mkdir()
        # The others dial this port again when the agent has been restarted.
        (port,) = free_ports(1)
        config["agent"] = {"node_id": name, "port": port, **config.get("agent", {})}
        config.setdefault("links", {"retry_max_s": 0.3})
        if parent is not None:
            address = self.address(parent)
            config["parent"] = {"enabled": True, "address": address, "escalate": escalate}
        if peers:
            addresses = [self.address(peer) for peer in peers]
            config["peers"] = {"enabled": True, "addresses": addresses, "share": share}
        self.agents[name] = new_agent(folder, environ=environ, **config)
        self.agents[name].launch()

    def wait_healthy(self) -> None:
        """Wait for the agents that have been launched."""
        for name in self.agents.keys() - self.nodes.keys():
            self.nodes[name] = self._stack.enter_context(Node(self.agents[name].wait_healthy()))

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def address(self, name: str) -> str:
        """`host:port` of an agent."""
        return f"127.0.0.1:{self.agents[name].config['agent']['port']}"

    # --- what one node knows of another --------------------------------------------------------

    def seen(self, at: str, node_id: str) -> Json | None:
        """A node as another tells of it; None when it is not known there."""
        reply = self[at].http.get(f"/api/nodes/{node_id}")
        return None if reply.status_code == 404 else Node.json(reply)

    def wait_seen(
        self, at: str, node_id: str, condition: Callable[[Json], bool], what: str = ""
    ) -> Json:
        """A node in the view of another, once it is like this."""
        last: list[Json | None] = [None]

        def met() -> bool:
            last[0] = self.seen(at, node_id)
            return last[0] is not None and condition(last[0])

        wait_until(met, timeout_s=PATIENCE_S, what=lambda: f"{node_id} at {at} {what}: {last[0]}")
        assert last[0] is not None
        return last[0]

    def linked(self, at: str, *others: str) -> None:
        """Wait until the others are known at a node and can be reached."""
        for other in others:
            self.wait_seen(at, other, lambda it: bool(it["status"] == "active"), "active")

    # --- what is left --------------------------------------------------------------------------

    def clean(self) -> None:
        """Delete everything everywhere; nothing may be left in a list, on a disk, of a quota."""
        for name, node in self.nodes.items():
            for service in Node.json(node.http.get("/api/services"))["services"]:
                if service["owner"] == name:
                    node.http.delete(f"/api/services/{service['name']}")
            for workload in self.listed(name):
                if workload["owner"] == name:
                    reply = node.http.delete(f"/api/workloads/{workload['id']}")
                    assert reply.status_code in {200, 404}, f"{name}: {reply.text}"
        for name in self.nodes:
            self.wait_bare(name)
        for name in self.nodes:
            self.wait_current(name)

    def wait_current(self, at: str) -> None:
        """Wait until what a node knows of those that run is what they say of themselves."""
        for node_id in {it["node_id"] for it in self.known(at)} & self.nodes.keys() - {at}:
            told = _told(Node.json(self[node_id].http.get("/api/nodes/local")))
            self.wait_seen(at, node_id, lambda it, told=told: _told(it) == told, "as it is")  # type: ignore[misc]

    def known(self, at: str) -> list[Json]:
        """All nodes of which a node knows, itself included."""
        found: list[Json] = Node.json(self[at].http.get("/api/nodes"))["nodes"]
        return found

    def wait_bare(self, name: str) -> None:
        """Wait until a node has no workload, holds no room and has no run directory."""
        found: list[Any] = []

        def bare() -> bool:
            ids = [(it["id"], it["status"], it["status_reason"]) for it in self.listed(name)]
            found[:] = [ids, self[name].used(), self.runs(name)]
            return found == [[], NOTHING, []]

        wait_until(bare, timeout_s=PATIENCE_S, what=lambda: f"left at {name}: {found}")

    def listed(self, name: str) -> list[Json]:
        """All workloads that an agent knows of, own and hosted."""
        found: list[Json] = Node.json(self[name].http.get("/api/workloads"))["workloads"]
        return found

    def runs(self, name: str) -> list[str]:
        """Ids of the workloads that have a run directory on a node."""
        runs = self.agents[name].data_dir / "runs"
        return sorted(entry.name for entry in runs.iterdir() if _is_uuid(entry.name))

    def shut_down(self) -> None:
        """Clean up, then end every agent; no process of theirs may be left."""
        self.clean()
        for agent in self.agents.values():
            agent.stop()


def _told(node: Json) -> Json:
    """What a node tells of itself as it changes."""
    return {key: node[key] for key in ("available", "labels", "workloads", "peers", "parent_id")}


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def wait_answer(
    ask: Callable[[], httpx.Response], condition: Callable[[httpx.Response], bool], what: str
) -> httpx.Response:
    """Ask until the answer is like this."""
    last: list[httpx.Response] = []

    def met() -> bool:
        last[:] = [ask()]
        return condition(last[0])

    wait_until(met, timeout_s=PATIENCE_S, what=lambda: f"{what}: {last[0].text[:500]}")
    return last[0]


def stamping(file: Path) -> list[str]:
    """A command that notes each of its starts and its end, and writes on while it lives."""
    script = (
        'echo "start $$" >> "$0"; trap \'echo "end $$" >> "$0"; exit 0\' TERM; '
        "while :; do sleep 0.05 & wait; done"
    )
    return ["sh", "-c", script, str(file)]


def starts(file: Path) -> list[int]:
    """Pids of the runs that a `stamping` command has noted, oldest first."""
    if not file.exists():
        return []
    lines = file.read_text().splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith("start")]


def living(file: Path) -> list[int]:
    """Those of the noted runs that are alive."""
    return [pid for pid in starts(file) if alive(pid)]
