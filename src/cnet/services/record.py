"""A service: what a user wants of it, and what its owner keeps of it on the disk."""

from __future__ import annotations

import re
import uuid
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cnet.errors import ConflictError, NotFoundError
from cnet.model.route import REPLICA_LABEL, SERVICE_ID_LABEL, SERVICE_LABEL, VERSION_LABEL
from cnet.model.workload import WorkloadSpec, WorkloadTemplate, printable_name

MAX_REPLICAS = 1_000
VERSIONS_KEPT = 10
"""Versions that serve no more and are kept to go back to."""
RETRIED = frozenset({"mlmodel", "opencv"})
"""Kinds whose requests may be sent again: to predict changes nothing."""

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_Replicas = Annotated[int, Field(ge=0, le=MAX_REPLICAS)]
_Weight = Annotated[int, Field(ge=0, le=1_000_000)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _version_name(name: str | None) -> str | None:
    if name is not None and not _VERSION.fullmatch(name):
        raise ValueError(
            "must begin with a letter or digit and go on with at most 62 letters, digits, . _ -"
        )
    return name


class UpdatePolicy(_Value):
    """How replicas of a new version take the place of the old ones."""

    max_surge: int = Field(1, ge=0, le=MAX_REPLICAS, description="replicas beyond those wanted")
    max_unavailable: int = Field(
        0, ge=0, le=MAX_REPLICAS, description="replicas wanted that may be missing meanwhile"
    )
    on_failure: Literal["rollback", "hold"] = Field(
        "rollback", description="when a replica of the new version fails, or none becomes ready"
    )
    progress_timeout_s: float = Field(
        600, gt=0, le=86_400, allow_inf_nan=False, description="longest wait for the next one"
    )

    @model_validator(mode="after")
    def _can_move(self) -> Self:
        if not self.max_surge and not self.max_unavailable:
            raise ValueError("max_surge and max_unavailable are both 0: nothing could be replaced")
        return self


class Autoscale(_Value):
    """The number of replicas follows the requests under way."""

    min: _Replicas = Field(1, description="0: none without requests; the first one waits")
    max: int = Field(ge=1, le=MAX_REPLICAS)
    target: float = Field(
        4, gt=0, le=100_000, allow_inf_nan=False, description="requests under way per replica"
    )
    stabilization_s: float = Field(
        60, ge=0, le=86_400, allow_inf_nan=False, description="a fall is followed only after this"
    )
    idle_s: float = Field(
        300, gt=0, le=604_800, allow_inf_nan=False, description="without requests until none runs"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is more than max ({self.max})")
        return self


class ServiceSpec(_Value):
    """What is asked for when a service is made."""

    name: str = Field(min_length=1, max_length=128)
    template: WorkloadTemplate = Field(description="what each replica is: a kind that serves HTTP")
    version: str | None = Field(None, description="a name for it; default: v1, v2, …")
    replicas: _Replicas = 1
    update: UpdatePolicy = Field(default_factory=UpdatePolicy)
    autoscale: Autoscale | None = None
    retry: Literal["idempotent", "never"] | None = Field(
        None,
        description="idempotent: any request may be sent again when a replica breaks off; "
        "default for mlmodel and opencv. never: only those that HTTP says are harmless",
    )
    hold_s: float = Field(
        30,
        ge=0,
        le=600,
        allow_inf_nan=False,
        description="seconds a request waits while no replica is ready",
    )

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        return printable_name(name)

    _sound_version = field_validator("version")(_version_name)


class ServiceUpdate(_Value):
    """A new version of a service; what is absent stays as it is."""

    template: WorkloadTemplate | None = None
    version: str | None = None
    replicas: _Replicas | None = Field(None, description="of the service, or of a canary alone")
    weight: int | None = Field(
        None,
        ge=0,
        le=100,
        description="percent of the requests: the new version is put beside the others instead "
        "of in their place",
    )
    update: UpdatePolicy | None = None
    retry: Literal["idempotent", "never"] | None = None
    hold_s: float | None = Field(None, ge=0, le=600, allow_inf_nan=False)

    _sound_version = field_validator("version")(_version_name)

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("asks for nothing; give a template, or what is to change")
        if self.template is None and (self.version is not None or self.weight is not None):
            raise ValueError("version and weight belong to a new template, and there is none")
        return self


class ServiceScale(_Value):
    """How many replicas; `autoscale` null: no longer by load."""

    replicas: _Replicas | None = None
    version: str | None = Field(None, description="of this version alone")
    autoscale: Autoscale | None = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.replicas is None and "autoscale" not in self.model_fields_set:
            raise ValueError("replicas: give a number, or autoscale")
        if self.replicas is not None and self.autoscale is not None:
            raise ValueError("replicas: autoscale sets the number; give min and max there")
        if self.version is not None and self.replicas is None:
            raise ValueError("version: is for replicas only")
        return self


class ServiceTraffic(_Value):
    """How the requests are shared."""

    weights: dict[str, _Weight] = Field(
        min_length=1,
        max_length=16,
        description="version → share; one that is not named is drained and stopped",
    )

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if not any(self.weights.values()):
            raise ValueError("weights: at least one must be more than 0")
        return self


class ServiceRollback(_Value):
    """To which version; null: the one before."""

    version: str | None = None


# --- what is kept --------------------------------------------------------------------------------


class Version(_Value):
    """One template of a service."""

    name: str
    revision: int
    template: WorkloadTemplate
    created_at: float
    replicas: int | None = None
    """of this version alone; None: as many as the service"""
    scaled: int | None = None
    """as the load asks for, while the service scales by itself"""
    weight: int | None = None
    """its share of the requests; None: it serves no more, or not yet"""
    failure: str | None = None
    """why it was given up"""


class Rollout(_Value):
    """A new version on its way into the place of those that serve."""

    target: str
    since: float
    held: str | None = None
    """why it does not go on"""


class ServiceRecord(_Value):
    """A service as it stands on its owner's disk. Times are Unix seconds."""

    id: uuid.UUID
    name: str
    created_at: float
    updated_at: float
    replicas: int
    update: UpdatePolicy
    autoscale: Autoscale | None
    retry: Literal["idempotent", "never"]
    hold_s: float
    versions: tuple[Version, ...]
    """oldest first"""
    rollout: Rollout | None = None
    issued: int = 0
    """numbers given to replicas so far; none is given twice"""
    deleted: bool = False

    def version(self, name: str, *, field: str = "version") -> Version:
        """Raises NotFoundError."""
        for version in self.versions:
            if version.name == name:
                return version
        known = ", ".join(version.name for version in self.versions)
        raise NotFoundError(f"{field}: {self.name} has no version {name!r}; there are: {known}")

    def serving(self) -> list[Version]:
        """Versions that have a share of the requests."""
        return [version for version in self.versions if version.weight is not None]

    def wanted(self, version: Version) -> int:
        """How many replicas of a serving version there are to be."""
        if self.autoscale is None:
            return self.replicas if version.replicas is None else version.replicas
        start = self.replicas if version.scaled is None else version.scaled
        return min(max(start, self.autoscale.min), self.autoscale.max)

    def require_staying(self) -> None:
        """Raises ConflictError once it is being deleted."""
        if self.deleted:
            raise ConflictError(f"service {self.name} is being deleted", code="wrong_state")


def replica_id(service: ServiceRecord, revision: int, number: int) -> str:
    """The id of a replica's workload: submitted again, it is the same one."""
    return str(uuid.uuid5(service.id, f"{revision}/{number}"))


def replica_spec(service: ServiceRecord, version: Version, number: int) -> WorkloadSpec:
    """The workload of one replica. Raises pydantic's ValidationError."""
    fields = version.template.model_dump(exclude_unset=True)
    labels = version.template.labels | {
        SERVICE_LABEL: service.name,
        SERVICE_ID_LABEL: str(service.id),
        VERSION_LABEL: version.name,
        REPLICA_LABEL: f"{version.revision}.{number}",
    }
    workload_id = replica_id(service, version.revision, number)
    return WorkloadSpec.model_validate(
        fields | {"name": service.name, "id": workload_id, "labels": labels}
    )


def number_of(service: ServiceRecord, workload: WorkloadSpec) -> tuple[int, int] | None:
    """(revision, number) of a workload that is a replica of the service; None for any other."""
    revision, dot, number = workload.labels.get(REPLICA_LABEL, "").partition(".")
    if not (dot and revision.isdecimal() and number.isdecimal()):
        return None
    found = int(revision), int(number)
    return found if replica_id(service, *found) == str(workload.id) else None
