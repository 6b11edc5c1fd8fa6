"""A tree of nodes that exist on paper only, linked to a real agent as if they were agents.

One WebSocket carries them all: the hub is the agent's child, sites are below it, machines below the
sites. They take whatever they are given, say that it runs, and end it when told to; small questions
(usage, logs) are answered too.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from anyio.abc import TaskStatus

from cnet.cluster import wire
from cnet.cluster.frames import MAX_HOPS, Advert, Frame, Post, Resync, Update
from cnet.cluster.handshake import Handshakes
from cnet.cluster.hello import Identity
from cnet.cluster.sockets import Socket, SocketClosedError, dial, link_url
from cnet.cluster.wire import Head, Open
from cnet.delegation.messages import Assign, Drop, Follow, Gone, Status, Want, from_json, to_json
from cnet.delegation.state import encode
from cnet.model.lifecycle import Phase
from cnet.model.node import NodeState
from cnet.model.resources import GIB, Resources
from cnet.model.workload import WorkloadSpec, WorkloadStatus

HUB = "hub"
PER_SITE = 100
PING_S = 1.0
COALESCE_S = 0.02
ADVERTS_AT_ONCE = 200
SIZES = tuple(
    Resources(cores * 1_000, gpus, memory * GIB, 500 * GIB)
    for cores, gpus, memory in ((16, 0, 64), (32, 1, 128), (64, 8, 512))
)


@dataclass(slots=True)
class Run:
    """A workload on one of the nodes."""

    assign: Assign
    node_id: str
    room: Resources
    status: WorkloadStatus
    versions: int = 0
    generation: int = 0

    @property
    def alive(self) -> bool:
        """Whether it holds room."""
        return self.status.phase == Phase.RUNNING


@dataclass(slots=True)
class Node:
    """Where it is in the tree, and how it stands."""

    state: NodeState
    path: tuple[str, ...]
    """from the hub to it, both included"""
    runs: dict[str, Run] = field(default_factory=dict)


class VirtualTree:
    """Use: `await group.start(tree.run)`, then `end` and `runs`."""

    def __init__(self, address: str, count: int, *, seed: int = 1) -> None:
        """`count` nodes in all below the agent at `address` (`host:port`)."""
        self._address = address
        self._dice = random.Random(seed)
        self._nodes = {node.state.node_id: node for node in _nodes(count, self._dice)}
        self._changed: dict[str, None] = {}
        self._sent = 0
        self._out, self._waiting = anyio.create_memory_object_stream[str | bytes](1_000_000)
        self._root = ""

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Link to the agent, and answer until cancelled."""
        socket = await dial(link_url(self._address, "address"), token=None)
        own = Identity(node_id=HUB, instance="virtual", incarnation=1, port=1)
        answer = await Handshakes(own, lambda _: None).call(socket, "parent", escalate=False)
        self._root = answer.node_id
        async with anyio.create_task_group() as group:
            group.start_soon(self._write, socket)
            group.start_soon(self._beat)
            self._tell_all()
            task_status.started()
            await self._read(socket)
            group.cancel_scope.cancel()

    @property
    def runs(self) -> list[Run]:
        """What runs now, anywhere."""
        return [run for node in self._nodes.values() for run in node.runs.values() if run.alive]

    def end(self, run: Run, *, exit_code: int = 0) -> None:
        """The workload ends by itself."""
        phase = Phase.COMPLETED if exit_code == 0 else Phase.FAILED
        reason = None if exit_code == 0 else "exit_nonzero"
        self._change(run, phase=phase, reason=reason, exit_code=exit_code, ended_at=time.time())

    def touch(self) -> str:
        """Some node of the tree has news of its own; its name."""
        node = self._dice.choice(list(self._nodes.values()))
        self._news(node, labels={**node.state.labels, "touched": str(node.state.seq)})
        return node.state.node_id

    # --- what the agent says -------------------------------------------------------------------

    async def _read(self, socket: Socket) -> None:
        assembler = wire.Assembler()
        while True:
            try:
                message = assembler.feed(await socket.receive())
            except SocketClosedError as error:
                raise RuntimeError(f"the agent closed the link: {error}") from error
            if isinstance(message, Post):
                self._heard(message.to, message.source, message.body)
            elif isinstance(message, Resync):
                self._tell_all()
            elif isinstance(message, Open):
                self._answer(message)

    def _heard(self, to: str, source: str, body: Any) -> None:
        node, message = self._nodes[to], from_json(body)
        if isinstance(message, Assign):
            self._take(node, message)
        elif isinstance(message, Want | Drop):
            run = node.runs.get(message.id)
            if run is None:
                self._post(node, source, Gone(id=message.id, k=message.k))
            elif isinstance(message, Drop):
                self._forget(node, run)
            else:
                self._wish(node, run, message)
        elif isinstance(message, Follow):
            for run in node.runs.values():
                self._report(run)

    def _take(self, node: Node, message: Assign) -> None:
        run = node.runs.get(message.id)
        if run is None:
            room = WorkloadSpec.model_validate(message.spec).requirements.to_resources()
            status = WorkloadStatus(phase=Phase.STARTING)
            run = Run(message, node.state.node_id, room, status, generation=message.generation)
            node.runs[message.id] = run
        started = {"started_at": time.time(), "pid": 4242, "attempt": message.attempt + 1}
        self._change(run, phase=Phase.RUNNING, **started)

    def _wish(self, node: Node, run: Run, message: Want) -> None:
        run.generation = message.generation
        if message.desired == "running":
            self._change(run, phase=Phase.RUNNING, attempt=run.status.attempt + 1)
        else:
            self._change(run, phase=Phase.STOPPED, ended_at=time.time())
        if message.desired == "deleted":
            self._forget(node, run)

    def _forget(self, node: Node, run: Run) -> None:
        del node.runs[run.assign.id]
        self._post(node, self._root, Gone(id=run.assign.id, k=run.assign.k))
        self._count(node)

    def _answer(self, request: Open) -> None:
        """Usage and logs of what runs there; anything else is unknown here."""
        answers: dict[str, Any] = {
            "usage": {
                "cpu_s": 1.5,
                "rss_bytes": 64 << 20,
                "processes": 1,
                "at": "2026-01-01T00:00:00Z",
            },
            "logs": {"logs": [f"a line of {request.target}"], "count": 1},
        }
        body = answers.get(request.target.rpartition("/")[2])
        status = 404 if body is None else 200
        data = json.dumps(body or {"error": "not_found", "details": "a virtual node"}).encode()
        headers = (("content-type", "application/json"), ("content-length", str(len(data))))
        self._put(*wire.encode(Head(request.id, status, headers)))
        self._put(*wire.body_pieces(request.id, data), wire.body_end(request.id))

    # --- what the agent is told ----------------------------------------------------------------

    def _change(self, run: Run, **changes: Any) -> None:
        run.status = replace(run.status, **changes)
        self._count(self._nodes[run.node_id])
        self._report(run)

    def _count(self, node: Node) -> None:
        alive = [run for run in node.runs.values() if run.alive]
        taken = sum((run.room for run in alive), Resources())
        available = node.state.capacity.minus_floor(taken)
        self._news(node, available=available, workloads=len(alive))

    def _report(self, run: Run) -> None:
        node = self._nodes[run.node_id]
        run.versions += 1
        status = Status(
            id=run.assign.id,
            k=run.assign.k,
            version=(1, run.versions),
            generation=run.generation,
            state=encode(run.status),
            node_version=node.state.version,
        )
        self._post(node, self._root, status)

    def _post(self, node: Node, to: str, message: Any) -> None:
        source, path = node.state.node_id, tuple(reversed(node.path))
        self._transmit(Post(to=to, source=source, path=path, body=to_json(message)))

    def _news(self, node: Node, **changes: Any) -> None:
        node.state = replace(node.state, seq=node.state.seq + 1, **changes)
        self._changed[node.state.node_id] = None

    async def _beat(self) -> None:
        """Tell of changed nodes together, as links do, and show that this end lives."""
        pinged = time.monotonic()
        while True:
            await anyio.sleep(COALESCE_S)
            if self._changed:
                names = list(self._changed)
                self._changed.clear()
                self._update(names, full=False)
            elif time.monotonic() - pinged >= PING_S:
                self._put(wire.PING)
                pinged = time.monotonic()

    def _tell_all(self) -> None:
        self._changed.clear()
        self._update(list(self._nodes), full=True)

    def _update(self, names: list[str], *, full: bool) -> None:
        for start in range(0, len(names), ADVERTS_AT_ONCE):
            self._sent += 1
            batch = names[start : start + ADVERTS_AT_ONCE]
            more = start + ADVERTS_AT_ONCE < len(names)
            adverts = tuple(self._advert(self._nodes[name]) for name in batch)
            first = full and start == 0
            self._transmit(Update(n=self._sent, full=first, more=full and more, adverts=adverts))

    def _advert(self, node: Node) -> Advert:
        return Advert(state=node.state, path=node.path, below=True)

    def _transmit(self, frame: Frame) -> None:
        self._put(*wire.encode(frame))

    def _put(self, *messages: str | bytes) -> None:
        for message in messages:
            self._out.send_nowait(message)

    async def _write(self, socket: Socket) -> None:
        async for message in self._waiting:
            await socket.send(message)


def _nodes(count: int, dice: random.Random) -> Iterator[Node]:
    """The hub, a site for every hundred nodes, and machines below the sites."""
    sites = [f"site-{number:02d}" for number in range(max(1, (count - 1) // PER_SITE))]
    machines = [f"machine-{number:04d}" for number in range(count - 1 - len(sites))]
    yield _node((HUB,), None, dice)
    for site in sites:
        yield _node((HUB, site), HUB, dice)
    for number, machine in enumerate(machines):
        site = sites[number % len(sites)]
        yield _node((HUB, site, machine), site, dice)


def _node(path: tuple[str, ...], parent_id: str | None, dice: random.Random) -> Node:
    if len(path) > MAX_HOPS:
        raise ValueError(f"{path}: too deep")
    size = dice.choice(SIZES)
    state = NodeState(
        node_id=path[-1],
        incarnation=1,
        seq=1,
        capacity=size,
        available=size,
        kinds=("process", "mlmodel", "container"),
        labels={"zone": dice.choice(("east", "west", "north", "south"))},
        parent_id=parent_id,
        address=f"10.0.{dice.randrange(256)}.{dice.randrange(1, 255)}:8080",
    )
    return Node(state, path)


def bodies(count: int, *, seed: int = 1, start: int = 0) -> Iterable[bytes]:
    """Submits of small processes with names of their own: `work-00000`, …"""
    dice = random.Random(seed)
    for number in range(start, start + count):
        requirements = {
            "cpu": dice.choice((0.1, 0.25, 0.5, 1)),
            "memory": dice.choice((64, 128, 256, 512)) << 20,
        }
        yield json.dumps(
            {
                "name": f"work-{number:05d}",
                "type": "process",
                "requirements": requirements,
                "config": {"command": "sleep", "args": ["3600"]},
                "strategy": "least_loaded",
                "labels": {"team": dice.choice(("red", "green", "blue"))},
            }
        ).encode()
