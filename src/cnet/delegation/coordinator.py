"""Where jobs go: own node, another one, or the queue; and the two sides of delegation behind it.

Pure: it is told the time, news and messages, and asks its `World` for everything else, so that the
simulator drives the very code that an agent runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any, Generic

from cnet.delegation.debits import Debits
from cnet.delegation.host import Host
from cnet.delegation.messages import (
    Ack,
    Assign,
    Drop,
    Follow,
    Gone,
    Grant,
    Message,
    Refuse,
    Renew,
    Status,
    Want,
)
from cnet.delegation.owner import Owner
from cnet.delegation.preempting import Preempting, may_preempt
from cnet.delegation.world import J, World
from cnet.model.lifecycle import HOLDS_ROOM, Phase
from cnet.model.node import KnownNode
from cnet.model.resources import Resources
from cnet.model.workload import Strategy, WorkloadSpec
from cnet.scheduler import (
    LASTING,
    NodeIndex,
    PendingQueue,
    Plan,
    failures,
    fits,
    node_to_preempt,
    plan,
    priority_disturbed,
    shape_of,
)
from cnet.scheduler.checks import capacity_suffices, room_suffices

KEPT = "room is being made for a higher priority"
MOST_EXPLAINED = 64
"""Nodes up to which a waiting job's status says why each one does not do."""
EXPLAINED_PER_TICK = 2
"""Waiting jobs whose status is brought up to date, of as many as there are kinds of them."""


class Coordinator(Generic[J]):
    """Places the jobs of one agent.

    The embedder calls `node_changed`, `route_changed`, `receive` and `tick` with news, `place` and
    `tell` for users' wishes, and `changed` and `forgotten` when jobs change here.
    """

    def __init__(
        self,
        node_id: str,
        world: World[J],
        *,
        incarnation: int,
        strategy: Strategy,
        lease_s: float,
    ) -> None:
        self._node_id = node_id
        self._world = world
        self._strategy: Strategy = strategy
        self.index = NodeIndex()
        self._known: dict[str, KnownNode] = {}
        self._debits: defaultdict[str, Debits] = defaultdict(Debits)
        self._queue = PendingQueue()
        self._pass_due = False
        self._grown: dict[str, None] = {}
        """nodes that may offer something since the last pass that they did not before"""
        self._refused_by: defaultdict[str, set[str]] = defaultdict(set)
        """nodes → jobs that found no room and that the node refuses until it looks different"""
        self._unexplained: dict[str, None] = {}
        """queued since the last pass, so that nobody has been told why they wait"""
        self._outdated = False
        """something is new since those that wait were told why"""
        self._to_explain: list[str] = []
        self._preempting: Preempting[J] = Preempting(world, lambda: self._known.get(node_id))
        self.owner: Owner[J] = Owner(
            world,
            lease_s=lease_s,
            incarnation_of=self._incarnation_of,
            reachable=self.reachable,
            placeable=self._placeable,
            settled=self._settled,
        )
        self.host: Host[J] = Host(
            world,
            incarnation=incarnation,
            lease_s=lease_s,
            unfit=self._unfit,
            room_made=self._preempting.make_room,
        )

    # --- news ----------------------------------------------------------------------------------

    def node_changed(self, node_id: str, node: KnownNode | None) -> None:
        """The view has something new about a node; None when it is not known any more."""
        if node is None:
            self._known.pop(node_id, None)
            self._refused_by.pop(node_id, None)
            self.index.remove(node_id)
        else:
            self._known[node_id] = node
        self._drop_counted(node_id)
        self._reindex(node_id)
        self._retry_refused(node_id)
        self._outdated = True

    def route_changed(self, node_id: str, *, up: bool) -> None:
        """A node can be reached from now on, or not any more."""
        self.owner.route_changed(node_id, up=up)
        self.host.route_changed(node_id, up=up)

    def receive(self, source: str, message: Message) -> None:
        """What another agent says."""
        match message:
            case Assign():
                self.host.on_assign(source, message)
            case Want():
                self.host.on_want(source, message)
            case Drop():
                self.host.on_drop(source, message)
            case Ack():
                self.host.on_ack(source, message)
            case Follow():
                self.host.on_follow(source)
            case Grant():
                self.host.on_grant(source, message)
            case Status():
                self.owner.on_status(source, message)
            case Refuse():
                self.owner.on_refuse(source, message)
            case Gone():
                self.owner.on_gone(source, message)
            case Renew():
                self.owner.on_renew(source, message)

    def tick(self) -> None:
        """Once in a while, at the least every second."""
        self.owner.tick()
        self.host.tick()
        if self._preempting.expire():
            self._queue.wake()
            self.look_again()
        self._explain_anew()

    # --- placing -------------------------------------------------------------------------------

    def choose(self, job: J) -> str | None:
        """The best node for an own job now; None when it fits nowhere."""
        excluded = self._excluded(job)
        spec, wanted = self._as_placed(job.spec, job.wanted)
        return self.index.best(
            spec,
            wanted,
            strategy=job.spec.strategy or self._strategy,
            now=self._world.now(),
            exclude=excluded,
        )

    def plan(self, spec: WorkloadSpec, job: J | None = None) -> Plan:
        """Where it would go, best first, and why not elsewhere."""
        excluded = self._excluded(job) if job is not None else {}
        spec, wanted = self._as_placed(spec, spec.requirements.to_resources())
        return plan(
            spec,
            self.index,
            wanted=wanted,
            strategy=spec.strategy or self._strategy,
            now=self._world.now(),
            exclude=excluded,
        )

    def may_hold(self, spec: WorkloadSpec) -> set[str]:
        """The nodes that could run it, now or when they have room."""
        spec, wanted = self._as_placed(spec, spec.requirements.to_resources())
        now = self._world.now()
        return {
            node.node_id
            for node in self.index.nodes()
            if not any(check in LASTING for check, _ in failures(spec, wanted, node, now))
        }

    def _as_placed(self, spec: WorkloadSpec, wanted: Resources) -> tuple[WorkloadSpec, Resources]:
        """With a reservation that still holds room: its node, and what is needed beyond it."""
        held = None if spec.reservation is None else self._world.get(str(spec.reservation))
        if held is None or held.status.phase not in HOLDS_ROOM:
            return spec, wanted
        node_id = held.status.host or self._node_id
        return spec.model_copy(update={"node": node_id}), wanted.minus_floor(held.wanted)

    def enqueue(self, job: J) -> None:
        """A pending job that found no room waits for the event that makes some."""
        if job.id in self._queue:
            self._queue.wake_one(job.id)  # something about it must have changed
        self._queue.add(job.id, job.spec.priority, shape_of(job.spec))
        self._unexplained[job.id] = None

    def place(self, job: J) -> None:
        """Place a pending job now, or queue it. Hosted ones run here or go back to their owner."""
        preempted = self._preempting.has_ended(job)
        if job.status.owner is not None and preempted:
            self.host.give_back(job, "preempted", "it made room for a higher priority")
        elif job.status.owner is not None:
            self.host.queued(job)
        else:
            self.enqueue(job)
            self.look_again()

    def debit(self, job: J, node_id: str) -> None:
        """Count room and labels of a job just given to a node until that node counts it itself."""
        labels = (f"{key}={value}" for key, value in job.spec.labels.items())
        self._debits[node_id].add(job.id, job.wanted, labels)
        self._reindex(node_id)

    def assign(self, job: J, node_id: str) -> dict[str, Any]:
        """The status changes that give a job to another node. Make them, then call `assigned`."""
        self.debit(job, node_id)
        return self.owner.assignment(job, node_id)

    def look_again(self) -> None:
        """Something may fit now that did not before."""
        if not self._pass_due:
            self._pass_due = True
            self._world.soon(self._place_pending)

    def _place_pending(self) -> None:
        self._pass_due = False
        self.host.room_made()
        grown = [node for node_id in self._grown if (node := self.index.get(node_id)) is not None]
        self._grown.clear()
        if grown:
            self._queue.wake(lambda job_id: self._may_help(job_id, grown))
        details: dict[Hashable, str] = {}
        for job_id in self._queue.retry(self._has_own_reasons):
            job = self._queued(job_id)
            if job is None:
                self._queue.discard(job_id)
                continue
            node_id = self.choose(job)
            if node_id is None and job.status.reason == "no_capacity":
                self._preempt_for(job)  # why it waits is told anew by and by
            elif node_id is None:
                shape = self._queue.shape(job_id)
                detail = self._explain(job)
                if not self._has_own_reasons(job_id):
                    details[shape] = detail
            elif self._go(job, node_id):
                self._queue.discard(job_id)
        unexplained, self._unexplained = self._unexplained, {}
        for job_id in unexplained:  # passed over, because another of the same shape found no room
            job = self._queued(job_id)
            if job is not None and job_id in self._queue and job.status.reason != "no_capacity":
                self._explain(job, details.get(self._queue.shape(job_id)))

    def _queued(self, job_id: str) -> J | None:
        job = self._world.get(job_id)
        waits = job is not None and job.status.phase == Phase.PENDING and job.status.host is None
        return job if waits else None

    def _may_help(self, job_id: str, nodes: list[KnownNode]) -> bool:
        """Whether one of the nodes may be one for this job, or another of its shape."""
        job = self._world.get(job_id)
        if job is None or job.spec.reservation is not None:
            return bool(nodes)
        now, spec, wanted = self._world.now(), job.spec, job.wanted
        for node in nodes:
            if wanted.fits(node.state.available):
                if fits(spec, wanted, node, now):
                    return True
            elif may_preempt(spec) and priority_disturbed(spec, wanted, node, now) is not None:
                return True
        return False

    def _has_own_reasons(self, job_id: str) -> bool:
        """After it found no room: whether a node refuses it that may take others of its shape."""
        job = self._world.get(job_id)
        if job is None:
            return False
        refusals = self.owner.excluded(job, self._version_of)
        for node_id in refusals:
            self._refused_by[node_id].add(job_id)
        nodes = [node for node_id in refusals if (node := self.index.get(node_id)) is not None]
        return self._may_help(job_id, nodes)

    def _retry_refused(self, node_id: str) -> None:
        """The node looks different: it may take what it has refused as it was."""
        for job_id in list(self._refused_by.get(node_id, ())):
            job = self._queued(job_id)
            if job is not None and node_id in self.owner.excluded(job, self._version_of):
                continue
            self._refused_by[node_id].discard(job_id)
            if job is not None:
                self._queue.wake_one(job_id)
                self.look_again()
        if not self._refused_by.get(node_id):
            self._refused_by.pop(node_id, None)

    def _explain_anew(self) -> None:
        """A few of those that wait are told again why, where something is new."""
        if not self._to_explain and self._outdated and len(self.index) <= MOST_EXPLAINED:
            self._outdated = False
            self._to_explain = self._queue.heads()
        for _ in range(min(EXPLAINED_PER_TICK, len(self._to_explain))):
            job_id = self._to_explain.pop()
            job = self._queued(job_id)
            if job is not None and job_id in self._queue:
                self._explain(job)

    def _go(self, job: J, node_id: str) -> bool:
        if node_id != self._node_id:
            self._world.change(job, **self.assign(job, node_id))
            self.owner.assigned(job)
            return True
        why_not = self._world.reserve(job)
        if why_not is None:
            self._world.drive(job)
            return True
        return job.status.phase != Phase.PENDING  # it may have failed for good over that

    def _explain(self, job: J, known: str | None = None) -> str:
        """Say why it waits, and have others end for it where that helps.

        `known`: what another of the same shape was just told.
        """
        if known is not None:
            detail = known
        elif len(self.index) <= MOST_EXPLAINED:
            detail = "; ".join(self.plan(job.spec, job).reasons())
        else:
            detail = f"no node has room ({len(self.index)} looked at)"
        if known is None:
            self._preempt_for(job)
        status = job.status
        if status.phase != Phase.PENDING or status.host is not None:
            return detail  # it is on its way after all
        if not job.spec.queue and not status.attempt:
            # It was given to a node that refused it, after the submit had found room there.
            self._queue.discard(job.id)
            self._world.change(job, phase=Phase.FAILED, reason="no_capacity", detail=detail)
        elif (status.reason, status.detail) != ("no_capacity", detail):
            self._world.change(job, reason="no_capacity", detail=detail)
        return detail

    def _preempt_for(self, job: J) -> None:
        """Have others end for it, where there are some whose end helps."""
        if not may_preempt(job.spec):
            return
        spec, wanted = self._as_placed(job.spec, job.wanted)
        excluded = self._excluded(job)
        now = self._world.now()
        node_id = node_to_preempt(spec, wanted, self.index, now=now, exclude=excluded)
        if node_id == self._node_id:
            self._preempting.make_room(job, job.spec)
        elif node_id is not None:
            self._queue.discard(job.id)
            self._world.change(job, **self.assign(job, node_id))
            self.owner.assigned(job)

    def _excluded(self, job: J) -> Mapping[str, str]:
        """Nodes that it cannot go to now, whatever room they show → why."""
        excluded = self.owner.excluded(job, self._version_of)
        return {**excluded, self._node_id: KEPT} if self._preempting.is_kept_from(job) else excluded

    # --- what the embedder tells of jobs -------------------------------------------------------

    def recover(self, job: J) -> None:
        """After a start: take up a job of the journal."""
        status = job.status
        if status.owner is not None:
            self.host.recover(job)
        elif status.host is not None:
            self.owner.recover(job)
        elif status.phase == Phase.PENDING:
            self.enqueue(job)
            self.look_again()

    def assigned(self, job: J) -> None:
        """A job that was given to another node is on its way to the journal."""
        self.owner.assigned(job)

    def tell(self, job: J) -> None:
        """A user's wish for a job on another node is durable: pass it on."""
        self.owner.tell(job)

    def discard(self, job: J) -> None:
        """It does not wait for room any more."""
        self._queue.discard(job.id)

    def changed(self, job: J) -> None:
        """The status of a job has changed here."""
        if job.status.phase != Phase.PENDING:
            self._queue.forget(job.id)
        self._preempting.changed(job)
        if job.status.owner is not None:
            self.host.report(job)

    def forgotten(self, job: J) -> None:
        """A job is erased."""
        self._queue.discard(job.id)
        self._queue.forget(job.id)
        self._preempting.forgotten(job)
        self.owner.forgotten(job)
        self.host.forgotten(job)

    def debits(self) -> dict[str, list[str]]:
        """Node → ids of the jobs whose room is counted there ahead of what the node says."""
        return {node_id: sorted(debits) for node_id, debits in self._debits.items() if debits}

    # --- parts ---------------------------------------------------------------------------------

    def _placeable(self, job: J) -> None:
        if job.status.desired == "deleted":
            self._world.forget(job)
        elif job.status.phase == Phase.PENDING:
            self.place(job)

    def _settled(self, job: J, node_id: str, version: tuple[int, int]) -> None:
        debits = self._debits.get(node_id)
        if debits is not None and job.id in debits:
            debits.answered(job.id, version)
            if self._drop_counted(node_id):
                self._reindex(node_id)

    def _drop_counted(self, node_id: str) -> bool:
        """What the node's state, as it is known now, counts itself is not counted here as well."""
        debits = self._debits.get(node_id)
        if debits is None:
            return False
        dropped = debits.seen(self._version_of(node_id))
        if not debits:
            del self._debits[node_id]
        return dropped

    def _reindex(self, node_id: str) -> None:
        """Let the scheduler see the node as it is, less what was just promised to others."""
        node = self._known.get(node_id)
        if node is None:
            return
        before = self.index.get(node_id)
        if (debits := self._debits.get(node_id)) is not None:
            node = replace(node, state=debits.taken_from(node.state))
        self.index.put(node)
        if before is None or _may_have_more(before, node):
            self._grown[node_id] = None
            self.look_again()

    def _version_of(self, node_id: str) -> tuple[int, int] | None:
        node = self._known.get(node_id)
        return None if node is None else node.state.version

    def _incarnation_of(self, node_id: str) -> int:
        return self._known[node_id].state.incarnation

    def reachable(self, node_id: str) -> bool:
        """Whether a node can be reached now, as far as the view tells."""
        node = self._known.get(node_id)
        return node is not None and node.reachable

    def _unfit(self, job: J) -> str | None:
        """Why this node must not take a job, room aside: its owner may know less than the node."""
        self._world.node_version()
        own = self._known.get(self._node_id)
        if own is None:
            return None
        found = failures(job.spec, job.wanted, own, self._world.now())
        reasons = [why for check, why in found if check not in {room_suffices, capacity_suffices}]
        if self._preempting.is_kept_from(job):
            reasons.append(KEPT)
        return ", ".join(reasons) or None

    @property
    def known(self) -> Mapping[str, KnownNode]:
        """Every node of the view."""
        return self._known


def _may_have_more(before: KnownNode, after: KnownNode) -> bool:
    """Whether something that did not fit may fit now."""
    old, new = before.state, after.state
    return (
        (after.reachable and not before.reachable)
        or (after.candidate and not before.candidate)
        or (old.draining and not new.draining)
        or not new.available.fits(old.available)
        or old.labels != new.labels
        or old.kinds != new.kinds
        or old.incarnation != new.incarnation
        or old.workload_labels != new.workload_labels
        or old.preemptible != new.preemptible
    )
