"""What is to be done for a service now: pure, from its record and what is seen of its replicas.

One look decides a little; whoever carries it out looks again. Nothing here needs to be remembered
over a restart of the agent: a drain that was under way is decided anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cnet.model.route import RouteVersion, ServiceRoute
from cnet.services import changes
from cnet.services.record import ServiceRecord, Version

SETTLE_S = 1.0
"""From taking a replica off the route until it is told to end: the news reaches every router."""
LOST_S = 15.0
"""A replica whose node cannot be reached is no longer counted after this."""
FIRST_PAUSE_S = 10.0
"""Before a replica that failed is replaced; doubles with each failure in a row."""
LONGEST_PAUSE_S = 300.0

State = Literal["waiting", "starting", "ready", "unreachable", "ending", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A workload that is a replica, as its owner sees it."""

    workload_id: str
    revision: int
    number: int
    state: State
    failed: bool = False
    """it has ended by itself, and not well"""
    cut_off: bool = False
    """its node or engine cannot be reached now"""
    why: str = ""
    """what keeps it from being ready, a sentence"""


@dataclass(frozen=True, slots=True)
class Failures:
    """Of replicas of one version, since one was ready."""

    count: int
    again_at: float
    why: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What one look leaves for the next; empty after a restart. Times are monotonic seconds."""

    draining: Mapping[str, float] = field(default_factory=dict)
    """id → since when it is off the route"""
    lost: Mapping[str, float] = field(default_factory=dict)
    """id → since when its node cannot be reached"""
    failures: Mapping[int, Failures] = field(default_factory=dict)
    """by revision"""
    failed: frozenset[str] = frozenset()
    """ids whose failure was counted"""
    ready: frozenset[str] = frozenset()
    progress: tuple[str, int, float] = ("", 0, 0.0)
    """target of the rollout, most replicas of it that were ready at a time, and since when"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do, in this order: write the record down, tell of the route, create, delete."""

    record: ServiceRecord
    memory: Memory
    route: ServiceRoute
    create: tuple[tuple[str, int], ...] = ()
    """(version, number) of replicas to submit"""
    delete: tuple[str, ...] = ()
    """ids of workloads to delete"""
    wake_at: float | None = None
    """when to look again even if nothing happens"""
    gone: bool = False
    """it was deleted, and nothing is left of it"""


def decide(
    service: ServiceRecord,
    replicas: Sequence[Replica],
    memory: Memory,
    *,
    now: float,
    wall: float,
) -> Decision:
    """`now` in monotonic seconds, `wall` in Unix seconds, for what is written down."""
    memory = _noted(service, replicas, memory, now)
    service = _rollout(service, replicas, memory, now=now, wall=wall)
    present = [one for one in replicas if _counts(one, memory, now)]
    goal = _goal(service)
    drained = _to_drain(service, goal, present, memory)
    if service.deleted:
        drained = [one for one in replicas if one.state != "ending"]
    draining = {one.workload_id: memory.draining.get(one.workload_id, now) for one in drained}
    delete = [
        one.workload_id
        for one in drained
        if service.deleted or one.state != "ready" or now - draining[one.workload_id] >= SETTLE_S
    ]
    delete += _superseded(service, replicas, delete)
    wanted = [] if service.deleted else _to_create(service, goal, present, drained, memory, now)
    numbers = range(service.issued + 1, service.issued + 1 + len(wanted))
    if wanted:
        service = service.model_copy(update={"issued": service.issued + len(wanted)})
    memory = replace(memory, draining=draining)
    return Decision(
        record=service,
        memory=memory,
        route=_route(service, goal, present, draining),
        create=tuple(zip(wanted, numbers, strict=True)),
        delete=tuple(delete),
        wake_at=_wake_at(service, memory, replicas, now),
        gone=service.deleted and not replicas,
    )


# --- what has happened ---------------------------------------------------------------------------


def _noted(
    service: ServiceRecord, replicas: Sequence[Replica], memory: Memory, now: float
) -> Memory:
    ready = frozenset(one.workload_id for one in replicas if one.state == "ready")
    lost = {
        one.workload_id: memory.lost.get(one.workload_id, now)
        for one in replicas
        if one.state == "unreachable"
    }
    failures = dict(memory.failures)
    for one in replicas:
        if one.workload_id in ready - memory.ready:
            failures.pop(one.revision, None)
    failed = {one.workload_id for one in replicas if one.state == "ended" and one.failed}
    for one in replicas:
        if one.workload_id in failed - memory.failed:
            count = failures[one.revision].count + 1 if one.revision in failures else 1
            failures[one.revision] = _failure(count, one.why, now)
    progress = _progress(service, replicas, memory, now)
    if service.rollout is not None and progress[0] != memory.progress[0]:
        failures.pop(service.version(progress[0]).revision, None)  # of former times
    return replace(
        memory,
        lost=lost,
        failures=failures,
        failed=frozenset(failed),
        ready=ready,
        progress=progress,
    )


def refused(memory: Memory, revision: int, why: str, *, now: float) -> Memory:
    """A replica could not even be submitted."""
    known = memory.failures.get(revision)
    count = 1 if known is None else known.count + 1
    return replace(memory, failures={**memory.failures, revision: _failure(count, why, now)})


def _failure(count: int, why: str, now: float) -> Failures:
    pause = min(FIRST_PAUSE_S * 2 ** min(count - 1, 10), LONGEST_PAUSE_S)
    return Failures(count, now + pause, why)


def _progress(
    service: ServiceRecord, replicas: Sequence[Replica], memory: Memory, now: float
) -> tuple[str, int, float]:
    if service.rollout is None:
        return ("", 0, now)
    target = service.version(service.rollout.target)
    ready = sum(one.state == "ready" and one.revision == target.revision for one in replicas)
    name, most, since = memory.progress
    if name != target.name or ready > most:
        return (target.name, ready, now)
    return (name, most, since)


def _rollout(
    service: ServiceRecord, replicas: Sequence[Replica], memory: Memory, *, now: float, wall: float
) -> ServiceRecord:
    """The record as the rollout leaves it, when that has come to its end or to nothing."""
    rollout = service.rollout
    if rollout is None or service.deleted:
        return service
    target = service.version(rollout.target)
    ready = sum(one.state == "ready" and one.revision == target.revision for one in replicas)
    leaving = [
        one
        for one in replicas
        if one.revision != target.revision
        and _counts(one, memory, now)
        and one.workload_id not in memory.draining
    ]
    if ready >= _least_one(service, target) and not leaving:
        return changes.taken_over(service, now=wall)
    why = _failed(service, target, memory, now)
    if why is None or rollout.held:
        return service
    if service.update.on_failure == "rollback" and service.serving():
        return changes.given_up(service, why, now=wall)
    return changes.held(service, why, now=wall)


def _failed(service: ServiceRecord, target: Version, memory: Memory, now: float) -> str | None:
    failures = memory.failures.get(target.revision)
    if failures is not None:
        return f"a replica of {target.name} failed: {failures.why}"
    _, most, since = memory.progress
    limit_s = service.update.progress_timeout_s
    if now - since >= limit_s:
        return f"{target.name}: {most} replicas are ready, and no other became so in {limit_s:g} s"
    return None


# --- what is wanted ------------------------------------------------------------------------------


def _goal(service: ServiceRecord) -> dict[int, tuple[Version, int]]:
    """By revision, the versions that are to have replicas, and how many."""
    if service.deleted:
        return {}
    if service.rollout is not None:
        target = service.version(service.rollout.target)
        return {target.revision: (target, _least_one(service, target))}
    return {version.revision: (version, service.wanted(version)) for version in service.serving()}


def _least_one(service: ServiceRecord, target: Version) -> int:
    """What must be shown to work before it is trusted, even where the load asks for none."""
    serving = any(service.wanted(version) for version in service.serving())
    return max(service.wanted(target), 1 if serving or service.autoscale is not None else 0)


def _counts(one: Replica, memory: Memory, now: float) -> bool:
    """Whether it is one of the replicas wanted, or may soon be."""
    if one.state in {"ending", "ended"}:
        return False
    return one.state != "unreachable" or now - memory.lost.get(one.workload_id, now) < LOST_S


def _to_drain(
    service: ServiceRecord,
    goal: Mapping[int, tuple[Version, int]],
    present: Sequence[Replica],
    memory: Memory,
) -> list[Replica]:
    """Those that are one too many; what is being drained goes first, then what is not ready."""

    def order(one: Replica) -> tuple[bool, bool, int]:
        return (one.workload_id not in memory.draining, one.state == "ready", -one.number)

    drained: list[Replica] = []
    ready = 0
    for revision, (_, count) in goal.items():
        mine = sorted((one for one in present if one.revision == revision), key=order)
        drained += mine[: max(0, len(mine) - count)]
        ready += min(count, sum(one.state == "ready" for one in mine))
    leaving = sorted((one for one in present if one.revision not in goal), key=order)
    needed = sum(count for _, count in goal.values()) - service.update.max_unavailable - ready
    if service.rollout is not None and service.rollout.held:
        needed = len(leaving)
    return drained + leaving[: len(leaving) - max(0, min(needed, len(leaving)))]


def _to_create(
    service: ServiceRecord,
    goal: Mapping[int, tuple[Version, int]],
    present: Sequence[Replica],
    drained: Sequence[Replica],
    memory: Memory,
    now: float,
) -> list[str]:
    """Versions, one for each replica that is to be made now."""
    if service.rollout is not None and service.rollout.held:
        return []
    gone = {one.workload_id for one in drained}
    total = sum(count for _, count in goal.values())
    leaving = sum(one.revision not in goal and one.workload_id not in gone for one in present)
    staying = sum(one.revision in goal for one in present)
    allowed = total + service.update.max_surge - leaving - staying if leaving else total
    wanted: list[str] = []
    for revision, (version, count) in goal.items():
        failures = memory.failures.get(revision)
        if failures is not None and now < failures.again_at:
            continue
        missing = count - sum(one.revision == revision for one in present)
        wanted += [version.name] * max(0, missing)
    return wanted[: max(0, allowed)]


def _superseded(
    service: ServiceRecord, replicas: Sequence[Replica], known: Sequence[str]
) -> list[str]:
    """Ended replicas but the last that failed of each version, which is kept to be looked at."""
    ended = [one for one in replicas if one.state == "ended" and one.workload_id not in known]
    kept: dict[int, Replica] = {}
    for one in sorted(ended, key=lambda one: one.number):
        if one.failed and not service.deleted:
            kept[one.revision] = one
    ready = {one.revision for one in replicas if one.state == "ready"}
    shown = {one.workload_id for one in kept.values() if one.revision not in ready}
    return [one.workload_id for one in ended if one.workload_id not in shown]


def _wake_at(
    service: ServiceRecord, memory: Memory, replicas: Sequence[Replica], now: float
) -> float | None:
    times = [since + SETTLE_S for since in memory.draining.values()]
    times += [since + LOST_S for since in memory.lost.values()]
    times += [failures.again_at for failures in memory.failures.values()]
    if service.rollout is not None and not service.rollout.held:
        times.append(memory.progress[2] + service.update.progress_timeout_s)
    if any(one.state == "ending" for one in replicas):
        times.append(now + SETTLE_S)
    return min((at for at in times if at > now), default=None)


# --- what routers are told -----------------------------------------------------------------------


def _route(
    service: ServiceRecord,
    goal: Mapping[int, tuple[Version, int]],
    present: Sequence[Replica],
    draining: Mapping[str, float],
) -> ServiceRoute:
    named = {version.revision: version.name for version in service.versions}
    staying: dict[int, list[Replica]] = {revision: [] for revision in goal}
    for one in sorted(present, key=lambda one: one.number):
        if one.workload_id not in draining:
            staying.setdefault(one.revision, []).append(one)
    moving = service.rollout is not None or any(revision not in goal for revision in staying)
    return ServiceRoute(
        created_at=service.created_at,
        versions=tuple(
            RouteVersion(
                version=named.get(revision, f"revision {revision}"),
                weight=None if moving or revision not in goal else goal[revision][0].weight,
                replicas=tuple(one.workload_id for one in found),
                ready=tuple(one.workload_id for one in found if one.state == "ready"),
            )
            for revision, found in sorted(staying.items())
        ),
        retry=service.retry == "idempotent",
        hold_s=service.hold_s,
    )
