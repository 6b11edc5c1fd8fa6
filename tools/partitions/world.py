"""The agents of a topology on their network, and everything that can be broken between them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools.chaos.agent import UnansweredError
from tools.chaos.model import InvariantError
from tools.partitions.member import PORT, Member
from tools.partitions.network import HUB, Network
from tools.partitions.proxy import Proxy
from tools.partitions.topology import Edge, Topology

MEMORY = 8 * 1024**3
STORAGE = 100 * 1024**3
LINKED_WITHIN_S = 30.0
LOOK_AGAIN_S = 0.01


class World:
    """Agents and network of one run. Use it in a `with` block; nothing is left afterwards."""

    def __init__(self, topology: Topology, folder: Path, *, settings: dict[str, Any]) -> None:
        """`settings` are sections of configuration that all agents share."""
        self.topology = topology
        self.folder = folder
        self._settings = settings
        self._stack = ExitStack()
        self.network = Network(topology.names)
        self.proxies: dict[Edge, Proxy] = {}
        self.members: dict[str, Member] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.network)
            for edge in self.topology.edges:
                if edge.through_proxy:
                    self.proxies[edge] = proxy = Proxy(
                        self.network.entering(HUB),
                        self.network.add_hub_address(),
                        PORT,
                        self.network.address(edge.acceptor),
                        PORT,
                    )
                    stack.callback(proxy.close)
            token = secrets.token_urlsafe(32)
            for host in self.topology.hosts:
                if not host.inbound:
                    self.network.refuse_inbound(host.name)
                self.members[host.name] = member = Member(
                    host.name,
                    self.folder / host.name,
                    self.network,
                    self._config(host.name),
                    token,
                )
                stack.callback(member.kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _config(self, name: str) -> dict[str, Any]:
        host = next(host for host in self.topology.hosts if host.name == name)
        config = {
            **self._settings,
            "agent": {"advertise": f"{self.network.address(name)}:{PORT}"} if host.inbound else {},
            "resources": {"cpu": host.cores, "gpu": 0, "memory": MEMORY, "storage": STORAGE},
        }
        if (edge := self.topology.parent(name)) is not None:
            config["parent"] = {
                "enabled": True,
                "address": self._dialled(edge),
                "escalate": host.escalate,
            }
        peers = [edge for edge in self.topology.edges_of(name) if edge.peers]
        if peers:
            # Both dial, as the seeds' configurations do; where there is a proxy one does.
            dialled = [
                self._dialled(edge)
                if edge.dialler == name
                else f"{self.network.address(edge.dialler)}:{PORT}"
                for edge in peers
                if edge.dialler == name or not edge.through_proxy
            ]
            config["peers"] = {
                "enabled": bool(dialled),
                "addresses": dialled,
                "share": host.share,
            }
        return config

    def _dialled(self, edge: Edge) -> str:
        proxy = self.proxies.get(edge)
        return f"{proxy.address if proxy else self.network.address(edge.acceptor)}:{PORT}"

    # --- agents --------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    def start(self) -> None:
        """Start every agent that does not run, all at once, and wait until each is healthy."""
        self.revive()

    def revive(self) -> list[str]:
        """Resume who is paused, start who is dead, wait until all are healthy; who was dead."""
        for member in self.members.values():
            member.resume()
        dead = [member for member in self.members.values() if not member.runs]
        for member in dead:
            member.launch()
        for member in self.members.values():
            member.await_health()
        return [member.name for member in dead]

    # --- the network ---------------------------------------------------------------------------

    def cut(self, edge: Edge, *, towards: str | None = None) -> Callable[[], None]:
        """Lose what passes this link, `towards` one end or (None) both; returns what undoes it."""
        ends = [edge.dialler, edge.acceptor] if towards is None else [towards]
        rules = [(self._as_seen_from(edge, end), end) for end in ends]
        for source, at in rules:
            self.network.drop(source, at)

        def undo() -> None:
            for source, at in rules:
                self.network.restore(source, at)

        return undo

    def _as_seen_from(self, edge: Edge, end: str) -> str:
        """The address from which packets of the other end arrive."""
        if (proxy := self.proxies.get(edge)) is not None:
            return proxy.address
        return self.network.address(edge.acceptor if end == edge.dialler else edge.dialler)

    def isolate(self, name: str) -> Callable[[], None]:
        """Lose what passes any link of an agent."""
        each = [self.cut(edge) for edge in self.topology.edges_of(name)]

        def undo() -> None:
            for one in each:
                one()

        return undo

    def heal(self) -> None:
        """Every link works."""
        self.network.heal()
        for proxy in self.proxies.values():
            proxy.set_weather()

    # --- what they see -------------------------------------------------------------------------

    def await_views(self, *, timeout_s: float = LINKED_WITHIN_S) -> float:
        """Wait until everyone sees whom they must; the seconds that took.

        Each agent is looked at every 10 ms by a thread of its own. Raises InvariantError `view`.
        """
        expected = self.topology.views()
        began = time.monotonic()
        seen: dict[str, tuple[float, str]] = {}

        def look(name: str) -> None:
            while True:
                wrong = self._wrong_view(name, expected[name])
                seen[name] = (time.monotonic() - began, wrong)
                if not wrong or time.monotonic() - began > timeout_s:
                    return
                time.sleep(LOOK_AGAIN_S)

        threads = [threading.Thread(target=look, args=(name,)) for name in self.members]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bad = [f"{name}: {wrong}" for name, (_, wrong) in seen.items() if wrong]
        if bad or len(seen) < len(expected):
            raise InvariantError("view", f"after {timeout_s:g} s: {'; '.join(bad)}")
        return max(at for at, _ in seen.values())

    def _wrong_view(self, name: str, expected: frozenset[str]) -> str:
        try:
            nodes = self.members[name].nodes()
        except UnansweredError as error:
            return str(error)
        active = {other for other, node in nodes.items() if node["status"] == "active"}
        if active >= expected and set(nodes) == expected:
            return ""
        words = [
            f"{other} {node['status']}" for other, node in nodes.items() if other not in active
        ]
        words += [f"{other} unknown" for other in sorted(expected - set(nodes))]
        return ", ".join(words + [f"{other} needless" for other in sorted(set(nodes) - expected)])

    def each(self) -> Iterator[Member]:
        """All agents."""
        yield from self.members.values()
