"""The invariants, checked at a quiet moment: by the agent's answers, /proc, the witness file."""

from __future__ import annotations

from typing import Any

from tools.chaos import system
from tools.chaos.agent import AgentUnderTest
from tools.chaos.books import Books, Workloads, told
from tools.chaos.model import InvariantError, Model, Seen, Subject
from tools.chaos.sorts import SERVICE
from tools.chaos.system import Process


class Checker(Books):
    """Holds what must be seen against what is."""

    reasons_of_disturbed = frozenset({"supervisor_lost", "crash_loop"})

    def __init__(self, agent: AgentUnderTest, model: Model, *, mark: str) -> None:
        super().__init__(agent, model)
        self._mark = mark

    def check(self) -> None:
        """Wait until the agent is quiet, then check everything. Raises InvariantError."""
        workloads = self.check_books()
        processes = self._check_processes(workloads)
        for subject in self._model.all():
            if (item := workloads.get(subject.id)) is not None:
                self._check_state(subject, item, processes)
        self._check_unrecorded()
        self.checks += 1

    def _moves(self, item: dict[str, Any]) -> bool:
        """Also while a run that was started is yet to write its line."""
        return super()._moves(item) or (item["status"] == "running" and not self._has_begun(item))

    def _has_begun(self, item: dict[str, Any]) -> bool:
        subject, run_id = self._model.find(item["id"]), f"{item['id']}.{item['attempt']}"
        if subject is None or subject.sort is SERVICE:
            return True
        if self._witness.process(run_id) is None:
            self._witness.read()
        return self._witness.process(run_id) is not None

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
                state = "unknown" if item is None else f"{told(item)}, attempt {item['attempt']}"
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
        self._check_untouched(subject, now)

    def _check_main(
        self, subject: Subject, item: dict[str, Any], alive: set[Process]
    ) -> Process | None:
        run_id, pid = f"{subject.id}.{item['attempt']}", item.get("process_pid")
        process = next((one for one in alive if one.pid == pid), None)
        if process is None or not process.lives():
            raise InvariantError(
                "dead_pid", f"run {run_id} runs, but pid {pid} is not it", subject.id
            )
        begun_by = self._witness.process(run_id)
        if subject.sort is not SERVICE and begun_by != process:
            raise InvariantError(
                "dead_pid", f"run {run_id} was begun by {begun_by}, not {process}", subject.id
            )
        return process
