"""An agent with a bug put into it: `python -m tools.chaos.planted BUG -- agent ARGUMENTS`.

The product has no switch for any of this; its classes are changed here before it starts. Each bug
is one that the chaos tool must find, so that its silence means something.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from cnet.agent.data import OpenData
from cnet.agent.main import serve
from cnet.cli import agent as cli_agent
from cnet.cli.main import main as cnet_main
from cnet.errors import CnetError
from cnet.executors.container.executor import ContainerExecutor
from cnet.executors.container.logs import LogFile
from cnet.executors.data import DataExecutor
from cnet.manager.acceptance import Acceptance
from cnet.manager.journal import Journal, Record
from cnet.manager.manager import Manager
from cnet.manager.state import State
from cnet.manager.workloads import Workload
from cnet.model.events import AgentEvent
from cnet.model.lifecycle import Event, Phase
from cnet.storage import queries
from cnet.storage.object_rows import STAGING
from cnet.storage.objects import DataObject, DataObjects
from cnet.supervision import channel, procfs
from cnet.supervision.run_directory import RunDirectory


def no_fsync() -> None:
    """The journal acknowledges before its log is synced; kill -9 never shows that."""
    original = Journal.open

    def open_unsynced(self: Journal) -> None:
        original(self)
        self._db.execute("PRAGMA synchronous=NORMAL")

    _replace(Journal, "open", open_unsynced)


def record_after_spawn() -> None:
    """The acceptance is written down only when the command runs already."""

    async def accept(self: Acceptance, workload: Workload, not_here: CnetError | None) -> None:
        self._book.add(workload)
        try:
            self._place(workload, not_here)
        except BaseException:
            self._book.drop(workload)
            workload.refuse()
            raise
        placed = workload.status.holds_room
        if placed:
            self._driving.drive(workload, recorded=True)
            await workload.until(lambda status: status.phase is not Phase.STARTING)
        await self._state.journal.accept(Record(workload.id, workload.spec, workload.status))
        workload.accept()
        if not placed:
            self._coordinator.place(workload)

    _replace(Acceptance, "_accept", accept)


def forgotten_release() -> None:
    """Room and port of a run that ended badly are not given back."""
    original = State._apply

    def apply(
        self: State, workload: Workload, event: Event | None, changes: dict[str, Any]
    ) -> AgentEvent:
        if event is not Event.EXITED_BADLY:
            return original(self, workload, event, changes)
        before = workload.status
        workload.step(event, **changes)
        self.on_change(workload, before)
        return self.events.workload_changed(workload)

    _replace(State, "_apply", apply)


def pid_without_start_time() -> None:
    """A run is taken for alive when its shim's pid is anybody's."""

    def is_alive(pid: int, start: int) -> bool:
        return pid > 0 and procfs.start_time(pid) is not None

    def shim_lives(self: RunDirectory, record: dict[str, Any]) -> bool:
        return is_alive(record["shim_pid"], record["shim_start"])

    _replace(procfs, "is_same_process", is_alive)
    _replace(RunDirectory, "_shim_lives", shim_lives)


def killpg_only() -> None:
    """A stop reaches the process group only; the altered shim is another script."""
    _replace(channel, "_SCRIPT", Path(__file__).with_name("planted_spawner.py"))


def visible_in_steps() -> None:
    """A tree of files is there with some of them before it has them all."""
    original = DataObjects.publish

    async def publish(self: DataObjects, stage: str, item: DataObject) -> DataObject:
        late = ((STAGING, f"{stage}/d1/"), (STAGING, f"{stage}.late/d1/"))
        await self._catalog.write(lambda connection: queries.move_below(connection, *late))
        item = await original(self, stage, item)
        await anyio.sleep(0.05)
        rest = ((STAGING, f"{stage}.late/"), (item.bucket, item.prefix))
        await self._catalog.write(lambda connection: queries.move_below(connection, *rest))
        return item

    _replace(DataObjects, "publish", publish)


def no_sweep_of_objects() -> None:
    """Objects whose workload was never acknowledged stay, and so does what was staged."""

    async def sweep(self: OpenData, known: Any) -> None:
        """Nothing."""

    _replace(OpenData, "sweep", sweep)


def no_sweep_of_bytes() -> None:
    """What a killed agent left of bytes stays."""

    async def tidy(self: OpenData) -> None:
        """Nothing."""

    _replace(OpenData, "tidy", tidy)


def stop_before_the_wish() -> None:
    """Data are deleted before it is written down that they shall be."""
    original = Manager.stop

    async def stop(self: Manager, workload_id: str) -> Workload:
        workload = self.get(workload_id)
        if isinstance(workload.executor, DataExecutor):
            await workload.executor.discard(workload_id)
        return await original(self, workload_id)

    _replace(Manager, "stop", stop)


def no_attach() -> None:
    """A container that runs is not looked for after the death of an agent."""

    async def attach(self: ContainerExecutor, task: Any) -> None:
        """Nothing."""

    _replace(ContainerExecutor, "attach", attach)


def copied_again() -> None:
    """How far a container's output was copied is forgotten with the agent."""
    original = LogFile.open

    def forgetful(self: LogFile) -> None:
        self._position.unlink(missing_ok=True)
        original(self)

    _replace(LogFile, "open", forgetful)


def sweeps_others() -> None:
    """Whoever has our labels is taken for ours, and removed when we do not know it."""
    original = ContainerExecutor._list

    async def listed(self: ContainerExecutor, *more: str) -> Any:
        if more:
            return await original(self, *more)
        found = await self._engine.ask(lambda client: client.containers.list(all=1))
        return [(each["Id"], each["Labels"]) for each in found]

    _replace(ContainerExecutor, "_list", listed)


CONTAINER_BUGS: dict[str, Callable[[], None]] = {
    plant.__name__: plant for plant in (no_attach, copied_again, sweeps_others)
}
"""For `tools.container_kills`."""

DATA_BUGS: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (
        visible_in_steps,
        no_sweep_of_objects,
        no_sweep_of_bytes,
        stop_before_the_wish,
    )
}
"""For `tools.data_kills`."""

BUGS: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (
        no_fsync,
        record_after_spawn,
        forgotten_release,
        pid_without_start_time,
        killpg_only,
    )
}


def _replace(owner: Any, name: str, value: Any) -> None:
    """Put `value` in the place of what must exist: a renamed original must not go unnoticed."""
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name}: the plant no longer fits the product")
    setattr(owner, name, value)


def _serve_here(overrides: dict[str, object], config: Path | None, url_file: Path | None) -> None:
    sys.exit(serve(overrides, config, url_file=url_file))


if __name__ == "__main__":
    (BUGS | DATA_BUGS | CONTAINER_BUGS)[sys.argv[1]]()
    sys.argv = ["cnet", *sys.argv[3:]]
    # In this very process: the command would turn into another one, without the bug.
    _replace(cli_agent, "become_agent", _serve_here)
    sys.exit(cnet_main())
