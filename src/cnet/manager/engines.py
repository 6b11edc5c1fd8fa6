"""What executors need beside this agent: told of where it is away, and when it is back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import structlog

from cnet.executors.base import Executor, NeedsEngine
from cnet.manager.book import Book
from cnet.manager.own_node import OwnNode
from cnet.manager.self_report import SelfReport
from cnet.manager.state import State
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import Phase

log = structlog.get_logger(__name__)

REASON = "engine_unreachable"
_USUAL = {Phase.STARTING: "starting", Phase.RUNNING: None, Phase.STOPPING: "stopping"}
"""Phases in which a run depends on its engine, with the reason they have while that is there."""


class Engines:
    """Keeps the kinds of the own node, and what is said of workloads, true to what is there."""

    def __init__(
        self,
        executors: Mapping[str, Executor],
        *,
        own_node: OwnNode,
        book: Book,
        state: State,
        report: SelfReport,
    ) -> None:
        self._executors = executors
        self._own_node = own_node
        self._book = book
        self._state = state
        self._report = report

    def start(self) -> None:
        """Once the books are filled."""
        for kind, executor in self._executors.items():
            if isinstance(executor, NeedsEngine):
                executor.tell(partial(self._changed, kind, executor))
                self._changed(kind, executor)

    def _changed(self, changed: str, executor: NeedsEngine) -> None:
        kinds = tuple(sorted(kind for kind, each in self._executors.items() if is_usable(each)))
        if kinds != self._own_node.kinds:
            self._own_node.kinds = kinds
            self._report.room_changed()
        for workload in list(self._book.accepted()):
            if workload.spec.type == changed and workload.status.host is None:
                self._tell(workload, executor.absence)

    def _tell(self, workload: Workload, absence: str | None) -> None:
        status = workload.status
        if status.phase not in _USUAL:
            return
        if absence is not None:
            if (status.reason, status.detail) != (REASON, absence):
                self._state.post(workload, reason="engine_unreachable", detail=absence)
        elif status.reason == REASON:
            self._state.post(workload, reason=_USUAL[status.phase], detail=None)


def is_usable(executor: Executor) -> bool:
    """Whether it can start something now."""
    return not isinstance(executor, NeedsEngine) or executor.absence is None


def stopping_reason(workload: Workload, reason: str) -> tuple[str, str | None]:
    """Reason and sentence of one that is asked to end: `reason`, or that it cannot be told."""
    executor = workload.executor
    if isinstance(executor, NeedsEngine) and executor.absence is not None:
        return REASON, executor.absence
    return reason, None
