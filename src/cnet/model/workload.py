"""What a user wants (`WorkloadSpec`, never edited) and what is the case (`WorkloadStatus`)."""

from __future__ import annotations

import math
import unicodedata
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cnet.model.lifecycle import HOLDS_ROOM, PREEMPTIBLE, TERMINAL, Phase
from cnet.model.resources import Resources, millicores

MAX_BYTES = 2**62
"""An upper bound for memory and storage: what SQLite and every client can still hold."""

_Cores = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
_Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]
_Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
_Label = Annotated[str, Field(max_length=253)]


Strategy = Literal["default", "best_fit", "least_loaded", "spread"]


def printable_name(name: str) -> str:
    """The name of a workload or service. Raises ValueError."""
    if "/" in name or any(unicodedata.category(letter)[0] == "C" for letter in name):
        raise ValueError('must be printable characters without "/"')
    return name


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Requirements(_Spec):
    """Room to be held for the workload as long as it is not ended."""

    cpu: _Cores = Field(0, description="cores; fractions allowed, exact to a millicore")
    gpu: int = Field(0, ge=0, le=1024, description="whole devices")
    memory: _Bytes = Field(0, description="bytes; a hard limit where the agent may set one")
    storage: _Bytes = Field(0, description="bytes")

    def to_resources(self) -> Resources:
        """The same in the integers of the ledger."""
        return Resources(millicores(self.cpu), self.gpu, self.memory, self.storage)


class LimitsSpec(_Spec):
    """Hard limits beyond the requirements."""

    cpu: float | None = Field(
        None, ge=0.01, le=1_000_000, allow_inf_nan=False, description="cores; a hard quota"
    )
    pids: int | None = Field(None, ge=1, le=4_194_304, description="processes and threads")


class RestartPolicy(_Spec):
    """When an ended run is followed by another.

    At most `attempts` restarts within `window_s`; the pause before the n-th of them is
    `backoff_s * 2**(n-1)`, at most 30 s.
    """

    policy: Literal["never", "on_failure", "always"] = "never"
    attempts: int = Field(3, ge=0, le=1_000_000)
    window_s: _Seconds = 600
    backoff_s: float = Field(1, ge=0, le=3_600, allow_inf_nan=False)


class Affinity(_Spec):
    """Where a workload should be, or (as anti-affinity) should not be.

    A term names labels of nodes, or labels of workloads that a node holds; a value `*` stands for
    any. All pairs of a term must match. A required term rules nodes out, a preferred one adds its
    weight to the score of those that match (or, as anti-affinity, of those that do not).
    """

    node_labels: dict[_Label, _Label] = Field(default_factory=dict, max_length=16)
    workload_labels: dict[_Label, _Label] = Field(default_factory=dict, max_length=16)
    required: bool = True
    weight: int = Field(1, ge=1, le=100, description="of a preferred term")

    @model_validator(mode="after")
    def _one_kind_of_labels(self) -> Self:
        if bool(self.node_labels) == bool(self.workload_labels):
            raise ValueError("give either node_labels or workload_labels")
        return self


class HealthSpec(_Spec):
    """How a service is watched."""

    ready_timeout_s: _Seconds = Field(60, description="seconds until the first healthy answer")
    interval_s: _Seconds = Field(30, description="seconds between liveness probes")
    timeout_s: _Seconds = Field(5, description="seconds one probe may take")
    failures: int = Field(3, ge=1, le=1_000, description="failed probes in a row that restart it")


class WorkloadTemplate(_Spec):
    """What is common to all that are made alike: a workload without its name and id."""

    type: str = Field(min_length=1, max_length=64, description="a kind of workload")
    requirements: Requirements = Field(default_factory=Requirements)
    config: dict[str, Any] = Field(default_factory=dict, description="depends on the type")
    labels: dict[_Label, _Label] = Field(default_factory=dict, max_length=64)
    limits: LimitsSpec = Field(default_factory=LimitsSpec)
    restart: RestartPolicy | None = Field(
        None, description="default: never for processes, on_failure for services"
    )
    health: HealthSpec = Field(default_factory=HealthSpec)
    stop_grace_s: float = Field(
        10, ge=0, le=3_600, allow_inf_nan=False, description="seconds from SIGTERM to SIGKILL"
    )
    run_as: str | None = Field(None, min_length=1, max_length=64, description="a user name")
    node: str | None = Field(
        None, min_length=1, max_length=128, description="run on this node and on no other"
    )
    strategy: Strategy | None = Field(
        None, description="how to choose among nodes that fit; default: `scheduler.strategy`"
    )
    affinity: list[Affinity] = Field(default_factory=list, max_length=16)
    anti_affinity: list[Affinity] = Field(default_factory=list, max_length=16)
    priority: int = Field(
        0, ge=-1000, le=1000, description="higher ones are placed first when room is short"
    )
    preemptible: bool = Field(
        False, description="may be ended and queued again to make room for a higher priority"
    )
    on_node_loss: Literal["wait", "reschedule"] = Field(
        "wait",
        description="when its node cannot be reached: wait for it, or start elsewhere once its "
        "lease has surely run out",
    )

    @field_validator("labels")
    @classmethod
    def _labels_printable(cls, labels: dict[str, str]) -> dict[str, str]:
        if any(
            unicodedata.category(letter)[0] == "C"
            for pair in labels.items()
            for letter in "".join(pair)
        ):
            raise ValueError("keys and values must be printable")
        return labels


class WorkloadSpec(WorkloadTemplate):
    """What the user wants. Durable before the submit is answered, never edited afterwards."""

    name: str = Field(min_length=1, max_length=128)
    id: uuid.UUID | None = Field(
        None, description="makes the submit idempotent: asked twice, started once"
    )
    queue: bool = Field(True, description="wait for room; false: 409 when there is none now")
    reservation: uuid.UUID | None = Field(None, description="claim the room it holds")

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        return printable_name(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadStatus:
    """What is the case; written by the manager only. Times are Unix seconds."""

    phase: Phase = Phase.PENDING
    reason: str | None = None
    detail: str | None = None
    desired: Literal["running", "stopped", "deleted"] = "running"
    owner: str | None = None
    """the agent that took the request; None: this one"""
    host: str | None = None
    """the node it was given to; None: this one, or none yet"""
    assignment: int = 0
    """counts how often the owner has given it to a node"""
    host_incarnation: int = 0
    """of the host when it was asked; a later one has forgotten what it refused"""
    answered: bool = False
    """the host has accepted it"""
    host_version: tuple[int, int] = (0, 0)
    """of the newest status heard from the host"""
    returned: bool = False
    """a host has given it back to its owner and keeps it only until the owner has heard of it"""
    generation: int = 0
    """counts the owner's wishes (stop, restart, delete); the host reports the last it has heard"""
    attempt: int = 0
    """number of the present or last run; 0 before the first"""
    restarts: int = 0
    """runs that the restart policy added"""
    restarted_at: tuple[float, ...] = ()
    """when it did so, within the policy's window"""
    gpu_devices: tuple[int, ...] = ()
    port: int | None = None
    ports: tuple[dict[str, Any], ...] = ()
    """what a container publishes, each with its `host_port`"""
    endpoint: str | None = None
    names: dict[str, str] = field(default_factory=dict)
    """of its run in a system of others: `{"container_id": "…"}`"""
    pid: int | None = None
    exit_code: int | None = None
    """-1 when a signal ended it"""
    exit_signal: str | None = None
    limits: dict[str, str] = field(default_factory=dict)
    """how each limit is enforced: `{"memory": "cgroup_v2"}`"""
    log_tail: tuple[str, ...] = ()
    result: dict[str, Any] = field(default_factory=dict)
    """what the last run that ended well has left behind; empty when there is nothing (any more)"""
    created_at: float = 0.0
    updated_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def is_terminal(self) -> bool:
        """Ended for good unless a user asks otherwise."""
        return self.phase in TERMINAL

    @property
    def holds_room(self) -> bool:
        """Whether this node's ledger has an allocation for it."""
        return self.host is None and self.phase in HOLDS_ROOM

    @property
    def may_be_preempted(self) -> bool:
        """Whether it can be ended here for another one and be queued again."""
        return self.host is None and self.phase in PREEMPTIBLE


def status_from_dict(data: dict[str, Any]) -> WorkloadStatus:
    """The inverse of serialising a status as JSON; unknown keys of newer versions are dropped."""
    known = {name: data[name] for name in WorkloadStatus.__dataclass_fields__ if name in data}
    known["phase"] = Phase(known["phase"])
    for name in ("restarted_at", "gpu_devices", "ports", "log_tail", "host_version"):
        known[name] = tuple(known.get(name, ()))
    if not all(math.isfinite(known[name]) for name in ("created_at", "updated_at")):
        raise ValueError("a status with times that are no numbers")
    return WorkloadStatus(**known)
