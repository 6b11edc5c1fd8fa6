"""`container`: runs of an image on the engine of this node."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup, TaskStatus

from cnet.errors import ExecutionError, SpecError, TransientError, TransitionError
from cnet.executors.base import (
    ChecksHealth,
    ChoosesRestart,
    Executor,
    FetchesInputs,
    KeepsLogs,
    NeedsEngine,
    PublishesPorts,
    Task,
    WorksBeside,
)
from cnet.executors.commands import LogLimits
from cnet.executors.container import creating, records
from cnet.executors.container.checks import require_network, require_possible, resolved
from cnet.executors.container.config import ContainerConfig, HealthCheck
from cnet.executors.container.data import DataVolumes
from cnet.executors.container.discovery import TlsFiles
from cnet.executors.container.engine import Engine, EngineAwayError, EngineError
from cnet.executors.container.exec import ContainerExec
from cnet.executors.container.exec import sweep as exec_sweep
from cnet.executors.container.health import Prober, check_of_image, watched
from cnet.executors.container.images import Images, missing
from cnet.executors.container.logs import LogCopy, LogFile
from cnet.executors.container.ports import PortPublisher
from cnet.executors.container.records import RunRecords
from cnet.executors.container.run import (
    CONFLICT,
    GONE,
    ContainerRun,
    look_up,
    remove_container,
    removed_by_others,
)
from cnet.executors.execs import Console, ExecRequest, Execs
from cnet.executors.inputs import Inputs
from cnet.model.workload import HealthSpec, RestartPolicy, WorkloadSpec
from cnet.supervision import RunExit
from cnet.supervision.procfs import boot_id

log = structlog.get_logger(__name__)

RETRY_S = 0.1
SWEEP_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """What an agent says about its containers."""

    root: Path
    """of the folders of runs"""
    instance: str
    """unique for `root`, and as lasting"""
    host: str | None = None
    """of the engine; None: the one that is found"""
    tls: TlsFiles | None = None
    """with `host`; None: as the address and the environment say"""
    volume_roots: Sequence[Path] = ()
    """folders below which a `host_path` may lie"""
    registry_auth_file: Path | None = None
    known: Callable[[], Awaitable[Collection[str]]] | None = None
    """ids of all workloads that may have containers now; what belongs to others of this agent's is
    removed. None: nothing is."""


class ContainerExecutor(PortPublisher):
    """Creates, finds again and removes containers; each is named by its run and labelled."""

    kind = "container"
    config_model = ContainerConfig

    def __init__(
        self, settings: ContainerSettings, logs: LogLimits, inputs: Inputs | None = None
    ) -> None:
        self._settings = settings
        self._data = DataVolumes(settings.root, inputs)
        self._logs = logs
        label = f"{creating.LABEL_INSTANCE}={settings.instance}"
        self._engine = Engine(settings.host, label=label, tls=settings.tls)
        self._engine.on_change = self._engine_changed
        self._engine.on_connected = self._connected
        self._engine.on_event = self._hear
        self._images = Images(self._engine, settings.registry_auth_file)
        self._boot_id = boot_id()
        self._info: dict[str, Any] = {}
        self._engine_was_away = False
        self._runs: dict[str, ContainerRun] = {}
        self._tasks: TaskGroup | None = None
        self._sweeping = anyio.CancelScope()
        self._told: Callable[[], None] = lambda: None
        self._execs: set[str] = set()
        self._image_checks: dict[str, HealthCheck | None] = {}

    # --- the engine ----------------------------------------------------------------------------

    @property
    def absence(self) -> str | None:
        """See `NeedsEngine`."""
        return self._engine.absence

    def tell(self, changed: Callable[[], None]) -> None:
        """See `NeedsEngine`."""
        self._told = changed

    async def run_beside(
        self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """See `WorksBeside`."""
        try:
            async with anyio.create_task_group() as self._tasks:
                if self._settings.root.exists():
                    self._engine.connect()  # there may be something to be cleared up
                await self._tasks.start(self._engine.run)
                task_status.started()
        finally:
            self._tasks = None

    def _engine_changed(self) -> None:
        if self._engine.absence is not None:
            self._engine_was_away = True
        for run in self._runs.values():
            if self._engine.absence is not None:
                run.engine_lost()
            run.look()
        self._told()

    def _connected(self) -> None:
        for run in self._runs.values():
            run.look()
        self._sweeping.cancel()
        if self._tasks is not None:
            self._sweeping = anyio.CancelScope()
            self._tasks.start_soon(self._keep_swept, self._sweeping)

    def _hear(self, container_id: str, action: str) -> None:
        for run in self._runs.values():
            if run.container_id == container_id:
                run.hear(action)

    async def _keep_swept(self, scope: anyio.CancelScope) -> None:
        """Again and again: what could not be removed may be removed later."""
        with scope:
            while True:
                await self._take_stock()
                await anyio.sleep(SWEEP_EVERY_S)

    async def _take_stock(self) -> None:
        """Remove containers of this agent that nobody wants any more."""
        try:
            self._info = await self._engine.get("info")
            await exec_sweep(self._engine, self._settings.root, self._execs)
            found = await self._list()
            if self._settings.known is None:
                return
            # After the list: a new one is known before it is there.
            known = await self._settings.known()
            for container_id, labels in found:
                if await anyio.to_thread.run_sync(self._is_wanted, labels, known):
                    continue
                log.warning("container_swept", container=container_id, labels=labels)
                await remove_container(self._engine, container_id)
        except EngineAwayError:
            return  # the next connection brings another try
        except (EngineError, OSError) as error:
            log.warning("containers_not_swept", why=str(error))

    def _is_wanted(self, labels: dict[str, str], known: Collection[str]) -> bool:
        workload_id = labels.get(creating.LABEL_WORKLOAD, "")
        attempt = labels.get(creating.LABEL_ATTEMPT, "")
        if not workload_id or not attempt.isdecimal():
            return True  # not made by us, whoever gave it our label
        folder = self._records(workload_id, int(attempt))
        return workload_id in known and folder.exit() is None and not folder.is_outdated

    async def _list(self, *more: str) -> list[tuple[str, dict[str, str]]]:
        """Ids and labels of containers of this agent, ended ones included."""
        wanted = [f"{creating.LABEL_INSTANCE}={self._settings.instance}", *more]
        filters = json.dumps({"label": wanted})
        found = await self._engine.ask(
            lambda client: client.containers.list(all=1, filters=filters)
        )
        return [(each["Id"], each["Labels"]) for each in found]

    # --- before a run --------------------------------------------------------------------------

    async def prepare(self, config: ContainerConfig) -> None:
        """The engine, its network, and the folders must be there; see `Executor`."""
        if self.absence is not None:
            raise EngineAwayError(self.absence)
        await anyio.to_thread.run_sync(resolved, config.volumes, self._settings.volume_roots)
        try:
            if config.pull == "never" and not await self._images.has(config.image):
                raise SpecError(missing(config.image), field="config.image")
            if config.network is not None:
                await self._engine.ask(partial(require_network, config.network))
        except EngineError as error:
            raise SpecError(f"config: {error.message}", field="config") from error

    async def require_inputs(self, spec: WorkloadSpec, config: ContainerConfig) -> None:
        """What of the rest of a spec cannot be done with containers; see `FetchesInputs`."""
        require_possible(spec)
        await self._data.require(config)

    async def fetch(self, task: Task, *, again: bool, tell: Callable[[str], None]) -> None:
        """Bring the image and stored data; waits for the engine. See `FetchesInputs`."""
        while True:
            await self._engine.until_there()
            try:
                await self._images.bring(task.config, again=again, tell=tell)
                user = task.config.user or await self._images.user_of(task.config.image)
                return await self._data.fetch(task, user=user, again=again, tell=tell)
            except EngineAwayError:
                await anyio.sleep(RETRY_S)
            except EngineError as error:
                raise ExecutionError(error.message, code="image_pull_failed") from error

    async def release(self, task: Task) -> None:
        """Images stay with the engine; see `FetchesInputs`."""
        await self._data.release(task)

    # --- runs ----------------------------------------------------------------------------------

    async def exec(self, task: Task, request: ExecRequest, console: Console) -> int:
        """See `Execs`."""
        if (run := self._runs.get(task.run_id)) is None:
            raise TransitionError(f"workload {task.workload_id} is not running")
        folder = self._records(task.workload_id, task.attempt)
        command = ContainerExec(self._engine, run.container_id, folder, request, self._execs)
        return await command.run(console)

    def is_service(self, config: ContainerConfig) -> bool:
        """See `ChecksHealth`."""
        return config.healthcheck is not None and not config.healthcheck.disable

    def restart(self, config: ContainerConfig) -> RestartPolicy | None:
        """See `ChoosesRestart`."""
        return config.restart

    async def health(self, task: Task) -> HealthSpec | None:
        """By its config, else its image; waits for the engine. See `ChecksHealth`."""
        check = await self._check(task)
        return None if check is None else watched(check, task.spec.health)

    async def _check(self, task: Task) -> HealthCheck | None:
        config: ContainerConfig = task.config
        if config.healthcheck is not None:
            return None if config.healthcheck.disable else config.healthcheck
        run = self._runs.get(task.run_id)
        if run is None:
            return None
        if run.image_id not in self._image_checks:
            try:
                image = await self._engine.ask_until_answered(
                    lambda client: client.images.inspect(run.image_id)
                )
            except EngineError as error:  # somebody has removed it from under the container
                log.warning("image_not_looked_at", image=run.image_id, why=error.message)
                return None
            self._image_checks[run.image_id] = check_of_image(image)
        return self._image_checks[run.image_id]

    async def probe(self, task: Task, timeout_s: float) -> None:
        """One question; an engine that is away is waited for. See `ChecksHealth`."""
        while True:
            try:
                with anyio.fail_after(timeout_s):
                    return await self._probe(task)
            except TimeoutError as error:
                raise ExecutionError(f"no answer within {timeout_s:g} s") from error
            except EngineError as error:
                raise ExecutionError(error.message) from error
            except EngineAwayError:
                await self._engine.until_there()
                await anyio.sleep(RETRY_S)

    async def _probe(self, task: Task) -> None:
        check, run = await self._check(task), self._runs.get(task.run_id)
        details = None if run is None else await look_up(self._engine, run.container_id)
        if check is None or details is None:
            raise ExecutionError("its container has just ended")
        folder = self._records(task.workload_id, task.attempt)
        prober = Prober(self._engine, details, folder, self._execs)
        await prober.ask(check, task, direct=self._reaches_containers)

    @property
    def _reaches_containers(self) -> bool:
        """Whether addresses of containers can be reached from here, not only published ports."""
        options = " ".join(self._info.get("SecurityOptions") or ())
        desktop = "Docker Desktop" in self._info.get("OperatingSystem", "")
        return bool(self._info) and "rootless" not in options and not desktop

    async def start(self, task: Task) -> ContainerRun:
        """Create and start the container; waits for an engine that goes away meanwhile."""
        folder = self._records(task.workload_id, task.attempt)
        await anyio.to_thread.run_sync(_begin_folder, folder, await self._engine.incarnation())
        try:
            request = await anyio.to_thread.run_sync(self._request, task)
            container_id = await self._create(task, request)
        except EngineError as error:
            absent = error.status == GONE and "image" in error.message.lower()
            code = "image_missing" if absent else "start_failed"
            raise ExecutionError(error.message, code=code) from error
        try:
            engine_went = await self._begin(container_id)
        except EngineError as error:
            await remove_container(self._engine, container_id)
            raise ExecutionError(error.message, code=_why_not_started(error)) from error
        await anyio.to_thread.run_sync(folder.note_start, container_id, self._boot_id)
        details = await look_up(self._engine, container_id)
        if details is None:
            raise ExecutionError("its container was removed at once", code="container_removed")
        return await self._watched(task, details, is_old=engine_went)

    async def _begin(self, container_id: str) -> bool:
        """Start a new container, once; whether the engine went away meanwhile.

        Asked again, an engine that is back would run one that has run: it is looked up before.
        """
        went = False
        while True:
            try:
                await self._engine.ask(lambda it: it.containers.container(container_id).start())
                return went
            except EngineAwayError:
                went = True
                await anyio.sleep(RETRY_S)
                await self._engine.until_there()
            details = await look_up(self._engine, container_id)
            if details is None or details["State"]["Status"] != "created":
                return went

    def _request(self, task: Task) -> dict[str, Any]:
        """With folders resolved: what they are links to may have changed since `prepare`."""
        require_possible(task.spec)  # also of what came from another node
        config: ContainerConfig = task.config
        volumes = resolved(config.volumes, self._settings.volume_roots)
        task = replace(task, config=config.model_copy(update={"volumes": volumes}))
        places = self._data.places(task)
        return creating.body(task, self._settings.instance, self._logs, places)

    async def _create(self, task: Task, request: dict[str, Any]) -> str:
        """The id of the container, also when an earlier try has made it."""
        name = creating.container_name(task)
        try:
            made = await self._engine.ask_until_answered(
                lambda client: client.containers.create(request, name=name)
            )
        except EngineError as error:
            if error.status != CONFLICT:
                raise
            details = await look_up(self._engine, name)
            if details is None or not self._is_ours(details, task):
                raise
            found: str = details["Id"]
            return found
        return made.id

    async def attach(self, task: Task) -> ContainerRun | RunExit | None:
        """Find the container, or how it ended. Waits for the engine; see `Executor`."""
        if (run := self._runs.get(task.run_id)) is not None:
            return run
        folder = self._records(task.workload_id, task.attempt)
        if (ended := await anyio.to_thread.run_sync(folder.exit)) is not None:
            return ended  # its container, if it is still there, is swept
        details = await self._look_up_own(task)
        started = await anyio.to_thread.run_sync(folder.started)
        if details is None:
            if started is None:
                return None
            ended = removed_by_others(None)
            await anyio.to_thread.run_sync(folder.note_exit, ended)
            return ended
        if details["State"]["Status"] == "created":  # the agent died before it was started
            await self._remove_unstarted(details["Id"])
            return None
        return await self._watched(task, details, is_old=True)

    async def _look_up_own(self, task: Task) -> dict[str, Any] | None:
        try:
            details = await look_up(self._engine, creating.container_name(task))
        except EngineError as error:
            raise TransientError(f"the container engine: {error.message}") from error
        return details if details is not None and self._is_ours(details, task) else None

    async def _remove_unstarted(self, container_id: str) -> None:
        """Raises TransientError for one that runs by now: the dead agent had asked for that."""
        try:
            await self._engine.ask_until_answered(
                lambda client: client.containers.container(container_id).delete(v=True)
            )
        except EngineError as error:
            if error.status != GONE:
                raise TransientError(f"the container engine: {error.message}") from error

    async def _watched(
        self, task: Task, details: dict[str, Any], *, is_old: bool = False
    ) -> ContainerRun:
        if self._tasks is None:
            raise TransientError("the agent is shutting down")
        folder = self._records(task.workload_id, task.attempt)
        await anyio.to_thread.run_sync(folder.create)
        file = LogFile(folder.log, folder.position, self._logs)
        run = ContainerRun(
            self._engine,
            details,
            records=folder,
            copy=LogCopy(self._engine, details["Id"], file),
            limits=creating.enforced(task, self._info),
            grace_s=task.spec.stop_grace_s,
            boot_id=self._boot_id,
            survives_engine=bool(self._info.get("LiveRestoreEnabled")),
        )
        if is_old and self._engine_was_away:
            run.engine_lost()  # unless it is seen to run, that may have been its end
        self._runs[task.run_id] = run
        await self._tasks.start(self._watch, task.run_id, run)
        return run

    async def _watch(
        self, run_id: str, run: ContainerRun, *, task_status: TaskStatus[None]
    ) -> None:
        """A fault here must not take the agent along: whoever waits is told, and looks again."""
        try:
            await run.watch(task_status=task_status)
        except Exception:
            log.exception("watch_failed", run=run_id)
        finally:
            self._runs.pop(run_id, None)

    async def remove(self, workload_id: str) -> None:
        """Remove containers, logs and records; see `Executor`."""
        if self.absence is None:
            try:
                for container_id, _ in await self._list(f"{creating.LABEL_WORKLOAD}={workload_id}"):
                    await remove_container(self._engine, container_id)
            except (EngineAwayError, EngineError) as error:  # swept when it is back
                log.warning("containers_not_removed", workload_id=workload_id, why=error.message)
        await anyio.to_thread.run_sync(records.remove, self._settings.root, workload_id)

    def log_path(self, workload_id: str) -> Path:
        """See `KeepsLogs`."""
        return RunRecords(self._settings.root, workload_id, 0).log

    def _records(self, workload_id: str, attempt: int) -> RunRecords:
        return RunRecords(self._settings.root, workload_id, attempt)

    def _is_ours(self, details: dict[str, Any], task: Task) -> bool:
        wanted = creating.labels(task, self._settings.instance)
        found = details["Config"]["Labels"] or {}
        same = (creating.LABEL_WORKLOAD, creating.LABEL_ATTEMPT, creating.LABEL_INSTANCE)
        return all(found.get(name) == wanted[name] for name in same)


def _begin_folder(folder: RunRecords, engine: str | None) -> None:
    folder.create()
    folder.remove_former()
    folder.note_engine(engine)


def _why_not_started(error: EngineError) -> str:
    """The engine tells causes in its sentences only."""
    sentence = error.message.lower()
    if "already allocated" in sentence or "address already in use" in sentence:
        return "port_taken"
    runtime = "oci runtime" in sentence or "starting container process" in sentence
    return "exec_failed" if runtime and "exec" in sentence else "start_failed"


if TYPE_CHECKING:  # these are found by `isinstance`, which does not look at parameters

    def _abilities(
        it: ContainerExecutor,
    ) -> tuple[Executor, ChecksHealth, ChoosesRestart, Execs, FetchesInputs, KeepsLogs]:
        return it, it, it, it, it, it

    def _more_abilities(
        it: ContainerExecutor,
    ) -> tuple[NeedsEngine, PublishesPorts, WorksBeside]:
        return it, it, it
