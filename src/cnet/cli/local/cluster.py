"""`LocalCluster`: agents of one folder brought up together, looked at, and ended together."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnet._support.files import FileLock
from cnet.cli.local import processes
from cnet.cli.local.members import Member, expected_views
from cnet.cli.local.processes import AgentProcess
from cnet.cli.local.scaled import Told, scale_back, scale_down
from cnet.client import AgentClient, JsonObject, find_token
from cnet.client.agent import ENDED
from cnet.errors import (
    CnetError,
    ConfigError,
    ConflictError,
    ExecutionError,
    NotFoundError,
    PortTakenError,
    TransientError,
    TransitionError,
)

START_TIMEOUT_S = 60.0
END_GRACE_S = 15.0
_STOP_TIMEOUT_S = 120.0
"""Longer than the stop grace of nearly every workload."""
_PATIENCE_S = 2.0
"""For an answer that takes a healthy agent milliseconds."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one agent of the cluster is."""

    process: AgentProcess
    healthy: bool
    parent: str | None = None
    peers: tuple[str, ...] = ()
    workloads: int = 0
    """that have not ended and run (or wait) on this node"""

    def as_object(self) -> JsonObject:
        """For `--json`."""
        process = self.process
        alive = process.is_alive
        return {
            "node_id": process.node_id,
            "pid": process.pid if alive else None,
            "url": (process.url or None) if alive else None,
            "healthy": self.healthy,
            "parent": self.parent,
            "peers": list(self.peers),
            "workloads": self.workloads,
            "config_file": process.config_file,
            "data_dir": process.data_dir,
            "log_file": process.log_file,
        }


def default_folder() -> Path:
    """Where a cluster's records, logs and (with its usual files) data are."""
    base = os.environ.get("XDG_STATE_HOME", "")
    state = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state"
    return state / "cnet" / "cluster"


class LocalCluster:
    """The agents whose records are in `folder`; one command at a time may change them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    @property
    def folder(self) -> Path:
        """Where `run/`, `logs/` and the lock are."""
        return self._folder

    def ports(self) -> dict[str, int]:
        """Node → port of the agents that were started here and not ended since."""
        return {process.node_id: process.port for process in processes.known(self._folder)}

    def up(
        self, members: Sequence[Member], *, timeout_s: float = START_TIMEOUT_S, told: Told
    ) -> list[str]:
        """Start those members that do not run, and wait until all see each other.

        Services that `down` has scaled to none get their replicas back. Returns the names of the
        agents that were started; `told` gets a line per step. When one fails to start, or the links
        are not up in time, those started here are ended again. Raises PortTakenError naming who
        holds a port, and ExecutionError (code `cluster_failed`).
        """
        deadline = time.monotonic() + timeout_s
        with self._locked():
            running = {each.node_id: each for each in processes.known(self._folder)}
            running = {name: each for name, each in running.items() if each.is_alive}
            missing = [member for member in members if member.node_id not in running]
            for member in missing:
                _require_port(member)
            started: list[AgentProcess] = []
            try:
                # One by one into the list: those before one that fails have to be ended.
                started.extend(self._start(member) for member in missing)
                for process in started:
                    url = processes.wait_healthy(process, deadline=deadline)
                    told(f"{process.node_id} listens on {url} (pid {process.pid})")
                self._wait_linked(members, deadline=deadline)
            except BaseException:  # Ctrl-C as well: none may be left that no record tells of
                processes.end(started, grace_s=END_GRACE_S)
                for process in started:
                    processes.forget(self._folder, process)
                raise
            urls = self._urls()
            for member in members:
                with _client(urls[member.node_id]) as client:
                    scale_back(self._folder, member.node_id, client, told)
        return [process.node_id for process in started]

    def down(self, *, keep_workloads: bool, told: Told) -> list[str]:
        """End all agents, and before that their workloads unless `keep_workloads`.

        Only an agent can stop its workloads: one that is dead or deaf is started again for that.
        Returns the names of the agents. Raises ExecutionError (code `cluster_failed`) when
        workloads are left; the agents are then still up.
        """
        with self._locked():
            known = processes.known(self._folder)
            if not keep_workloads:
                known = [self._answering(process, told) for process in known]
                self._stop_workloads(known, told)
            for process in processes.end(known, grace_s=END_GRACE_S):
                told(f"{process.node_id} did not end by itself and was killed")
            for process in known:
                processes.forget(self._folder, process)
        return [process.node_id for process in known]

    def status(self) -> list[Standing]:
        """How each agent is that was started here and not ended since."""
        return [_standing(process) for process in processes.known(self._folder)]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(self._folder / "lock")
        if (holder := lock.acquire()) is not None:
            raise ConflictError(
                f"another `cnet cluster` is at work in {self._folder} (pid {holder})",
                code="cluster_busy",
            )
        try:
            yield
        finally:
            lock.release()

    def _urls(self) -> dict[str, str]:
        return {process.node_id: process.url for process in processes.known(self._folder)}

    def _start(self, member: Member) -> AgentProcess:
        return processes.start(
            self._folder,
            node_id=member.node_id,
            port=member.port,
            config_file=str(member.config_file),
            data_dir=str(member.settings.data_dir),
            settings=[f"{key}={json.dumps(value)}" for key, value in member.overrides.items()],
        )

    def _wait_linked(self, members: Sequence[Member], *, deadline: float) -> None:
        views = expected_views(members)
        unseen: dict[str, set[str]] = {}
        urls = self._urls()
        for node_id, expected in views.items():
            with _client(urls[node_id]) as client:

                def sees_all(client: AgentClient = client, node_id: str = node_id) -> bool:
                    unseen[node_id] = views[node_id] - _active(client)
                    return not unseen[node_id]

                if expected and not processes.wait_for(sees_all, deadline=deadline):
                    names = ", ".join(sorted(unseen[node_id]))
                    raise ExecutionError(f"{node_id} has no link to {names}", code="cluster_failed")

    def _answering(self, process: AgentProcess, told: Told) -> AgentProcess:
        """`process`, or another agent in its place when it is dead or does not answer."""
        if process.is_alive and _is_healthy(process):
            return process
        told(f"{process.node_id} does not answer; it is started again to stop its workloads")
        processes.end([process], grace_s=END_GRACE_S)
        process = processes.start_again(self._folder, process)
        processes.wait_healthy(process, deadline=time.monotonic() + START_TIMEOUT_S)
        return process

    def _stop_workloads(self, agents: Sequence[AgentProcess], told: Told) -> None:
        """Stop what these agents have, and wait for what runs on their nodes."""
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for process in agents:
            with _client(process.url) as client:
                scale_down(self._folder, process.node_id, client, told)
        names = {process.node_id for process in agents}
        asked: set[str] = set()
        while True:
            left: set[str] = set()
            for process in agents:
                for workload in _unended(process):
                    owner = workload.get("owner") or process.node_id
                    here = owner == process.node_id or owner not in names
                    # The owner decides; asking it spares a message.
                    if here and workload["id"] not in asked and _stop(process, workload):
                        asked.add(workload["id"])
                        told(f"stopping {workload['name']}")
                    if (workload.get("node_id") or process.node_id) in names:
                        left.add(str(workload["name"]))
            if not left:
                return
            if time.monotonic() > deadline:
                raise ExecutionError(
                    f"not stopped in time: {', '.join(sorted(left))}", code="cluster_failed"
                )
            time.sleep(processes.POLL_S)


def _client(url: str) -> AgentClient:
    return AgentClient(url, find_token(), timeout=_PATIENCE_S)


def _is_healthy(process: AgentProcess) -> bool:
    if not process.url:
        return False
    try:
        with _client(process.url) as client:
            return bool(client.health()["node_id"] == process.node_id)
    except CnetError:
        return False


def _active(client: AgentClient) -> set[str]:
    try:
        nodes = client.nodes()["nodes"]
    except CnetError:
        return set()  # asked again until the deadline
    return {node["node_id"] for node in nodes if node["status"] != "unreachable"}


def _unended(process: AgentProcess) -> list[JsonObject]:
    with _client(process.url) as client:
        return [workload for workload in client.list() if workload["status"] not in ENDED]


def _stop(process: AgentProcess, workload: JsonObject) -> bool:
    """Ask for it; False when it has to be asked for again."""
    with _client(process.url) as client:
        try:
            client.stop(workload["id"], wait=False)
        except (NotFoundError, TransitionError):
            return True  # it has ended meanwhile
        except TransientError:
            return False
    return True


def _standing(process: AgentProcess) -> Standing:
    if not process.is_alive or not process.url:
        return Standing(process, healthy=False)
    try:
        with _client(process.url) as client:
            nodes = client.nodes()
            unended = [each for each in client.list() if each["status"] not in ENDED]
    except CnetError:
        return Standing(process, healthy=False)
    near = [each for each in nodes["nodes"] if each["status"] != "unreachable"]
    near = [each for each in near if each.get("hops") == 1]
    parents = [each["node_id"] for each in near if each["node_type"] == "parent"]
    peers = [each["node_id"] for each in near if each["node_type"] == "peer"]
    return Standing(
        process,
        healthy=nodes["node_id"] == process.node_id,
        parent=parents[0] if parents else None,
        peers=tuple(sorted(peers)),
        workloads=sum(each.get("node_id") in (None, process.node_id) for each in unended),
    )


def _require_port(member: Member) -> None:
    """Raises PortTakenError naming who listens where the member is to listen."""
    address, port = member.settings.agent.address, member.port
    try:
        family, _, _, _, target = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        socket.create_server(target[:2], family=family).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ConfigError(
                f"{member.config_file}: agent.address: cannot listen on {address}:{port}: {error}"
            ) from error
        raise PortTakenError(
            f"agent.port: {port}, where {member.node_id} is to listen, is held by "
            f"{_listener(port)}; end it, or use --free-ports"
        ) from None


def _listener(port: int) -> str:
    """Who listens on a port: an agent by its name, and the process as far as it may be seen."""
    return f"{_agent_at(port)}{_process_at(port)}"


def _agent_at(port: int) -> str:
    try:
        with _client(f"http://127.0.0.1:{port}") as client:
            return f"agent {client.health()['node_id']!r}, "
    except CnetError:
        return ""


def _process_at(port: int) -> str:
    import psutil  # only asked when a port is refused

    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listens and listens.port == port and connection.pid:
                name = psutil.Process(connection.pid).name()
                return f"process {name} (pid {connection.pid})"
    except psutil.Error:
        return "a process that cannot be seen"
    return "a process that cannot be seen"
