"""A container as the agent holds it: watched until it has ended and is put down."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from math import ceil
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup, TaskStatus

from cnet._support import clock
from cnet.errors import TransientError
from cnet.executors.container import oom
from cnet.executors.container.engine import (
    REQUEST_TIMEOUT_S,
    Engine,
    EngineAwayError,
    EngineError,
)
from cnet.executors.container.exec import is_of_container
from cnet.executors.container.logs import LogCopy
from cnet.executors.container.records import RunRecords
from cnet.executors.container.stats import usage_of
from cnet.supervision import RunExit, Usage

log = structlog.get_logger(__name__)

FIRST_LOOK_S = 0.05
LAST_LOOK_S = 30.0
"""Between looks at a container of which the engine says nothing."""
STOP_SENT_S = 1.0
"""By then the engine has surely been told."""
RETRY_S = 1.0
REMOVED_WITHIN_S = 10.0
"""What others have begun to remove is gone by then, or the engine fails at it."""
GONE, CONFLICT = 404, 409
KILLED = 128 + signal.SIGKILL
ENDED = frozenset({"exited", "dead"})
REMOVING = "removing"
"""It has ended, and somebody is removing it, which an engine may fail at for ever."""


class ContainerRun:
    """One started container. `watch` must be running; it ends with the container."""

    def __init__(
        self,
        engine: Engine,
        details: Mapping[str, Any],
        *,
        records: RunRecords,
        copy: LogCopy,
        limits: Mapping[str, str],
        grace_s: float,
        boot_id: str,
        survives_engine: bool,
    ) -> None:
        self.container_id: str = details["Id"]
        self.image_id: str = details["Image"]
        self.pid = _own_pid(details)
        self.started_at = _unix_time(details["State"]["StartedAt"]) or clock.now()
        self.limits = limits
        self.names = {"container_id": self.container_id}
        self._engine = engine
        self._records = records
        self._copy = copy
        self._grace_s = grace_s
        self._boot_id = boot_id
        self._survives_engine = survives_engine
        self._oom = False
        self._engine_was_away = False
        self._news = anyio.Event()
        self._tasks: TaskGroup | None = None
        self._exit: RunExit | None = None
        self._settled = anyio.Event()

    # --- what the manager asks -----------------------------------------------------------------

    async def wait(self) -> RunExit:
        """See `Run`. Raises TransientError when the agent ends first."""
        await self._settled.wait()
        if self._exit is None:
            raise TransientError(f"container {self.container_id} is no longer watched")
        return self._exit

    async def stop(self, *, grace_s: float | None = None) -> None:
        """See `Run`. While the engine is away it is asked again until it is back."""
        if self._tasks is None:
            return
        await anyio.to_thread.run_sync(self._records.note_stop)
        if (tasks := self._tasks) is None:
            return
        told = anyio.Event()
        tasks.start_soon(self._stop, self._grace_s if grace_s is None else grace_s, told)
        with anyio.move_on_after(STOP_SENT_S):
            await told.wait()

    async def _stop(self, grace_s: float, told: anyio.Event) -> None:
        """Until it is done, or the container has ended: what an engine fails at may work later."""
        pause_s = RETRY_S
        while True:
            try:
                await self._engine.ask_until_answered(
                    lambda it: it.containers.container(self.container_id).stop(t=ceil(grace_s)),
                    within_s=grace_s + REQUEST_TIMEOUT_S,
                )
            except EngineAwayError:
                return  # the agent ends
            except EngineError as error:
                if error.status == GONE:
                    return
                log.warning("stop_failed", container=self.container_id, why=error.message)
            else:
                self.look()
                return
            finally:
                told.set()
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_LOOK_S)

    def renew(self, until: float) -> None:
        """Containers are started without a lease."""

    def usage(self) -> Usage:
        """See `Run`."""
        return anyio.from_thread.run(self._usage)

    async def _usage(self) -> Usage:
        params = {"stream": "0", "one-shot": "1"}
        try:
            stats = await self._engine.get(f"containers/{self.container_id}/stats", params)
        except (EngineError, EngineAwayError) as error:
            raise ProcessLookupError(error.message) from error
        return usage_of(stats)

    # --- what the engine tells -----------------------------------------------------------------

    def hear(self, action: str) -> None:
        """The engine says that something has happened to it."""
        if action == "oom":
            self._oom = True
        self.look()

    def look(self) -> None:
        """Look at it soon: something may have happened."""
        self._news.set()

    def engine_lost(self) -> None:
        """What ends the container from now on may be the end of the engine."""
        self._engine_was_away = True

    # --- its end -------------------------------------------------------------------------------

    async def watch(self, *, task_status: TaskStatus[None]) -> None:
        """Until it has ended, that is put down, and the container is removed."""
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._copy.follow)
                task_status.started()
                ended = await self._until_ended()
                self._tasks = None
                tasks.cancel_scope.cancel()
            await self._copy_rest()
            self._exit = await self._put_down(ended)
        finally:
            self._settled.set()

    async def _until_ended(self) -> RunExit:
        pause_s = FIRST_LOOK_S
        while True:
            self._news = anyio.Event()
            try:
                details = await look_up(self._engine, self.container_id)
            except EngineError as error:
                log.warning("look_failed", container=self.container_id, why=error.message)
            else:
                if details is None or details["State"]["Status"] == REMOVING:
                    return removed_by_others(self.started_at)
                if details["State"]["Status"] in ENDED:
                    return await self._judge(details)
                self._engine_was_away = False
            with anyio.move_on_after(pause_s) as quiet:
                await self._news.wait()
            pause_s = min(pause_s * 2, LAST_LOOK_S) if quiet.cancelled_caught else FIRST_LOOK_S

    async def _judge(self, details: Mapping[str, Any]) -> RunExit:
        state = details["State"]
        stopped = self._records.stop_asked
        oom_killed = bool(state["OOMKilled"]) or self._oom
        if state["ExitCode"] == KILLED and not oom_killed and not stopped:
            oom_killed = await anyio.to_thread.run_sync(oom.killed, self.container_id)
        reason = None if stopped or oom_killed else await self._others_fault(state["ExitCode"])
        return RunExit(
            exit_code=state["ExitCode"],
            signal=None,
            oom_killed=oom_killed,
            stopped=stopped,
            lost=reason is not None,
            reason=reason,
            details=None,
            started_at=_unix_time(state["StartedAt"]) or self.started_at,
            ended_at=_unix_time(state["FinishedAt"]) or clock.now(),
        )

    async def _others_fault(self, code: int) -> str | None:
        """The reason, where it was not the container that wanted to end."""
        started = self._records.started()
        if code and started is not None and started["boot_id"] != self._boot_id:
            return "node_rebooted"
        if self._survives_engine:
            return None
        # It asks its containers to end when it ends, or when it finds them at its start; what
        # they answer to that (0, perhaps) is not that they were done. One that is about to end
        # takes no connections any more.
        lost = self._engine_was_away or not await self._engine.takes_connections()
        return "engine_restarted" if lost or await self._another_engine() else None

    async def _another_engine(self) -> bool:
        """Whether the one that started it has ended since: no agent may have seen that."""
        former = self._records.engine()
        return former is not None and await self._engine.incarnation() != former

    async def _copy_rest(self) -> None:
        while True:
            try:
                return await self._copy.finish()
            except EngineAwayError:
                await self._engine.until_there()

    async def _put_down(self, ended: RunExit) -> RunExit:
        while True:
            try:
                await anyio.to_thread.run_sync(self._records.note_exit, ended)
                break
            except OSError as error:  # else it would be as if it had never run
                log.warning("waiting_for_disk", container=self.container_id, why=str(error))
                await anyio.sleep(RETRY_S)
        await remove_container(self._engine, self.container_id)
        return ended


async def look_up(engine: Engine, name: str) -> dict[str, Any] | None:
    """What the engine says of a container; None when there is none. Waits for the engine."""
    try:
        return await engine.ask_until_answered(
            lambda client: client.containers.container(name).show()
        )
    except EngineError as error:
        if error.status == GONE:
            return None
        raise


async def remove_container(engine: Engine, container_id: str) -> None:
    """Kill and remove it with its anonymous volumes, now or when the engine is seen again.

    One that is being removed already, by a sweep say, is waited for: whoever asks wants it gone.
    """
    remove = partial(engine.ask, lambda it: it.containers.container(container_id).delete(**_ALL))
    until = anyio.current_time() + REMOVED_WITHIN_S
    while True:
        try:
            await remove()
            return
        except (EngineError, EngineAwayError) as error:  # swept when the engine comes back
            status = error.status if isinstance(error, EngineError) else None
            if status == GONE:
                return
            if status != CONFLICT or anyio.current_time() > until:
                log.warning("container_not_removed", container=container_id, why=error.message)
                return
        await anyio.sleep(FIRST_LOOK_S)


_ALL = {"force": True, "v": True}


def removed_by_others(started_at: float | None) -> RunExit:
    """It is not there any more, and it was not us."""
    return RunExit(
        exit_code=None,
        signal=None,
        oom_killed=False,
        stopped=False,
        lost=True,
        reason="container_removed",
        details="its container was removed by somebody else",
        started_at=started_at,
        ended_at=clock.now(),
    )


def _own_pid(details: Mapping[str, Any]) -> int | None:
    """Its process, if that is one of this machine: an engine may run in another."""
    pid: int = details["State"].get("Pid", 0)
    return pid if pid and is_of_container(pid, details["Id"]) else None


def _unix_time(stamp: str) -> float | None:
    """None for the year 1, which stands for never."""
    at = datetime.fromisoformat(stamp)
    return at.timestamp() if at.year > 1 else None
