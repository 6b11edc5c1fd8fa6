"""What users ask of a service, as a new record of it. Pure."""

from __future__ import annotations

import uuid

from cnet.errors import ConflictError, SpecError
from cnet.model.route import RESERVED
from cnet.model.workload import WorkloadTemplate
from cnet.services.record import (
    RETRIED,
    VERSIONS_KEPT,
    Rollout,
    ServiceRecord,
    ServiceRollback,
    ServiceScale,
    ServiceSpec,
    ServiceTraffic,
    ServiceUpdate,
    Version,
)


def created(spec: ServiceSpec, *, now: float, service_id: uuid.UUID) -> ServiceRecord:
    """A new service. Raises SpecError."""
    require_free_labels(spec.template)
    first = Version(
        name=spec.version or "v1", revision=1, template=spec.template, created_at=now, weight=100
    )
    return ServiceRecord(
        id=service_id,
        name=spec.name,
        created_at=now,
        updated_at=now,
        replicas=spec.replicas,
        update=spec.update,
        autoscale=spec.autoscale,
        retry=spec.retry or ("idempotent" if spec.template.type in RETRIED else "never"),
        hold_s=spec.hold_s,
        versions=(first,),
    )


def require_free_labels(template: WorkloadTemplate) -> None:
    """Raises SpecError for labels that replicas are known by."""
    for key in template.labels:
        if key.startswith(RESERVED):
            raise SpecError(
                f"template.labels: {key!r} begins with {RESERVED!r}, which is for the replicas of "
                "services",
                field="template.labels",
            )


def updated(service: ServiceRecord, wish: ServiceUpdate, *, now: float) -> ServiceRecord:
    """A new version in the place of the present ones, or with a weight beside them.

    Raises SpecError, ConflictError.
    """
    service.require_staying()
    changes: dict[str, object] = {
        name: value
        for name in ("update", "retry", "hold_s")
        if (value := getattr(wish, name)) is not None
    }
    if wish.replicas is not None and wish.weight is None:
        _require_by_hand(service)
        changes["replicas"] = wish.replicas
    if wish.template is None:
        return _changed(service, now, **changes)
    require_free_labels(wish.template)
    revision = max(version.revision for version in service.versions) + 1
    name = wish.version or f"v{revision}"
    if any(version.name == name for version in service.versions):
        raise ConflictError(f"version: {name!r} is a version of {service.name} already")
    new = Version(
        name=name,
        revision=revision,
        template=wish.template,
        created_at=now,
        scaled=_by_load_now(service),
    )
    if wish.weight is None:
        # Until it is in place the others keep their shares; it is among them as it gets ready.
        versions = (*service.versions, new)
        rollout = Rollout(target=name, since=now)
        return _changed(service, now, versions=versions, rollout=rollout, **changes)
    if service.rollout is not None:
        raise ConflictError(
            f"weight: {service.name} is being updated to {service.rollout.target}; wait for that, "
            "or roll it back",
            code="wrong_state",
        )
    others = 100 - wish.weight
    total = sum(version.weight or 0 for version in service.versions)
    shared = tuple(
        version
        if version.weight is None
        else _with(version, weight=round(100 * others * version.weight / total))
        for version in service.versions
    )
    new = _with(new, weight=100 * wish.weight, replicas=wish.replicas)
    return _changed(service, now, versions=(*shared, new), **changes)


def scaled(service: ServiceRecord, wish: ServiceScale, *, now: float) -> ServiceRecord:
    """Another number of replicas. Raises NotFoundError, ConflictError."""
    service.require_staying()
    if "autoscale" in wish.model_fields_set:
        changes: dict[str, object] = {"autoscale": wish.autoscale}
        if wish.replicas is not None:
            changes["replicas"] = wish.replicas
        versions = tuple(
            _with(version, scaled=service.wanted(version) if wish.autoscale else None)
            for version in service.versions
        )
        return _changed(service, now, versions=versions, **changes)
    _require_by_hand(service)
    if wish.version is None:
        versions = tuple(_with(version, replicas=None) for version in service.versions)
        return _changed(service, now, versions=versions, replicas=wish.replicas)
    one = service.version(wish.version)
    if one.weight is None:
        raise ConflictError(f"version: {one.name} does not serve", code="wrong_state")
    return _changed(service, now, versions=_replaced(service, _with(one, replicas=wish.replicas)))


def _require_by_hand(service: ServiceRecord) -> None:
    if service.autoscale is not None:
        raise ConflictError(
            f"replicas: {service.name} has between {service.autoscale.min} and "
            f"{service.autoscale.max} by load; give other bounds, or autoscale null to set the "
            "number by hand",
            code="wrong_state",
        )


def shared(service: ServiceRecord, wish: ServiceTraffic, *, now: float) -> ServiceRecord:
    """Other shares of the requests. Raises NotFoundError, ConflictError."""
    service.require_staying()
    for name in wish.weights:
        service.version(name, field=f"weights.{name}")
    sole = len(wish.weights) == 1
    versions = tuple(
        _with(
            version,
            weight=wish.weights.get(version.name),
            replicas=None if sole else version.replicas,
            failure=None if version.name in wish.weights else version.failure,
        )
        for version in service.versions
    )
    return _changed(service, now, versions=versions, rollout=None)


def rolled_back(service: ServiceRecord, wish: ServiceRollback, *, now: float) -> ServiceRecord:
    """An earlier version in the place of the present ones. Raises NotFoundError, ConflictError."""
    service.require_staying()
    if wish.version is None and service.rollout is not None:
        return given_up(service, "rolled back by a user", now=now)
    serving = {version.name for version in service.serving()}
    if wish.version is not None:
        goal = service.version(wish.version)
    else:
        newest = max(version.revision for version in service.serving())
        before = [
            version
            for version in service.versions
            if version.weight is None and not version.failure and version.revision < newest
        ]
        if len(serving) > 1:  # a canary is taken back
            before = [version for version in service.serving() if version.revision < newest]
        if not before:
            raise ConflictError(f"{service.name} has no earlier version", code="wrong_state")
        goal = before[-1]
    if serving == {goal.name} and service.rollout is None:
        raise ConflictError(f"version: {goal.name} serves already", code="wrong_state")
    goal = _with(goal, failure=None, replicas=None, scaled=_by_load_now(service))
    versions = _replaced(service, goal)
    if goal.name in serving:
        return shared(service, ServiceTraffic(weights={goal.name: 100}), now=now)
    rollout = Rollout(target=goal.name, since=now)
    return _changed(service, now, versions=versions, rollout=rollout)


def _by_load_now(service: ServiceRecord) -> int | None:
    """Where another version begins that takes over from those that serve."""
    if service.autoscale is None:
        return None
    return max((service.wanted(version) for version in service.serving()), default=None)


def deleted(service: ServiceRecord, *, now: float) -> ServiceRecord:
    """It and all its replicas are to go."""
    return service if service.deleted else _changed(service, now, deleted=True, rollout=None)


# --- what the owner itself decides ---------------------------------------------------------------


def taken_over(service: ServiceRecord, *, now: float) -> ServiceRecord:
    """The rollout is done: its version serves alone."""
    rollout = service.rollout
    if rollout is None:
        return service
    versions = tuple(
        _with(version, weight=100 if version.name == rollout.target else None, replicas=None)
        for version in service.versions
    )
    return _changed(service, now, versions=versions, rollout=None)


def given_up(service: ServiceRecord, why: str, *, now: float) -> ServiceRecord:
    """The rollout has failed: those that served before it serve on."""
    rollout = service.rollout
    if rollout is None:
        return service
    failed = _with(service.version(rollout.target), failure=why, weight=None)
    return _changed(service, now, versions=_replaced(service, failed), rollout=None)


def held(service: ServiceRecord, why: str, *, now: float) -> ServiceRecord:
    """The rollout has failed, and waits for a user."""
    rollout = service.rollout
    if rollout is None:
        return service
    return _changed(service, now, rollout=rollout.model_copy(update={"held": why}))


def by_load(service: ServiceRecord, name: str, count: int) -> ServiceRecord:
    """As many replicas of a version as its load asks for."""
    version = _with(service.version(name), scaled=count)
    return service.model_copy(update={"versions": _replaced(service, version)})


def _changed(service: ServiceRecord, now: float, **changes: object) -> ServiceRecord:
    record = service.model_copy(update={"updated_at": now, **changes})
    serving = {version.name for version in record.serving()}
    if record.rollout is not None:
        serving.add(record.rollout.target)
    old = [version for version in record.versions if version.name not in serving]
    forgotten = {version.name for version in old[:-VERSIONS_KEPT]}
    kept = tuple(version for version in record.versions if version.name not in forgotten)
    return record.model_copy(update={"versions": kept})


def _replaced(service: ServiceRecord, version: Version) -> tuple[Version, ...]:
    return tuple(version if one.name == version.name else one for one in service.versions)


def _with(version: Version, **changes: object) -> Version:
    return version.model_copy(update=changes)
