"""Workloads, nodes and events as they look on the wire (contract 0 and 3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import anyio.to_thread

from cnet._support.clock import rfc3339
from cnet.manager import Manager, Workload
from cnet.model.events import AgentEvent
from cnet.model.lifecycle import wire_status
from cnet.model.node import KnownNode
from cnet.model.resources import Resources
from cnet.supervision.gpus import Gpu, read

SECRET_FIELDS = frozenset({"secret_env", "auth_token"})
CONTENT_FIELDS = frozenset({"content", "content_base64"})
"""What was handed in with the config of data; it is to be had from `/api/data`."""
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
        **status.result,
        **status.names,
        "id": item.id,
        "name": spec.name,
        "type": spec.type,
        "status": wire_status(status.phase),
        "status_reason": status.reason,
        "status_detail": status.detail,
        "desired": status.desired,
        "requirements": spec.requirements.to_resources().to_wire(),
        "config": config,
        "metadata": status.result.get("metadata", config.get("metadata", config)),
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
        if status.port is not None:
            body["service_port"] = status.port
    if status.ports:
        body["ports"] = list(status.ports)
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
        value = config[name]
        if value is not None:
            config[name] = dict.fromkeys(value, SECRET) if isinstance(value, dict) else SECRET
    return {key: value for key, value in config.items() if key not in CONTENT_FIELDS}


def own_node(manager: Manager, *, updated_at: float) -> dict[str, Any]:
    """NodeResources of the agent's own node, as its ledger stands now."""
    own = manager.own_node
    return {
        "node_id": manager.node_id,
        "node_type": "local",
        **totals(manager),
        "last_updated": rfc3339(updated_at),
        "status": "draining" if own.draining else "active",
        "address": "",
        "metadata": {},
        "parent_id": own.parent_id,
        "depth": 0,
        "labels": own.labels,
        "kinds": list(own.kinds),
        "peers": list(own.peers),
        "hops": 0,
        "via": None,
        "workloads": len(manager.ledger),
    }


def known_node(node: KnownNode, *, depth: int, updated_at: float) -> dict[str, Any]:
    """Another node as its agent has last described it."""
    state = node.state
    used = state.capacity.minus_floor(state.available)
    return {
        "node_id": state.node_id,
        "node_type": node.node_type,
        "total": state.capacity.to_wire(),
        "available": state.available.to_wire(),
        "used": used.to_wire(),
        "last_updated": rfc3339(updated_at),
        "status": node.status,
        "address": state.address,
        "metadata": {} if node.linked else state.labels,
        "parent_id": state.parent_id,
        "depth": depth,
        "labels": state.labels,
        "kinds": list(state.kinds),
        "peers": list(state.peers),
        "hops": node.hops,
        "via": node.via,
        "workloads": state.workloads,
    }


async def gpus(manager: Manager, devices: Iterable[int]) -> list[dict[str, Any]]:
    """Devices of this node as they are now, and who holds them."""
    told = await anyio.to_thread.run_sync(read)
    holders = manager.ledger.holders()
    return [
        asdict(told.get(device) or Gpu(index=device)) | {"workload_id": holders.get(device)}
        for device in devices
    ]


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
