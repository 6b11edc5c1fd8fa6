"""Takes up, after a start, what the journal knows."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from cnet.delegation import Coordinator
from cnet.executors.base import Executor
from cnet.manager.admission import restore
from cnet.manager.book import Book
from cnet.manager.driving import Driving
from cnet.manager.forgetting import Forgetting
from cnet.manager.results import Results
from cnet.manager.self_report import SelfReport
from cnet.manager.state import State
from cnet.manager.tasks import Tasks
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import Event, Phase

log = structlog.get_logger(__name__)


class Recovery:
    """Fills the books first; only then is any workload taken up."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        *,
        book: Book,
        state: State,
        report: SelfReport,
        coordinator: Coordinator[Workload],
        driving: Driving,
        forgetting: Forgetting,
        tasks: Tasks,
        results: Results,
    ) -> None:
        self._executors = executors
        self._book = book
        self._state = state
        self._report = report
        self._coordinator = coordinator
        self._driving = driving
        self._forgetting = forgetting
        self._tasks = tasks
        self._results = results

    def run(self) -> None:
        """Once, before anything else is asked of the manager."""
        records = self._state.journal.load()
        workloads = [restore(record, self._executors) for record in records]
        for workload in workloads:
            self._enter(workload)
        self._report.changed()
        self._report.tell()
        for workload in workloads:
            self._take_up(workload)

    def _enter(self, workload: Workload) -> None:
        self._book.add(workload)
        self._report.count(workload, None)
        status = workload.status
        if status.holds_room:
            self._state.ledger.adopt(workload.id, workload.wanted, status.gpu_devices)
            if status.port is not None:
                self._state.ports.claim(status.port, workload.id)
            for port in status.ports:
                self._state.ports.claim(port["host_port"], workload.id)

    def _take_up(self, workload: Workload) -> None:
        status = workload.status
        if workload.executor is None and status.host is None and not status.is_terminal:
            log.error("no_executor", workload_id=workload.id, type=workload.spec.type)
        elif status.phase == Phase.STOPPED and status.desired == "running" and not status.host:
            # A restart during the pause before a next try was cut off between its two steps.
            self._state.post(workload, Event.RESTART_ASKED, reason="placing", restarted_at=())
        elif status.is_terminal:
            self._forgetting.note_end(workload)
            if status.desired == "stopped" and status.host is None:
                self._tasks.spawn(self._results.discard, workload)  # a stop was cut off
        elif status.holds_room:
            if status.phase == Phase.STOPPING:
                workload.stop_asked.set()
            self._driving.drive(workload, found=True)
        self._coordinator.recover(workload)
