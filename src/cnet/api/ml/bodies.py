"""What is sent to `/api/ml/models`, and the workload that it asks for."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cnet.errors import CapacityError, SpecError
from cnet.executors.training import KIND, TrainingConfig
from cnet.manager.admission import field_error
from cnet.model.workload import MAX_BYTES, Requirements, WorkloadSpec

LEAST_QUOTA = 0.01
"""Cores; a smaller quota cannot be set."""


class ModelResources(BaseModel):
    """Room that is held for the training, and afterwards for the service; limits where the node
    may set some."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_limit: float = Field(0, ge=0, le=1_000_000, allow_inf_nan=False, description="cores")
    memory_limit: int = Field(0, ge=0, le=MAX_BYTES, description="bytes")
    disk_limit: int = Field(0, ge=0, le=MAX_BYTES, description="bytes")
    gpu_limit: int = Field(0, ge=0, le=1024, description="whole devices")


class DeployBody(TrainingConfig):
    """A model to be trained, or one that is there."""

    name: str = Field(min_length=1, max_length=128)
    id: uuid.UUID | None = Field(
        None, description="makes the request idempotent: asked twice, started once"
    )
    resources: ModelResources = Field(default_factory=ModelResources)
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    node: str | None = Field(
        None, min_length=1, max_length=128, description="train and serve on this node only"
    )
    queue: bool = Field(True, description="wait for room; false: 409 when there is none now")

    def spec(self) -> WorkloadSpec:
        """The workload. Raises SpecError naming the field of this body."""
        given = self.model_fields_set & TrainingConfig.model_fields.keys()
        held = self.resources
        wanted: dict[str, Any] = {
            "name": self.name,
            "type": KIND,
            "id": self.id,
            "requirements": Requirements(
                cpu=held.cpu_limit,
                gpu=held.gpu_limit,
                memory=held.memory_limit,
                storage=held.disk_limit,
            ),
            "config": self.model_dump(mode="json", include=given),
            "labels": self.labels,
            "node": self.node,
            "queue": self.queue,
        }
        if held.cpu_limit >= LEAST_QUOTA:
            wanted["limits"] = {"cpu": held.cpu_limit}
        try:
            return WorkloadSpec.model_validate(wanted)
        except ValidationError as error:
            raise field_error(error) from None


class PredictBody(BaseModel):
    """One question to a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_data: Any = Field(description="a value, a row, several rows, or inputs by name")
    options: dict[str, Any] = Field(
        default_factory=dict,
        max_length=32,
        description="parameters of the service beside the input: `outputs`, `confidence`…",
    )


def in_words_of_the_body(error: SpecError | CapacityError) -> SpecError | CapacityError:
    """The same, about the fields that were sent."""
    error.message = error.message.replace("config.", "").replace("requirements:", "resources:")
    if isinstance(error, SpecError) and error.field is not None:
        error.field = error.field.removeprefix("config.")
    return error
