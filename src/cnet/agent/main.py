"""One agent from its settings to its last breath."""

from __future__ import annotations

import errno
import os
import secrets
import signal
import socket
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import anyio
import structlog
import uvicorn
from anyio.abc import TaskGroup, TaskStatus

from cnet import config
from cnet._support import clock, log
from cnet._support.files import FileLock, write_atomic
from cnet.agent.capacity import detect
from cnet.agent.containers import KnownWorkloads, container_settings
from cnet.agent.data import OpenData, open_data
from cnet.agent.holdings import Holdings
from cnet.agent.loads import Loads
from cnet.agent.neighbours import Neighbours
from cnet.agent.room import Room, SharedLedger
from cnet.agent.tree import Tree
from cnet.api import create_app
from cnet.api.context import ApiContext
from cnet.api.ml.serving import ModelServing
from cnet.cluster.hello import Identity
from cnet.config import Settings
from cnet.errors import CnetError, ConfigError, StorageFullError
from cnet.executors.base import WorksBeside
from cnet.executors.catalog import ExecutorContext, load_executors
from cnet.executors.commands import LogLimits
from cnet.manager import Journal
from cnet.register import Ledger
from cnet.services import Scaling, Services
from cnet.supervision import Supervisor
from cnet.web import Pages

logger = structlog.get_logger(__name__)

MIN_TOKEN_CHARACTERS = 16
MAX_FRAME_BYTES = 16 * 1024**2
"""Of a link: the whole view of a large tree comes in one."""
SHUTDOWN_S = 3
"""Seconds that requests in flight get when the agent goes."""
LAST_WORD_S = 3
"""Seconds for the answer to those that were not done by then."""


def serve(
    overrides: Mapping[str, object],
    config_file: Path | None,
    *,
    url_file: Path | None = None,
) -> int:
    """Run an agent until SIGTERM or SIGINT; its exit status.

    Workloads keep running unless `agent.stop_workloads_on_exit`. What is wrong with the
    configuration is one line on stderr and status 2.
    """
    try:
        if url_file is not None:
            url_file.unlink(missing_ok=True)  # of an earlier agent
        settings = config.load(config_file, overrides=overrides)
        log.configure(settings.logging.level, settings.logging.format)
        anyio.run(Agent(settings).run, url_file, backend_options={"use_uvloop": True})
    except CnetError as error:
        return _refused(error)
    except BaseExceptionGroup as group:  # what a task of the agent raised
        known, others = group.split(CnetError)
        if known is None or others is not None:
            raise
        return _refused(_leaf(known))
    return 0


def _refused(error: CnetError) -> int:
    print(f"error: {error.message}", file=sys.stderr)  # noqa: T201
    return 2


def _leaf(group: BaseExceptionGroup[CnetError]) -> CnetError:
    first = group.exceptions[0]
    return _leaf(first) if isinstance(first, BaseExceptionGroup) else first


class Agent:
    """Builds the parts, starts them in order, and stops them in the reverse order."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def run(self, url_file: Path | None = None) -> None:
        """Run until a signal; raises ConfigError when it cannot start."""
        data_dir = _make_data_dir(self._settings)
        lock = FileLock(data_dir / "agent.lock")
        if (holder := lock.acquire()) is not None:
            raise ConfigError(
                f"agent.data_dir: {data_dir} is in use by another agent (pid {holder})"
            )
        token = _token(self._settings)
        journal = Journal(data_dir / "cnet.db")
        listener = _listen(self._settings)
        try:
            journal.open()
            await self._run(data_dir, journal, listener, token, url_file)
        finally:
            listener.close()
            journal.close()
            lock.release()

    async def _run(
        self,
        data_dir: Path,
        journal: Journal,
        listener: socket.socket,
        token: str | None,
        url_file: Path | None,
    ) -> None:
        async with open_data(self._settings) as data:
            await self._serve(data_dir, journal, listener, token, url_file, data)

    async def _serve(
        self,
        data_dir: Path,
        journal: Journal,
        listener: socket.socket,
        token: str | None,
        url_file: Path | None,
        data: OpenData,
    ) -> None:
        settings = self._settings
        supervisor = Supervisor(data_dir / "runs")
        logs = LogLimits(
            max_bytes=settings.workload_logs.max_bytes, files=settings.workload_logs.files
        )
        identity = _identity(settings, journal, port=listener.getsockname()[1])
        tree = Tree(settings, identity)
        stored = await data.store.used() if data.on_this_disk else 0
        capacity = detect(settings.resources, settings.data_root, stored=stored)
        ledger = SharedLedger(capacity, data.store) if data.on_this_disk else Ledger(capacity)
        remote = Neighbours(tree.links, tree.exchange)
        known = KnownWorkloads()
        executors = load_executors(
            ExecutorContext(
                supervisor=supervisor,
                logs=logs,
                containers=container_settings(
                    settings, data_dir, instance=identity.instance, known=known
                ),
                data=data.for_executors(remote),
            )
        )
        manager = tree.manager(ledger=ledger, journal=journal, executors=executors)
        room = Room(data.store, ledger, manager) if isinstance(ledger, SharedLedger) else None
        services = Services(manager, journal.load_services())
        services.owner_elsewhere = tree.directory.owner_elsewhere
        loads = Loads(manager.node_id, tree.links)
        scaling = Scaling(services, loads.measure)
        holdings = Holdings(data.objects, data.cache, manager.holds_data)

        def stored_changed() -> None:
            if room is not None:
                room.look()
            holdings.changed()

        data.objects.on_change = stored_changed
        models = ModelServing(manager, idle_s=settings.models.idle_s)
        context = ApiContext(
            manager=manager,
            exchange=tree.exchange,
            links=tree.links,
            services=services,
            directory=tree.directory,
            measure=loads.measure,
            counting=loads.counting,
            started_at=clock.now(),
            models=models,
            data=data.for_routes(remote),
            base_url=_url(listener),
            allow_exec=settings.agent.allow_exec,
        )
        apps = create_app(
            context,
            token=token,
            max_body_bytes=settings.agent.max_body_bytes,
            pages=lambda api: Pages(context, api, token=token),
        )
        manager.until_idle = apps.services.until_idle
        tree.links.attach(exchange=tree.exchange, app=apps.inner)
        server = _Server(
            uvicorn.Config(
                apps.guarded,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                proxy_headers=False,  # a workload on loopback could claim to be anybody
                timeout_graceful_shutdown=SHUTDOWN_S,
                ws="websockets-sansio",
                ws_max_size=MAX_FRAME_BYTES,
                ws_ping_interval=None,
                ws_per_message_deflate=False,
            )
        )
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with anyio.create_task_group() as outer:
                await outer.start(supervisor.run, name="supervisor")
                await self._sweep(supervisor, journal)
                await data.sweep(journal.workload_ids())
                outer.start_soon(data.tidy, name="tidy")
                for kind, executor in executors.items():
                    if isinstance(executor, WorksBeside):
                        await outer.start(executor.run_beside, name=kind)
                async with anyio.create_task_group() as group:
                    await group.start(manager.run, name="manager")
                    known.follow(manager)

                    def wake(owner: str, name: str, group: TaskGroup = group) -> None:
                        group.start_soon(loads.wake, owner, name)

                    services.wake_elsewhere = wake
                    await group.start(services.run, name="services")
                    await group.start(server.run, listener, name="http")
                    await group.start(tree.links.run, name="links")
                    group.start_soon(models.run, name="models")
                    if room is not None:
                        group.start_soon(room.run, name="room")
                    group.start_soon(scaling.run, name="scaling")
                    group.start_soon(holdings.run, name="holdings")
                    self._announce(manager.node_id, listener, url_file)
                    async for number in signals:
                        logger.info("stopping", signal=signal.Signals(number).name)
                        break
                    if settings.agent.stop_workloads_on_exit:
                        services.rest()
                        await manager.stop_all()
                    context.closing.set()
                    await server.stop()
                    group.cancel_scope.cancel()
                outer.cancel_scope.cancel()

    async def _sweep(self, supervisor: Supervisor, journal: Journal) -> None:
        """Runs that the journal does not know were never acknowledged, or were deleted."""
        removed = await anyio.to_thread.run_sync(supervisor.sweep, journal.workload_ids())
        if removed:
            logger.warning("swept", workload_ids=removed)

    def _announce(self, node_id: str, listener: socket.socket, url_file: Path | None) -> None:
        url = _url(listener)
        print(f"cnet agent {node_id} listening on {url}", flush=True)  # noqa: T201
        if url_file is not None:
            write_atomic(url_file, f"{url}\n".encode(), durable=False)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn inside our task group: it neither catches signals nor ends the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def run(  # type: ignore[override]
        self, listener: socket.socket, *, task_status: TaskStatus[None]
    ) -> None:
        self._ended = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell_started, task_status)
            await self.serve(sockets=[listener])
            with anyio.move_on_after(LAST_WORD_S):
                while self.server_state.tasks:  # noqa: ASYNC110  a set, no event
                    await anyio.sleep(0.002)
            group.cancel_scope.cancel()
        self._ended.set()

    async def _tell_started(self, task_status: TaskStatus[None]) -> None:
        while not self.started:  # noqa: ASYNC110  uvicorn offers a flag, no event
            await anyio.sleep(0.002)
        task_status.started()

    async def stop(self) -> None:
        """Finish what is in flight, bounded by the grace of the configuration."""
        self.should_exit = True
        await self._ended.wait()


def _make_data_dir(settings: Settings) -> Path:
    data_dir = settings.data_dir
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"agent.data_dir: {data_dir}: {error.strerror}") from error
    return data_dir


def _node_id(settings: Settings, journal: Journal) -> str:
    """The configured name, else the one this data directory has had since its first start."""
    if settings.agent.node_id is not None:
        return settings.agent.node_id
    node_id = journal.meta("node_id")
    if node_id is None:
        node_id = f"{socket.gethostname()}-{int(clock.now())}-{secrets.token_hex(2)}"
        journal.set_meta("node_id", node_id)
    return node_id


def _identity(settings: Settings, journal: Journal, *, port: int) -> Identity:
    """Who this agent is, with one more start counted on its data directory."""
    instance = journal.meta("instance") or str(uuid.uuid4())
    # A counter alone would begin anew on a new data directory, and others would take its news for
    # those of former times.
    incarnation = max(int(journal.meta("incarnation") or 0) + 1, int(clock.now()))
    try:
        if journal.meta("instance") is None:
            journal.set_meta("instance", instance)
        journal.set_meta("incarnation", str(incarnation))
    except StorageFullError as error:
        # A full disk must not keep workloads from being taken up. The clock has made it a new
        # number; another agent may see a stranger in the instance, once.
        logger.warning("start_not_recorded", why=error.message)
    return Identity(
        node_id=_node_id(settings, journal), instance=instance, incarnation=incarnation, port=port
    )


def _token(settings: Settings) -> str | None:
    """The token every request must carry, or None on loopback."""
    if settings.is_loopback:
        return None
    path = settings.token_file
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"agent.address: {settings.agent.address} can be reached from other machines, so every "
            f"request must carry a token, and {path} holds none ({error.strerror}); "
            "run `cnet init` to make one, or set agent.address to 127.0.0.1"
        ) from None
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"agent.auth.token_file: {path} is readable by others; chmod 600 it")
    if len(token) < MIN_TOKEN_CHARACTERS:
        raise ConfigError(
            f"agent.auth.token_file: the token in {path} is shorter than {MIN_TOKEN_CHARACTERS} "
            "characters; run `cnet init --force`"
        )
    return token


def _listen(settings: Settings) -> socket.socket:
    address, port = settings.agent.address, settings.agent.port
    try:
        family, _, _, _, target = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(target[:2], family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"agent.port: {port} is in use on {address}; stop what listens there, or choose "
                "another (0: any that is free)"
            ) from error
        raise ConfigError(
            f"agent.address: cannot listen on {address}:{port}: {os.strerror(error.errno)}"
            if error.errno and error.errno > 0  # not so for errors of name resolution
            else f"agent.address: cannot listen on {address}:{port}: {error.strerror}"
        ) from error
