"""Services as they look on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnet._support.clock import rfc3339
from cnet.api.render import SECRET, SECRET_FIELDS
from cnet.api.services.counting import BUCKETS_S
from cnet.api.services.replicas import Routed
from cnet.errors import NotFoundError
from cnet.manager import Manager
from cnet.services import Service
from cnet.services.deciding import Replica
from cnet.services.load import VersionLoad, total
from cnet.services.record import ServiceRecord, Version

Loads = Mapping[str, Mapping[str, VersionLoad]]
"""Node → version → what was done there."""


def service(item: Service, manager: Manager, loads: Loads) -> dict[str, Any]:
    """In full, as its owner knows it."""
    record, standing = item.record, item.standing
    named = {version.revision: version.name for version in record.versions}
    return {
        "name": record.name,
        "id": str(record.id),
        "owner": manager.node_id,
        "type": record.versions[-1].template.type,
        "status": standing.status,
        "status_reason": standing.reason,
        "status_detail": standing.detail,
        "replicas": record.replicas,
        "ready": sum(_serves(one, item) for one in item.replicas),
        "versions": [_version(record, version, item, loads) for version in record.versions],
        "traffic": {version.name: version.weight for version in record.serving()},
        "rollout": None if record.rollout is None else _rollout(record),
        "instances": [
            _instance(one, named.get(one.revision), item, manager)
            for one in sorted(item.replicas, key=lambda one: one.number)
        ],
        "update": record.update.model_dump(),
        "autoscale": None if record.autoscale is None else record.autoscale.model_dump(),
        "retry": record.retry,
        "hold_s": record.hold_s,
        "path": f"/services/{record.name}",
        "created_at": rfc3339(record.created_at),
        "updated_at": rfc3339(record.updated_at),
    }


def _serves(one: Replica, item: Service) -> bool:
    return one.state == "ready" and one.workload_id not in item.memory.draining


def _version(
    record: ServiceRecord, version: Version, item: Service, loads: Loads
) -> dict[str, Any]:
    mine = [one for one in item.replicas if one.revision == version.revision]
    serves = version.weight is not None
    template = version.template.model_dump(mode="json")
    for name in SECRET_FIELDS & template["config"].keys():
        template["config"][name] = SECRET
    target = record.rollout is not None and record.rollout.target == version.name
    return {
        "version": version.name,
        "revision": version.revision,
        "weight": version.weight,
        "replicas": record.wanted(version) if serves or target else 0,
        "ready": sum(_serves(one, item) for one in mine),
        "metrics": _metrics(
            [each[version.name] for each in loads.values() if version.name in each]
        ),
        "failure": version.failure,
        "template": template,
        "created_at": rfc3339(version.created_at),
    }


def _metrics(loads: Sequence[VersionLoad]) -> dict[str, Any] | None:
    """Of all nodes together; None where none has had a request."""
    if not loads:
        return None
    load = total(loads)
    return {
        "requests": load.requests,
        "errors": load.errors,
        "in_flight": load.in_flight,
        "mean_s": load.seconds / load.requests if load.requests else None,
        "p50_s": _quantile(load, 0.5),
        "p99_s": _quantile(load, 0.99),
    }


def _quantile(load: VersionLoad, share: float) -> float | None:
    """The upper bound of the bucket in which the quantile is; None beyond the last bound."""
    seen = 0
    for bound, count in zip(BUCKETS_S, load.buckets, strict=False):
        seen += count
        if seen and seen >= share * load.requests:
            return bound
    return None


def _rollout(record: ServiceRecord) -> dict[str, Any] | None:
    rollout = record.rollout
    if rollout is None:
        return None
    return {"target": rollout.target, "since": rfc3339(rollout.since), "held": rollout.held}


def _instance(one: Replica, version: str | None, item: Service, manager: Manager) -> dict[str, Any]:
    try:
        host = manager.get(one.workload_id).status.host
    except NotFoundError:
        host = None
    draining = one.workload_id in item.memory.draining and one.state != "ending"
    return {
        "workload_id": one.workload_id,
        "version": version,
        "number": one.number,
        "node_id": host or manager.node_id,
        "status": "draining" if draining else one.state,
        "detail": None if one.state == "ready" else one.why,
    }


def known(routed: Routed) -> dict[str, Any]:
    """What routers know of a service that another agent owns."""
    ready = sum(len(share.replicas) for share in routed.shares)
    return {
        "name": routed.name,
        "owner": routed.owner,
        "status": "ready" if ready else "idle",
        "ready": ready,
        "versions": [
            {"version": share.version, "weight": share.weight, "ready": len(share.replicas)}
            for share in routed.shares
        ],
        "retry": "idempotent" if routed.retry else "never",
        "hold_s": routed.hold_s,
        "path": f"/services/{routed.name}",
    }
