"""Numbers of events over a crash: none is given twice, so nobody who resumes misses one."""

from __future__ import annotations

from pathlib import Path

import anyio

from cnet.manager import Journal, Workload
from cnet.manager.events import EventBus
from cnet.model.events import AgentEvent
from cnet.model.lifecycle import Phase
from cnet.model.workload import RestartPolicy, WorkloadSpec, WorkloadStatus


def _workload() -> Workload:
    spec = WorkloadSpec(name="w", type="process")
    status = WorkloadStatus(phase=Phase.RUNNING, created_at=1, updated_at=1)
    return Workload("w", spec, status, executor=None, config=None, restart=RestartPolicy())


async def _seen_after(bus: EventBus, seq: int) -> list[AgentEvent]:
    with anyio.fail_after(5):
        return await bus.after(seq, until=anyio.Event())


def test_what_was_told_but_not_written_keeps_its_number(tmp_path: Path) -> None:
    async def scenario() -> None:
        journal = Journal(tmp_path / "cnet.db", ballast_bytes=0)
        journal.open()
        bus = EventBus(journal)
        written = bus.workload_changed(_workload())
        journal.post_events([written])
        told = [bus.workload_changed(_workload()) for _ in range(5)]
        journal.close()  # killed: the five were told to listeners and never written

        again = Journal(tmp_path / "cnet.db", ballast_bytes=0)
        again.open()
        after_crash = EventBus(again)
        event = after_crash.workload_changed(_workload())
        assert event.seq > told[-1].seq
        assert await _seen_after(after_crash, told[-1].seq) == [event]
        assert (await _seen_after(after_crash, written.seq))[-1] == event
        first, *_ = await _seen_after(after_crash, 0)
        assert first.seq == written.seq
        again.close()

    anyio.run(scenario)
