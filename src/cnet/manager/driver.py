"""One workload's runs, from the room it holds to its end: start, ready, alive, ended, again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import structlog

from cnet._support import clock
from cnet.errors import CnetError, ExecutionError, PortTakenError, SpecError, StorageFullError
from cnet.executors.base import (
    ChecksHealth,
    Executor,
    FetchesInputs,
    KeepsLogs,
    LeavesResult,
    Named,
    Run,
    ServesEndpoint,
    Task,
)
from cnet.manager.admission import is_service
from cnet.manager.endpoints import endpoint_changes, has_ports
from cnet.manager.outcomes import Outcome, Verdict, after, judge
from cnet.manager.state import State, until_written
from cnet.manager.workloads import Workload
from cnet.model.lifecycle import Event, Phase
from cnet.model.route import REPLICA_LABEL
from cnet.model.workload import HealthSpec
from cnet.supervision import RunExit, tail

log = structlog.get_logger(__name__)

LOG_TAIL_LINES = 20
LOG_TAIL_BYTES = 16_384
FIRST_PROBE_PAUSE_S = 0.02
LAST_PROBE_PAUSE_S = 0.5
TELL_S = 1.0
"""Between two words about how far a fetch is."""
MAX_KILL_GRACE_S = 5.0
"""SIGTERM to SIGKILL for a service that does not answer any more."""

_VANISHED = Outcome(
    well=False,
    reason="supervisor_lost",
    detail="its run directory is gone",
    exit_code=None,
    exit_signal=None,
)
_NEVER_STARTED = Outcome(
    well=False, reason=None, detail=None, exit_code=None, exit_signal=None, final=True
)


Probe = Callable[[], Awaitable[None]]
"""One question whether a run is well; ExecutionError says why it is not."""


class LeaseOverError(ExecutionError):
    """A run may not start: the lease of its workload is over."""

    code = "lease_expired"


@dataclass(slots=True)
class _Watch:
    verdict: Verdict | None = None


class Driver:
    """Drives runs of workloads; one `drive` per workload that holds room."""

    def __init__(
        self,
        state: State,
        node_id: str,
        requeue: Callable[[Workload], None],
        lease_of: Callable[[Workload], float | None],
        until_idle: Callable[[str], Awaitable[None]],
    ) -> None:
        self._state = state
        self._node_id = node_id
        self._requeue = requeue
        self._lease_of = lease_of
        self._until_idle = until_idle

    async def drive(self, workload: Workload, *, found: bool = False) -> None:
        """Run until the workload holds no room any more.

        `found` says that the agent has just started and a run may exist already. An unexpected
        error is logged and the run looked up again: a bug here must lose neither the run nor the
        agent.
        """
        while True:
            try:
                return await self._drive(workload, found=found)
            except Exception:
                log.exception("drive_failed", workload_id=workload.id)
                found = True
                await anyio.sleep(1)

    async def _drive(self, workload: Workload, *, found: bool) -> None:
        executor = workload.executor
        if executor is None:
            raise RuntimeError(f"workload {workload.id} has no executor")
        again = workload.status.phase == Phase.BACKOFF
        if again and not await self._next_attempt(workload, 0.0):
            return
        while True:
            outcome = await self._one_run(workload, executor, found=found, again=again)
            found, again = False, True
            if not await self._conclude(workload, executor, outcome):
                return

    async def _one_run(
        self, workload: Workload, executor: Executor, *, found: bool, again: bool
    ) -> Outcome:
        task = workload.task(self._node_id)
        run = await executor.attach(task) if found else None
        if isinstance(run, RunExit):
            if run.started_at is not None:  # it may have ended before its start was written down
                self._ran(workload, executor, run.started_at)
            return judge(run, service=is_service(executor, workload.config))
        if run is None:
            if workload.status.phase == Phase.STOPPING:
                return _NEVER_STARTED
            if workload.status.phase == Phase.RUNNING:
                return _VANISHED
            try:
                if isinstance(executor, FetchesInputs):
                    await self._fetch(workload, executor, task, again=again)
                    if workload.stop_asked.is_set():
                        return _NEVER_STARTED
                lease_until = self._lease_of(workload)
                task = workload.task(self._node_id, lease_until=lease_until)
                run = await executor.start(task)
            except (SpecError, ExecutionError, StorageFullError) as error:
                # Only what surely did not start has failed. Any other error leaves that open (the
                # supervisor closed, the attempt was launched before): `drive` looks it up again.
                return Outcome(
                    well=False,
                    reason=error.code,
                    detail=error.message,
                    exit_code=None,
                    exit_signal=None,
                    final=True,
                )
        return await self._watch(workload, executor, run)

    async def _fetch(
        self, workload: Workload, executor: FetchesInputs, task: Task, *, again: bool
    ) -> None:
        """Until the inputs are there, or a stop is asked for."""
        failure: CnetError | None = None
        async with anyio.create_task_group() as group:

            async def cancel_when_stopped() -> None:
                await workload.stop_asked.wait()
                group.cancel_scope.cancel()

            group.start_soon(cancel_when_stopped)
            try:
                await executor.fetch(task, again=again, tell=self._teller(workload))
            except CnetError as error:  # raised below: a task group would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if workload.status.reason == "fetching" and workload.status.phase == Phase.STARTING:
            self._state.post(workload, reason="starting", detail=None)

    def _teller(self, workload: Workload) -> Callable[[str], None]:
        """What is told of a fetch is shown, now and then."""
        due = 0.0

        def tell(detail: str) -> None:
            nonlocal due
            now = anyio.current_time()
            if now >= due and workload.status.phase == Phase.STARTING:
                due = now + TELL_S
                self._state.post(workload, reason="fetching", detail=detail)

        return tell

    async def _watch(self, workload: Workload, executor: Executor, run: Run) -> Outcome:
        workload.run = run
        watch = _Watch()
        health = await self._health_of(workload, executor)
        self._started(workload, executor, run, asked=health is not None)
        async with anyio.create_task_group() as group:
            group.start_soon(self._stop_when_asked, workload, run)
            if health is not None and isinstance(executor, ServesEndpoint | ChecksHealth):
                probe = partial(self._probe, workload, executor, health)
                group.start_soon(self._keep_healthy, workload, probe, health, run, watch)
            ended = await run.wait()
            group.cancel_scope.cancel()
        workload.run = None
        service = is_service(executor, workload.config)
        return judge(ended, service=service, verdict=watch.verdict)

    async def _health_of(self, workload: Workload, executor: Executor) -> HealthSpec | None:
        """How the present run is watched; None where it is well as long as it lasts."""
        if isinstance(executor, ChecksHealth):
            return await executor.health(workload.task(self._node_id))
        return workload.spec.health if isinstance(executor, ServesEndpoint) else None

    def _started(self, workload: Workload, executor: Executor, run: Run, *, asked: bool) -> None:
        changes: dict[str, Any] = {
            "pid": run.pid,
            "names": dict(run.names) if isinstance(run, Named) else {},
            "limits": dict(run.limits),
            "detail": _limits_note(run),
        }
        self._state.ledger.commit(workload.id)
        ran = not asked and self._ran(workload, executor, run.started_at, **changes)
        if not ran and (
            workload.status.pid,
            workload.status.names,
        ) != (run.pid, changes["names"]):
            self._state.post(workload, **changes)

    def _ran(
        self, workload: Workload, executor: Executor, started_at: float, **changes: Any
    ) -> bool:
        """Whether this makes it `running`; a service is so only when it answers."""
        service = is_service(executor, workload.config)
        if workload.status.phase != Phase.STARTING or service:
            return False
        self._state.post(workload, Event.READY, reason=None, started_at=started_at, **changes)
        return True

    async def _stop_when_asked(self, workload: Workload, run: Run) -> None:
        await workload.stop_asked.wait()
        if REPLICA_LABEL in workload.spec.labels:  # it gets no more requests; those it has it ends
            with anyio.move_on_after(workload.spec.stop_grace_s):
                await self._until_idle(workload.id)
        await run.stop(grace_s=workload.spec.stop_grace_s)

    # --- services ------------------------------------------------------------------------------

    async def _keep_healthy(
        self, workload: Workload, probe: Probe, health: HealthSpec, run: Run, watch: _Watch
    ) -> None:
        if workload.status.phase == Phase.STARTING:
            watch.verdict = await self._until_ready(probe, health)
            if watch.verdict is None:
                self._ready(workload, run)
        if watch.verdict is None:
            watch.verdict = await self._until_sick(workload, probe, health)
        grace_s = min(workload.spec.stop_grace_s, MAX_KILL_GRACE_S)
        await run.stop(grace_s=grace_s)

    async def _probe(
        self, workload: Workload, executor: ServesEndpoint | ChecksHealth, health: HealthSpec
    ) -> None:
        await executor.probe(workload.task(self._node_id), health.timeout_s)

    def _ready(self, workload: Workload, run: Run) -> None:
        if workload.status.phase == Phase.STARTING:
            self._state.post(
                workload, Event.READY, reason=None, detail=_limits_note(run), started_at=clock.now()
            )

    async def _until_ready(self, probe: Probe, health: HealthSpec) -> Verdict | None:
        pause_s = FIRST_PROBE_PAUSE_S
        why = "no answer yet"
        with anyio.move_on_after(health.ready_timeout_s):
            while True:
                try:
                    await probe()
                except ExecutionError as error:
                    why = error.message
                else:
                    return None
                await anyio.sleep(pause_s)
                pause_s = min(pause_s * 1.2, LAST_PROBE_PAUSE_S)
        return Verdict("not_ready", f"not ready within {health.ready_timeout_s:g} s: {why}")

    async def _until_sick(self, workload: Workload, probe: Probe, health: HealthSpec) -> Verdict:
        failed = 0
        while True:
            await anyio.sleep(health.interval_s)
            try:
                await probe()
            except ExecutionError as error:
                failed += 1
                log.warning(
                    "probe_failed", workload_id=workload.id, in_a_row=failed, why=str(error)
                )
                if failed >= health.failures:
                    return Verdict("unhealthy", f"{failed} probes failed in a row: {error.message}")
            else:
                failed = 0

    # --- after a run ---------------------------------------------------------------------------

    async def _conclude(self, workload: Workload, executor: Executor, outcome: Outcome) -> bool:
        """Whether another run follows."""
        lines = [] if outcome.well else await _log_tail(executor, workload.id)
        left = await _left(executor, workload, outcome)
        follow = after(
            outcome,
            workload.status,
            workload.restart,
            service=is_service(executor, workload.config),
            now=clock.now(),
        )
        if isinstance(executor, FetchesInputs) and follow.event != Event.EXITED_AGAIN:
            await _release(executor, workload.task(self._node_id))
        ended = {
            "exit_code": outcome.exit_code,
            "exit_signal": outcome.exit_signal,
            "pid": None,
            "names": {},
            "log_tail": tuple(lines),
            **left,
        }
        if follow.event == Event.EXITED_AGAIN:
            number = len(follow.restarted_at)
            self._state.post(
                workload,
                Event.EXITED_AGAIN,
                reason="restarting",
                detail=f"{outcome.detail}; restart {number} of {workload.restart.attempts} "
                f"in {follow.pause_s:g} s",
                restarts=workload.status.restarts + 1,
                restarted_at=follow.restarted_at,
                **ended,
            )
            return await self._next_attempt(workload, follow.pause_s)
        reason, detail = outcome.reason, outcome.detail
        if reason == "exited" or (reason == "exit_nonzero" and workload.status.started_at is None):
            detail = f"{detail}; it said: {lines[-1][:300]}" if lines else detail
        if follow.gave_up and not outcome.well:
            reason = "crash_loop"
            detail = f"{outcome.reason}: {detail}; {workload.restart.attempts} restarts used up"
        if follow.event in {Event.GONE, Event.GONE_AGAIN}:
            reason = "placing" if follow.event == Event.GONE_AGAIN else "stopped_by_user"
            detail, ended["log_tail"] = None, ()
        self._state.post(
            workload, follow.event, reason=reason, detail=detail, ended_at=clock.now(), **ended
        )
        if follow.event == Event.GONE_AGAIN:
            self._requeue(workload)
        return False

    async def _next_attempt(self, workload: Workload, pause_s: float) -> bool:
        """Wait, then make the next attempt durable; False when somebody stopped it meanwhile."""
        attempt = workload.status.attempt
        with anyio.move_on_after(pause_s):
            await workload.stop_asked.wait()
        if workload.status.phase != Phase.BACKOFF or workload.status.attempt != attempt:
            return False
        changes: dict[str, object] = {}
        if has_ports(workload):
            try:
                changes = endpoint_changes(workload, self._state, self._node_id)
            except PortTakenError as error:
                log.warning("port_lost", workload_id=workload.id, why=error.message)
        self._state.post(
            workload, Event.BACKOFF_OVER, attempt=attempt + 1, reason="starting", **changes
        )
        # On the disk before it is started: see `Driving._drive_to_end`.
        journal = self._state.journal
        await until_written(lambda: journal.update(workload.id, workload.status))
        return True


async def _left(executor: Executor, workload: Workload, outcome: Outcome) -> dict[str, Any]:
    """What the end of a run means for its workload's result; a stopped one is to leave nothing."""
    changes: dict[str, Any] = {}
    phase: Phase | None = None
    while isinstance(executor, LeavesResult) and phase != workload.status.phase:
        phase = workload.status.phase
        if phase == Phase.STOPPING and workload.status.desired != "running":
            await until_written(partial(executor.discard, workload.id))
            changes = {"result": {}}
        elif outcome.well:
            changes = {"result": dict(await executor.result(workload.id))}
    return changes


async def _release(executor: FetchesInputs, task: Task) -> None:
    try:
        await executor.release(task)
    except OSError as error:  # it goes with the workload
        log.warning("inputs_not_removed", workload_id=task.workload_id, why=str(error))


async def _log_tail(executor: Executor, workload_id: str) -> list[str]:
    if not isinstance(executor, KeepsLogs):
        return []
    path = executor.log_path(workload_id)
    return await anyio.to_thread.run_sync(tail, path, LOG_TAIL_LINES, LOG_TAIL_BYTES)


def _limits_note(run: Run) -> str | None:
    """A sentence about limits that are weaker than asked for."""
    weak = {"rlimit_data": "by RLIMIT_DATA of each process only", "none": "not at all"}
    notes = [f"{name} {weak[how]}" for name, how in run.limits.items() if how in weak]
    return f"limited {', '.join(notes)}: no cgroup is permitted here" if notes else None
