"""Workloads, nodes and events as they look on the wire (contract 0 and 3)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from cnet._support.clock import rfc3339
from cnet.manager import Manager, Workload
from cnet.model.events import AgentEvent
from cnet.model.lifecycle import wire_status
from cnet.model.resources import Resources

SECRET_FIELDS = frozenset({"secret_env"})
SECRET = "***"  # noqa: S105  what is shown in the place of a secret


def workload(item: Workload, node_id: str, *, base_url: str = "") -> dict[str, Any]:
    """The workload object; what does not apply to it is absent, as clients of the seeds expect.

    `node_id` and `base_url` are of the agent that answers: a service on another node has an
    endpoint by way of it.
    """
    spec, status = item.spec, item.status
    config = shown_config(item)
    body: dict[str, Any] = {
        **{key: value for key, value in config.items() if key not in SECRET_FIELDS},
        "id": item.id,
        "name": spec.name,
        "type": spec.type,
        "status": wire_status(status.phase),
        "status_reason": status.reason,
        "status_detail": status.detail,
        "desired": status.desired,
        "requirements": spec.requirements.to_resources().to_wire(),
        "config": config,
        "metadata": config,
        "labels": spec.labels,
        "node_id": status.host or node_id,
        "owner": status.owner or node_id,
        "attempt": status.attempt,
        "restarts": status.restarts,
        "restart": item.restart.model_dump(),
        "limits": status.limits,
        "gpu_devices": list(status.gpu_devices),
        "created_at": rfc3339(status.created_at),
        "updated_at": rfc3339(status.updated_at),
    }
    if status.endpoint is not None and not status.is_terminal:
        body["endpoint"] = status.endpoint
        if status.host is not None:
            body["endpoint"] = f"{base_url}/services/{quote(spec.name, safe='')}"
            body["direct_endpoint"] = status.endpoint
        body["service_port"] = status.port
    if status.pid is not None:
        body["process_pid"] = status.pid
        if spec.type == "process":
            body["pid"] = status.pid
    if status.is_terminal and status.exit_code is not None:
        body["exit_code"] = status.exit_code
        if status.exit_signal is not None:
            body["exit_signal"] = status.exit_signal
    if status.log_tail:
        body["log_tail"] = list(status.log_tail)
    if status.started_at is not None:
        body["started_at"] = rfc3339(status.started_at)
    if status.ended_at is not None:
        body["ended_at"] = rfc3339(status.ended_at)
    return body


def shown_config(item: Workload) -> dict[str, Any]:
    """The config with its defaults filled in and its secrets hidden."""
    parsed = item.config
    config = dict(item.spec.config) if parsed is None else parsed.model_dump(mode="json")
    for name in SECRET_FIELDS & config.keys():
        config[name] = dict.fromkeys(config[name], SECRET)
    return config


def node(manager: Manager, *, updated_at: float, metadata: dict[str, str]) -> dict[str, Any]:
    """NodeResources of this very node."""
    return {
        "node_id": manager.node_id,
        "node_type": "local",
        **totals(manager),
        "last_updated": rfc3339(updated_at),
        "status": "active",
        "address": "",
        "metadata": metadata,
    }


def totals(manager: Manager) -> dict[str, Any]:
    """`{total, available, used}`, each a Resources object."""
    ledger = manager.ledger
    parts: dict[str, Resources] = {
        "total": ledger.capacity,
        "available": ledger.available,
        "used": ledger.allocated,
    }
    return {name: part.to_wire() for name, part in parts.items()}


def event(item: AgentEvent) -> dict[str, Any]:
    """The data of one event of the stream."""
    return {
        "seq": item.seq,
        "time": rfc3339(item.time),
        "event": item.event,
        "workload_id": item.workload_id,
        **item.data,
    }
