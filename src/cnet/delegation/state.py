"""The part of a workload's status that its host tells and its owner shows."""

from __future__ import annotations

from typing import Any

from cnet.errors import MalformedError
from cnet.model.lifecycle import Phase
from cnet.model.workload import WorkloadStatus

MIRRORED = (
    "phase",
    "reason",
    "detail",
    "attempt",
    "restarts",
    "gpu_devices",
    "port",
    "ports",
    "endpoint",
    "names",
    "pid",
    "exit_code",
    "exit_signal",
    "limits",
    "log_tail",
    "result",
    "started_at",
    "ended_at",
)


def encode(status: WorkloadStatus) -> dict[str, Any]:
    """As JSON values."""
    state = {name: getattr(status, name) for name in MIRRORED}
    state["phase"] = status.phase.value
    return state


def decode(state: dict[str, Any]) -> dict[str, Any]:
    """Changes for a `WorkloadStatus`; what this version does not know is left out.

    Raises MalformedError for a phase that no agent has.
    """
    changes = {name: state[name] for name in MIRRORED if name in state}
    if "phase" in changes:
        if changes["phase"] not in set(Phase):
            raise MalformedError(f"phase: {changes['phase']!r} is none of a workload")
        changes["phase"] = Phase(changes["phase"])
    for name in ("gpu_devices", "ports", "log_tail"):
        if name in changes:
            changes[name] = tuple(changes[name])
    return changes
