"""The contract of an executor, as promises to whoever implements one.

An executor knows how to start one kind of workload and how to find it again; it keeps no state of
its own about workloads, takes no quota and decides no restarts: that is the manager's. What it can
do beyond starting (serve an endpoint, keep logs) are small protocols asked for with `isinstance`.
`cnet.testing.ExecutorContract` is the suite that every executor passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from pydantic import BaseModel

from cnet.model.workload import HealthSpec, RestartPolicy, WorkloadSpec
from cnet.supervision import RunExit, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """All that an executor is told about one run of a workload."""

    workload_id: str
    attempt: int
    """number of the run, from 1; (workload_id, attempt) is never started twice"""
    spec: WorkloadSpec
    config: Any
    """`spec.config` as an instance of the executor's `config_model`"""
    node_id: str
    gpu_devices: tuple[int, ...] = ()
    port: int | None = None
    ports: tuple[int, ...] = ()
    """for what `PublishesPorts`, in the order of its `wanted_ports`"""
    owner: str | None = None
    """the node that submitted the workload, where it is another one"""
    lease_until: float | None = None
    """the run must end by itself then (`lease_now` seconds); only for what `EnforcesLease`"""

    @property
    def run_id(self) -> str:
        """Names the run on this node."""
        return f"{self.workload_id}.{self.attempt}"


class Run(Protocol):
    """One started run. Several tasks may wait for it; none of them owns it."""

    @property
    def pid(self) -> int | None:
        """The main process on this machine, where there is one."""
        ...

    @property
    def started_at(self) -> float:
        """Unix seconds."""
        ...

    @property
    def limits(self) -> Mapping[str, str]:
        """How each limit is enforced: `{"memory": "cgroup_v2"}`."""
        ...

    async def wait(self) -> RunExit:
        """Block until nothing of the run is left; cancelling the wait leaves the run alone."""
        ...

    async def stop(self, *, grace_s: float | None = None) -> None:
        """Ask it to end, and have it killed after `grace_s` seconds; returns without waiting.

        Harmless when repeated or when the run has ended. Once asked, the end comes about even when
        the agent dies.
        """
        ...

    def renew(self, until: float) -> None:
        """Put off the end of a run with a lease to `until` (`lease_now` seconds); never shortens.

        No effect on a run without a lease, on one that has ended, or whose lease is over. Called
        every few seconds for every such run, so it must be cheap. May raise TransientError.
        """
        ...

    def usage(self) -> Usage:
        """What the whole run uses now. Called in a worker thread; may raise ProcessLookupError."""
        ...


@runtime_checkable
class Named(Protocol):
    """A run that has names in a system of others."""

    @property
    def names(self) -> Mapping[str, str]:
        """Fields of the workload object while it runs: `{"container_id": "…"}`."""
        ...


class Executor(Protocol):
    """How one kind of workload is run on this node."""

    @property
    def kind(self) -> str:
        """The `type` of the workloads it runs."""
        ...

    @property
    def config_model(self) -> type[BaseModel]:
        """What `config` must look like; unknown fields should be refused."""
        ...

    async def prepare(self, config: Any) -> None:
        """Check what only this machine can tell (a file that must exist), before acceptance.

        Raises SpecError naming the field; UnreachableError where its engine has just gone away
        (see `NeedsEngine`). Must not change anything: it may be all that happens.
        """
        ...

    async def start(self, task: Task) -> Run:
        """Start the run; return when the program itself has been entered.

        Called at most once per (workload, attempt) unless `attach` answered None in between.
        Raises ExecutionError when it cannot be started; nothing may be left then. If the agent dies
        anywhere in here, `attach` must be able to tell what came of it.
        """
        ...

    async def attach(self, task: Task) -> Run | RunExit | None:
        """After a restart of the agent: the run, or how it ended, or None when it never started."""
        ...

    async def remove(self, workload_id: str) -> None:
        """Remove all traces of an ended workload (logs, directories); harmless when repeated."""
        ...


@runtime_checkable
class ServesEndpoint(Protocol):
    """An executor whose runs answer HTTP."""

    def wanted_port(self, config: Any) -> int:
        """The TCP port the user asked for; 0 where the agent picks one."""
        ...

    def host(self, config: Any) -> str:
        """The address to listen on."""
        ...

    def endpoint(self, task: Task) -> str:
        """Where clients reach it: `http://localhost:9001`."""
        ...

    async def probe(self, task: Task, timeout_s: float) -> None:
        """Return when this very run answers well; raise ExecutionError saying why it does not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPort:
    """A port of this node that a run is to be reached at."""

    host: str
    """the address to listen on"""
    port: int
    """0 where the agent picks one"""
    protocol: Literal["tcp", "udp"] = "tcp"
    field: str = "service_port"
    """of the request, to name it in a refusal"""


@runtime_checkable
class PublishesPorts(Protocol):
    """An executor whose runs are reached at ports of this node, whatever they speak there."""

    def wanted_ports(self, config: Any) -> Sequence[WantedPort]:
        """What the user asked for; the agent holds them, and tells them as `Task.ports`."""
        ...

    def published(self, task: Task) -> Sequence[Mapping[str, Any]]:
        """What the workload object shows as `ports`."""
        ...

    def endpoint(self, task: Task) -> str | None:
        """Where it would answer HTTP, if it does: `http://127.0.0.1:20001`."""
        ...


@runtime_checkable
class ChecksHealth(Protocol):
    """An executor of which some runs are asked whether they are well; others are as long as they
    last."""

    def is_service(self, config: Any) -> bool:
        """Whether it is to run until it is stopped: then an end of its own is a failure."""
        ...

    async def health(self, task: Task) -> HealthSpec | None:
        """How the present run is to be watched; None: it is not asked."""
        ...

    async def probe(self, task: Task, timeout_s: float) -> None:
        """As that of `ServesEndpoint`."""
        ...


@runtime_checkable
class ChoosesRestart(Protocol):
    """An executor whose config may say when an ended run is followed by another."""

    def restart(self, config: Any) -> RestartPolicy | None:
        """None where it says nothing of that."""
        ...


@runtime_checkable
class NeedsEngine(Protocol):
    """An executor whose runs are kept by a program that is not ours and may be away."""

    @property
    def absence(self) -> str | None:
        """Why that cannot be asked now; None when it can. While it is away nothing is placed
        here, and what runs is told of as `engine_unreachable`."""
        ...

    def tell(self, changed: Callable[[], None]) -> None:
        """`changed` is to be called whenever `absence` has changed."""
        ...


@runtime_checkable
class WorksBeside(Protocol):
    """An executor with something to do all the time that the agent lives."""

    async def run_beside(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Until cancelled; `started()` when the other methods may be called."""
        ...


@runtime_checkable
class EnforcesLease(Protocol):
    """An executor whose runs end when their lease does, even with the agent dead or frozen.

    What may be started on another node once its lease is over is given to no other executor.
    """

    @property
    def lease_slack_s(self) -> float:
        """Seconds after the end of a lease and `stop_grace_s` by which nothing of the run lives."""
        ...


@runtime_checkable
class LeavesResult(Protocol):
    """An executor whose runs leave something that is there until it is deleted.

    A workload that has ended with a result is not forgotten by itself; stopping it deletes what it
    left, and so does `remove`.
    """

    async def result(self, workload_id: str) -> Mapping[str, Any]:
        """What there is of it, as fields of the workload object; empty when there is nothing."""
        ...

    async def discard(self, workload_id: str) -> None:
        """Delete what it left; durable on return, harmless when repeated."""
        ...


@runtime_checkable
class FetchesInputs(Protocol):
    """An executor whose runs need stored data (`data://…`) on this node before they start."""

    async def require_inputs(self, spec: WorkloadSpec, config: Any) -> None:
        """At a submit: raises SpecError when it is known that some of them are nowhere."""
        ...

    async def fetch(self, task: Task, *, again: bool, tell: Callable[[str], None]) -> None:
        """Bring them; called right before `start` for every run, and after an agent's death.

        `again`: the restart policy starts it; what the run before had will do if it is as it was.
        `tell` is given a sentence for users, as often as it likes, while something is on its way.
        Cancelled when the workload is stopped. Raises what `start` may raise.
        """
        ...

    async def release(self, task: Task) -> None:
        """No run follows by itself: what was brought may go. Raises OSError."""
        ...


@runtime_checkable
class KeepsLogs(Protocol):
    """An executor whose runs leave their output in a rotated set of files."""

    def log_path(self, workload_id: str) -> Path:
        """The newest of the files; it may not exist yet."""
        ...
