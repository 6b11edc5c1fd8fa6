"""The invariants, checked at a quiet moment: by the agent's answers, /proc, the witness file."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.chaos import model, system
from tools.chaos.agent import CAPACITY, AgentUnderTest
from tools.chaos.model import InvariantError, Model, Seen, Subject
from tools.chaos.sorts import HOPELESS_RESTARTS, SERVICE
from tools.chaos.system import Process

QUIET_TIMEOUT_S = 45.0
HOLLOW_TIMEOUT_S = 10.0  # until a run without its process must have been noticed
LOOK_AGAIN_S = 0.02
TERMINAL = ("completed", "failed", "stopped")

Workloads = dict[str, dict[str, Any]]


@dataclass
class Witness:
    """What the workloads wrote down themselves: run id → the process that began it."""

    path: Path
    runs: dict[str, Process] = field(default_factory=dict)

    def read(self) -> None:
        """Read it anew. Raises InvariantError `doubled`."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.runs = {}
        for line in lines:
            words = line.split(" ")
            workload_id = words[1 if words[0] == "doubled" else 0].rpartition(".")[0]
            if words[0] == "doubled":
                raise InvariantError(
                    "doubled", f"run {words[1]} met an earlier run alive", workload_id
                )
            if words[0] in self.runs:
                raise InvariantError("doubled", f"run {words[0]} was started twice", workload_id)
            self.runs[words[0]] = Process(int(words[1]), int(words[2]))

    def count(self, workload_id: str) -> int:
        """How many runs of a workload there were."""
        return sum(1 for run_id in self.runs if run_id.rpartition(".")[0] == workload_id)


class Checker:
    """Holds what must be seen against what is."""

    def __init__(self, agent: AgentUnderTest, model_: Model, *, mark: str) -> None:
        self._agent = agent
        self._model = model_
        self._mark = mark
        self._witness = Witness(agent.folder / "witness")
        self.checks = 0

    def check(self) -> None:
        """Wait until the agent is quiet, then check everything. Raises InvariantError."""
        workloads = self._until_quiet()
        self._witness.read()
        for subject in self._model.all():
            self._check_presence(subject, workloads.get(subject.id))
        self._check_strangers(workloads)
        self._check_quota(workloads)
        processes = self._check_processes(workloads)
        for subject in self._model.all():
            if (item := workloads.get(subject.id)) is not None:
                self._check_state(subject, item, processes)
        self._check_unrecorded()
        self.checks += 1

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
                    f"{_words(hollow[0])}, but there is no process {hollow[0]['process_pid']}",
                    hollow[0]["id"],
                )
            if time.monotonic() > deadline:
                item = moving[0] if moving else next(iter(now.values()))
                raise InvariantError(
                    "stuck",
                    f"still {_words(item)} (desired {item['desired']}) after {QUIET_TIMEOUT_S:g} s",
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
        if item["status_reason"] == "stopping":
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
            raise InvariantError("resurrected", f"it is back as {_words(item)}", subject.id)
        wish = model.STOPPED if item["status"] == "stopped" else model.RUNNING
        if wish not in subject.wishes:
            raise InvariantError(
                "status", f"{_words(item)}, but wanted: {sorted(subject.wishes)}", subject.id
            )
        subject.wishes, subject.acknowledged = {wish}, True

    def _check_strangers(self, workloads: Workloads) -> None:
        for workload_id, item in workloads.items():
            if self._model.find(workload_id) is None:
                raise InvariantError("stranger", f"nobody submitted {item['name']}", workload_id)

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

    # --- books ---------------------------------------------------------------------------------

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
                    "starved", f"waits although {free} millicores are free", workload_id
                )

    def _suspect(self, excess: dict[str, int], workloads: Workloads) -> str | None:
        """The ended workload that would explain the whole excess, if there is one."""
        for subject in self._model.all():
            item = workloads.get(subject.id)
            if (item is None or item["status"] in TERMINAL) and subject.required() == excess:
                return subject.id
        return None

    # --- processes -----------------------------------------------------------------------------

    def _check_processes(self, workloads: Workloads) -> set[Process]:
        """No process without a running run of a workload; returns those there are."""
        alive = set()
        for process, environment in system.environments():
            run_id = environment.get("CNET_RUN_ID", "")
            workload_id, _, attempt = run_id.rpartition(".")
            subject = self._model.find(workload_id)
            if subject is None:
                if environment.get("CHAOS_MARK") == self._mark:
                    raise InvariantError("orphan", f"process {system.describe(process)} has no run")
                continue
            alive.add(process)
            item = workloads.get(workload_id)
            if item is None or item["status"] != "running" or str(item["attempt"]) != attempt:
                state = "unknown" if item is None else f"{_words(item)}, attempt {item['attempt']}"
                if process.lives():
                    raise InvariantError(
                        "orphan",
                        f"process {system.describe(process)} of run {run_id} lives, but the "
                        f"workload is {state}",
                        workload_id,
                    )
        return alive

    def _check_state(self, subject: Subject, item: dict[str, Any], alive: set[Process]) -> None:
        process = self._check_main(subject, item, alive) if item["status"] == "running" else None
        self._check_end(subject, item)
        now = Seen(
            status=item["status"],
            attempt=item["attempt"],
            process=process,
            exit_code=item.get("exit_code"),
            touched=subject.touched,
        )
        before, subject.seen = subject.seen, now
        if before is None or before.touched != now.touched or before.status == "pending":
            return
        if before != now:
            raise InvariantError(
                "touched", f"nobody touched it, but {before} became {now}", subject.id
            )

    def _check_main(
        self, subject: Subject, item: dict[str, Any], alive: set[Process]
    ) -> Process | None:
        run_id, pid = f"{subject.id}.{item['attempt']}", item.get("process_pid")
        process = next((one for one in alive if one.pid == pid), None)
        if process is None or not process.lives():
            raise InvariantError(
                "dead_pid", f"run {run_id} runs, but pid {pid} is not it", subject.id
            )
        if subject.sort is not SERVICE and self._witness.runs.get(run_id) != process:
            raise InvariantError(
                "dead_pid",
                f"run {run_id} was begun by {self._witness.runs.get(run_id)}, not {process}",
                subject.id,
            )
        return process

    def _check_end(self, subject: Subject, item: dict[str, Any]) -> None:
        status, reason, code = item["status"], item["status_reason"], item.get("exit_code")
        sort, hopeless = subject.sort, subject.sort.name == "is-hopeless"
        if status not in ("completed", "failed"):
            return
        if subject.disturbed and status == "failed" and reason in ("supervisor_lost", "crash_loop"):
            return
        if sort is SERVICE and reason == "port_taken":
            return  # by a program that is none of ours
        if sort.lasting:
            raise InvariantError(
                "status", f"it would run for ever, but it is {_words(item)}", subject.id
            )
        expected = ("completed", None) if sort.exit_code == 0 else ("failed", "exit_nonzero")
        expected = ("failed", "crash_loop") if hopeless else expected
        if (status, reason) != expected or code != sort.exit_code:
            raise InvariantError(
                "exit_code",
                f"{_words(item)} with exit code {code}; its program ends with {sort.exit_code}",
                subject.id,
            )
        if not subject.operated and not subject.disturbed:
            runs = self._witness.count(subject.id)
            if runs != (HOPELESS_RESTARTS + 1 if hopeless else 1):
                raise InvariantError("doubled", f"{runs} runs of it were begun", subject.id)


def until(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    """Look at `condition` every 10 ms; whether it became true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _is_hollow(item: dict[str, Any]) -> bool:
    """Whether it is shown with a process that does not live."""
    pid = item.get("process_pid")
    return pid is not None and system.start_time(pid) is None


def _words(item: dict[str, Any]) -> str:
    return f"{item['status']} ({item['status_reason']}: {item['status_detail']})"
