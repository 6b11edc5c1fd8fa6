"""The invariants of campaigns against one agent: what it tells, against what was asked of it."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, ClassVar

from tools.chaos import model, system
from tools.chaos.agent import CAPACITY, AgentUnderTest
from tools.chaos.model import InvariantError, Model, Seen, Subject
from tools.chaos.sorts import HOPELESS_RESTARTS, SERVES
from tools.chaos.witness import WITNESS, Witness

QUIET_TIMEOUT_S = 45.0
HOLLOW_TIMEOUT_S = 10.0  # until a run without its process must have been noticed
LOOK_AGAIN_S = 0.02
TERMINAL = ("completed", "failed", "stopped")

Workloads = dict[str, dict[str, Any]]


class Books:
    """Holds what an agent says against the wishes of its clients."""

    reasons_of_disturbed: ClassVar[frozenset[str]]
    """with which a run may fail of which something was killed"""

    def __init__(self, agent: AgentUnderTest, model_: Model) -> None:
        self._agent = agent
        self._model = model_
        self._witness = Witness(agent.folder / WITNESS)
        self.checks = 0

    def check_books(self) -> Workloads:
        """Wait until the agent is quiet; the workloads it has then. Raises InvariantError."""
        workloads = self._until_quiet()
        self._witness.read()
        for subject in self._model.all():
            self._check_presence(subject, workloads.get(subject.id))
        self._check_strangers(workloads)
        self._check_quota(workloads)
        return workloads

    # --- quiet ---------------------------------------------------------------------------------

    def _until_quiet(self) -> Workloads:
        deadline = time.monotonic() + QUIET_TIMEOUT_S
        before: Workloads | None = None
        hollow_since: float | None = None
        while True:
            now = self._agent.workloads()
            moving = [item for item in now.values() if self._moves(item)]
            if not moving and now == before:
                return now
            hollow = [item for item in moving if _is_hollow(item)]
            hollow_since = (hollow_since or time.monotonic()) if hollow else None
            if hollow_since is not None and time.monotonic() - hollow_since > HOLLOW_TIMEOUT_S:
                raise InvariantError(
                    "dead_pid",
                    f"{told(hollow[0])}, but there is no process {hollow[0]['process_pid']}",
                    hollow[0]["id"],
                )
            if time.monotonic() > deadline:
                item = moving[0] if moving else next(iter(now.values()))
                raise InvariantError(
                    "stuck",
                    f"still {told(item)} (desired {item['desired']}) after {QUIET_TIMEOUT_S:g} s",
                    item["id"],
                )
            before = now
            time.sleep(LOOK_AGAIN_S)

    def _moves(self, item: dict[str, Any]) -> bool:
        """Whether it is on its way somewhere by itself."""
        if item["desired"] == "deleted":
            return True
        if item["status"] == "pending":
            return bool(item["status_reason"] != "no_capacity")
        if item["status"] != "running":
            return False
        subject = self._model.find(item["id"])
        if subject is None:
            return False  # a stranger: to be reported, not to be waited for
        if item["status_reason"] in ("stopping", "engine_unreachable"):
            return True
        return not subject.sort.lasting or item["attempt"] <= subject.sort.flaps

    # --- records -------------------------------------------------------------------------------

    def _check_presence(self, subject: Subject, item: dict[str, Any] | None) -> None:
        may_be_gone = bool(subject.wishes & {model.ABSENT, model.DELETED})
        if item is None:
            if not may_be_gone:
                raise InvariantError("lost", f"wanted: {sorted(subject.wishes)}", subject.id)
            subject.wishes, subject.gone = {model.DELETED}, True
            return
        if subject.gone or not subject.wishes & {model.RUNNING, model.STOPPED}:
            raise InvariantError("resurrected", f"it is back as {told(item)}", subject.id)
        wish = model.STOPPED if item["status"] == "stopped" else model.RUNNING
        if wish not in subject.wishes:
            raise InvariantError(
                "status", f"{told(item)}, but wanted: {sorted(subject.wishes)}", subject.id
            )
        subject.wishes, subject.acknowledged = {wish}, True

    def _check_strangers(self, workloads: Workloads) -> None:
        for workload_id, item in workloads.items():
            if self._model.find(workload_id) is None:
                raise InvariantError("stranger", f"nobody submitted {item['name']}", workload_id)

    def _check_untouched(self, subject: Subject, now: Seen) -> None:
        """What nobody has touched since the last check is as it was then."""
        before, subject.seen = subject.seen, now
        if before is None or before.touched != now.touched or before.status == "pending":
            return
        if before != now:
            raise InvariantError(
                "touched", f"nobody touched it, but {before} became {now}", subject.id
            )

    def _check_unrecorded(self) -> None:
        """Whatever ran must have been recorded first, so it is known or a user deleted it."""
        for run_id in self._witness.runs:
            subject = self._model.find(run_id.rpartition(".")[0])
            if subject is None or subject.acknowledged or not subject.gone:
                continue
            if not any("delete" in line for line in subject.story):
                raise InvariantError(
                    "unrecorded", f"run {run_id} was started, and nobody knows it", subject.id
                )

    def _check_end(self, subject: Subject, item: dict[str, Any]) -> None:
        status, reason, code = item["status"], item["status_reason"], item.get("exit_code")
        sort, hopeless = subject.sort, subject.sort.name == "is-hopeless"
        if status not in ("completed", "failed"):
            return
        lost = subject.disturbed and status == "failed"
        if lost and reason in self.reasons_of_disturbed:
            return
        if sort.name == SERVES and reason == "port_taken":
            return  # by a program that is none of ours
        if sort.lasting:
            raise InvariantError(
                "status", f"it would run for ever, but it is {told(item)}", subject.id
            )
        expected = ("completed", None) if sort.exit_code == 0 else ("failed", "exit_nonzero")
        expected = ("failed", "crash_loop") if hopeless else expected
        if (status, reason) != expected or code != sort.exit_code:
            raise InvariantError(
                "exit_code",
                f"{told(item)} with exit code {code}; its program ends with {sort.exit_code}",
                subject.id,
            )
        if not subject.operated and not subject.disturbed:
            runs = len(self._witness.of(subject.id))
            if runs != (HOPELESS_RESTARTS + 1 if hopeless else 1):
                raise InvariantError("doubled", f"{runs} runs of it were begun", subject.id)

    # --- room ---------------------------------------------------------------------------------

    def _check_quota(self, workloads: Workloads) -> None:
        held: Counter[str] = Counter(cpu=0, memory=0, storage=0)
        for workload_id, item in workloads.items():
            subject = self._model.find(workload_id)
            if item["status"] == "running" and subject is not None:
                held.update(subject.required())
        used = self._agent.used()
        if used != dict(held):
            sentence = f"used {used}, but what runs adds up to {dict(held)}"
            excess = {name: used[name] - held[name] for name in used}
            raise InvariantError("quota", sentence, self._suspect(excess, workloads))
        free = round(CAPACITY["cpu"] * 1000) - used["cpu"]
        for workload_id, item in workloads.items():
            subject = self._model.find(workload_id)
            waits = item["status"] == "pending" and subject is not None
            if waits and subject is not None and subject.cpu_millicores <= free:
                raise InvariantError(
                    "starved",
                    f"{free} millicores are free, and it is {told(item)}",
                    workload_id,
                )

    def _suspect(self, excess: dict[str, int], workloads: Workloads) -> str | None:
        """The ended workload that would explain the whole excess, if there is one."""
        for subject in self._model.all():
            item = workloads.get(subject.id)
            if (item is None or item["status"] in TERMINAL) and subject.required() == excess:
                return subject.id
        return None


def _is_hollow(item: dict[str, Any]) -> bool:
    """Whether it is shown with a process that does not live."""
    pid = item.get("process_pid")
    return pid is not None and system.start_time(pid) is None


def told(item: dict[str, Any]) -> str:
    return f"{item['status']} ({item['status_reason']}: {item['status_detail']})"
