"""How many workloads a second one agent can give to its nodes, each of them durable.

    python -m benchmarks.root [--nodes 100 1000 10000] [--workloads 10000] [--at-once 256]
                              [--folder DIR]

The real manager with its journal (SQLite, synced), scheduler and delegation. The nodes are virtual:
they answer every request at once with "running", and with news of the room they have left, as a
host's own messages would say it. Counted are submits that were checked, placed, written to the
disk, given to a node, accepted by it, and written again; all of it by one process, the virtual
nodes' answers included. "CPU ms" is that process's CPU time per workload; p50 and p99 are from a
submit to "running", `--at-once` under way at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import uvloop

from benchmarks.placement import Job, jobs
from cnet.delegation.messages import Assign, Status, from_json, to_json
from cnet.delegation.state import encode
from cnet.manager import Manager
from cnet.manager.journal import Journal
from cnet.model.lifecycle import Phase
from cnet.model.node import KnownNode, NodeState
from cnet.model.resources import GIB, Resources
from cnet.model.workload import WorkloadSpec, WorkloadStatus
from cnet.register import Ledger

SIZE = Resources(256_000, 16, 2_048 * GIB, 16_000 * GIB)
"""Of each node: enough for all workloads on the fewest of them."""
WARM_UP = 500


class Nodes:
    """The network of the agent: every node on it takes what it is asked to."""

    def __init__(self, number: int) -> None:
        self.states = {
            f"node-{index:05d}": NodeState(
                node_id=f"node-{index:05d}",
                incarnation=1,
                seq=1,
                capacity=SIZE,
                available=SIZE,
                kinds=("process",),
            )
            for index in range(number)
        }
        self.manager: Manager | None = None
        self._later: list[Callable[[], None]] = []

    def tell(self, node_id: str) -> None:
        """The agent hears how a node stands."""
        if self.manager is None:
            raise RuntimeError("there is no manager to tell")
        known = KnownNode(state=self.states[node_id], node_type="child", reachable=True)
        self.manager.node_changed(node_id, known)

    def set_self(self, state: NodeState) -> None:
        """The agent has nobody above it."""

    def post(self, to: str, body: Any) -> bool:
        """A message of the agent; only requests are answered."""
        message = from_json(body)
        if isinstance(message, Assign):
            asyncio.get_running_loop().call_soon(self._accept, to, message)
        return True

    def _accept(self, node_id: str, message: Assign) -> None:
        state = self.states[node_id]
        room = WorkloadSpec.model_validate(message.spec).requirements.to_resources()
        available = state.available - room
        self.states[node_id] = replace(state, seq=state.seq + 1, available=available)
        self.tell(node_id)
        status = WorkloadStatus(phase=Phase.RUNNING, attempt=1, pid=4242, started_at=time.time())
        answer = Status(
            id=message.id,
            k=message.k,
            version=(1, state.seq),
            generation=message.generation,
            state=encode(status),
            node_version=(1, state.seq + 1),
        )
        if self.manager is not None:
            self.manager.receive(node_id, to_json(answer))


async def _submit(manager: Manager, given: list[Job], at_once: int, latencies: list[float]) -> None:
    """All of them, so many at a time."""
    waiting = iter(given)

    async def user() -> None:
        for job in waiting:
            began = time.perf_counter()
            workload, _ = await manager.submit(job.spec)
            await workload.until(lambda status: status.phase == Phase.RUNNING)
            latencies.append(time.perf_counter() - began)

    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(user)


async def measure(nodes: int, workloads: int, at_once: int, folder: Path) -> str:
    """One line of the table."""
    journal = Journal(folder / "cnet.db")
    journal.open()
    network = Nodes(nodes)
    manager = Manager(
        node_id="root",
        ledger=Ledger(Resources()),
        journal=journal,
        executors={},
        keep_ended=workloads,
        network=network,
    )
    network.manager = manager
    given = jobs(random.Random(nodes), WARM_UP + workloads, labelled=False)
    latencies: list[float] = []
    try:
        async with anyio.create_task_group() as group:
            await group.start(manager.run)
            for node_id in network.states:
                network.tell(node_id)
            await _submit(manager, given[:WARM_UP], at_once, [])
            began, began_cpu = time.perf_counter(), time.process_time()
            await _submit(manager, given[WARM_UP:], at_once, latencies)
            lasted, used = time.perf_counter() - began, time.process_time() - began_cpu
            group.cancel_scope.cancel()
    finally:
        journal.close()
    latencies.sort()
    p50, p99 = (latencies[int(len(latencies) * share)] * 1e3 for share in (0.5, 0.99))
    return (
        f"{nodes:>7} {workloads:>10} {lasted:>7.1f} {workloads / lasted:>9.0f} "
        f"{used / workloads * 1e3:>7.2f} {p50:>7.1f} {p99:>7.1f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", nargs="+", type=int, default=[100, 1_000, 10_000])
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; default: TMPDIR")
    options = parser.parse_args(arguments)
    print("  nodes  workloads       s   running/s  CPU ms  p50 ms  p99 ms")
    for nodes in options.nodes:
        folder = Path(tempfile.mkdtemp(prefix="cnet-root-", dir=options.folder))
        try:
            work = measure(nodes, options.workloads, options.at_once, folder)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                print(runner.run(work), flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
