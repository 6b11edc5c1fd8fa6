"""Keeps one spawner alive: starts it, waits for its lock, replaces it when it dies.

Also finds the control groups that the spawner is told of. What the spawner says goes to a Listener.
"""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskStatus

from cnet.errors import ExecutionError
from cnet.supervision.cgroup_setup import prepare
from cnet.supervision.cgroups import Cgroups
from cnet.supervision.channel import Channel, Listener

_log = structlog.get_logger(__name__)

MAX_FAILED_STARTS = 5  # in a row, before the agent gives up
BACKOFF_S = 0.1  # after the first of them, growing


class Keeper:
    """The spawner of the run directories below `root`.

    `ready` is set while a spawner holds their lock, and when the keeper has ended. `cgroups` is
    found by itself; given, it is used as it is.
    """

    def __init__(self, listener: Listener, root: Path, *, cgroups: Cgroups | None) -> None:
        self.ready = anyio.Event()
        self.closed = False
        self.cgroups = cgroups
        self._finds_cgroups = cgroups is None
        self._listener = listener
        self._root = root
        self._channel: Channel | None = None
        self._former: list[Channel] = []  # of dead spawners, whose shims may still speak
        self._failed_starts = 0

    @property
    def pid(self) -> int | None:
        """Of the spawner, once it is ready."""
        return self._channel.pid if self._channel is not None and self.ready.is_set() else None

    def send(self, key: str) -> None:
        """Ask the present spawner for a shim; its answer or its death comes to the listener."""
        if self._channel is not None:
            self._channel.send(key)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Until cancelled; `started()` with the first lock.

        Raises ExecutionError when spawners end again and again before they hold the lock.
        """
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._find_cgroups()
        announced = False
        try:
            while True:
                channel = await self._open()
                if channel is None:
                    continue
                try:
                    await self._until_ready_or_dead(channel)
                    if not announced and self.ready.is_set():
                        announced = True
                        # Again under the lock: an agent that ended since may have removed them.
                        await self._find_cgroups()
                        task_status.started()
                    await channel.died.wait()
                    await self._note_death(channel)
                finally:
                    await self._close(channel)
        finally:
            self.closed = True
            self.ready.set()
            for former in self._former:
                former.hang_up()

    async def _find_cgroups(self) -> None:
        if self._finds_cgroups:
            self.cgroups = await anyio.to_thread.run_sync(prepare, str(self._root))

    async def _open(self) -> Channel | None:
        cgroups = self.cgroups or Cgroups.none("not looked for")
        try:
            self._channel = await Channel.open(self._listener, root=self._root, cgroups=cgroups)
        except OSError as error:
            await self._note_failed_start(f"cannot start the spawner: {error}")
            return None
        return self._channel

    async def _until_ready_or_dead(self, channel: Channel) -> None:
        async def end_with(event: anyio.Event) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(end_with, self.ready)
            group.start_soon(end_with, channel.died)

    async def _note_death(self, channel: Channel) -> None:
        self._former = [former for former in self._former if not former.is_hung_up]
        self._former.append(channel)
        if self.ready.is_set():
            self._failed_starts = 0
            self.ready = anyio.Event()
            _log.warning("spawner died, starting another", exit_code=channel.exit_code)
            return
        await self._note_failed_start(
            f"the spawner ended before it was ready (exit code {channel.exit_code}); "
            f"{self._root}/spawner.log says why"
        )

    async def _note_failed_start(self, sentence: str) -> None:
        self._failed_starts += 1
        _log.error("spawner did not start", details=sentence, times=self._failed_starts)
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise ExecutionError(sentence, code="spawner_failed")
        await anyio.sleep(BACKOFF_S * self._failed_starts)

    async def _close(self, channel: Channel) -> None:
        if channel.died.is_set():
            return  # its socket is read to the end by itself: shims may still speak through it
        if self.ready.is_set() and self.cgroups is not None:
            self.cgroups.remove_bases()  # while the lock is held: nobody else counts on them yet
        await channel.close()
