"""The host's side: jobs of other agents that run on this node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from cnet.delegation.messages import (
    Ack,
    Assign,
    Drop,
    Gone,
    Grant,
    Refuse,
    Renew,
    Status,
    Want,
)
from cnet.delegation.owner import FIRST_RETRY_S, LAST_RETRY_S
from cnet.delegation.preempting import PREEMPTION_WAIT_S
from cnet.delegation.state import encode
from cnet.delegation.world import J, World, is_leased
from cnet.model.lifecycle import Phase
from cnet.model.workload import WorkloadSpec

REFUSALS_KEPT_S = 600.0
"""A message cannot be under way for longer: links that are silent for seconds are closed."""
RENEWALS_PER_LEASE = 3
AUDIT_S = 180.0
"""How often an owner is asked whether it still wants all that is kept here for it."""
AUDITED_AT_ONCE = 500
NO_VERSION = (0, 0)
"""Older than any state of a node: the refusal says nothing about the next try."""


@dataclass(slots=True)
class _Unheard:
    """The owner has not acknowledged the newest status."""

    counter: int
    due: float
    pause_s: float = FIRST_RETRY_S


class Host(Generic[J]):
    """Takes jobs or refuses them, reports how they stand, and stops what is not wanted any more."""

    def __init__(
        self,
        world: World[J],
        *,
        incarnation: int,
        lease_s: float,
        unfit: Callable[[J], str | None],
        room_made: Callable[[J, WorkloadSpec], bool],
    ) -> None:
        """`unfit` says why this node must not take a job, whatever room it has. `room_made` begins
        to end preemptible jobs for this one; False when that is no use."""
        self._world = world
        self._incarnation = incarnation
        self._unfit = unfit
        self._room_made = room_made
        self._renew_every_s = lease_s / RENEWALS_PER_LEASE
        self._counter = 0
        self._refused: dict[str, tuple[int, float]] = {}  # id → highest void k, when
        self._admitting: dict[str, Assign] = {}
        self._undurable: set[str] = set()
        self._audit_due: float | None = None
        self._wishing: dict[str, int] = {}  # id → generation of the wish that is being done
        self._unheard: dict[str, _Unheard] = {}
        self._changed: dict[str, None] = {}
        self._awaiting_room: dict[str, float] = {}
        self._leases: dict[str, float] = {}
        self._renew_due: dict[str, float] = {}
        self._by_owner: defaultdict[str, set[str]] = defaultdict(set)

    # --- what the owner says -------------------------------------------------------------------

    def on_assign(self, owner: str, message: Assign) -> None:
        """Run this: durable before it is answered."""
        job = self._world.get(message.id)
        if job is not None:
            self._assigned_again(job, owner, message)
        elif message.id in self._admitting:
            return  # it is being looked at
        elif self._is_void(message.id, message.k):
            self._refuse(owner, message.id, message.k, "refused before", until=NO_VERSION)
        elif message.incarnation != self._incarnation:
            until = (self._incarnation, -1)
            self._refuse(owner, message.id, message.k, "restarted since", until=until)
        else:
            self._admitting[message.id] = message
            self._world.admit(message, owner, lambda found: self._decide(owner, message, found))

    def _assigned_again(self, job: J, owner: str, message: Assign) -> None:
        status = job.status
        if status.owner != owner:
            reason = f"id {job.id} belongs to a workload of {status.owner or 'this node'}"
            self._refuse(owner, message.id, message.k, reason, lasting=True)
        elif message.k == status.assignment:
            self.report(job)
        elif message.k > status.assignment:
            # The owner has taken it back meanwhile, which it only does when nothing runs here.
            # What is left of the older assignment goes first; until then the owner asks again.
            if status.returned:
                self._world.forget(job)
            else:
                self._end(job)

    def _decide(self, owner: str, message: Assign, found: J | str) -> None:
        del self._admitting[message.id]
        if isinstance(found, str):
            self._refuse(owner, message.id, message.k, found, lasting=True)
            return
        if self._is_void(message.id, message.k):
            self._refuse(owner, message.id, message.k, "taken back", until=NO_VERSION)
            return
        if (unfit := self._unfit(found)) is not None:
            self._refuse(owner, message.id, message.k, unfit)
            return
        why_not = self._world.reserve(found)
        if why_not is not None and not (message.preempt and self._room_made(found, found.spec)):
            self._refuse(owner, message.id, message.k, why_not)
            return
        self._undurable.add(found.id)
        self._by_owner[owner].add(found.id)
        self._world.accept(found)
        if why_not is not None:
            self._awaiting_room[found.id] = self._world.now() + PREEMPTION_WAIT_S
            self._world.change(found, reason="preempting", detail="others end to make room for it")
        elif is_leased(found):
            self._renew(owner)
        else:
            self._world.drive(found)
        self._world.durably(lambda: self._accepted(found))

    def _accepted(self, job: J) -> None:
        self._undurable.discard(job.id)
        self.report(job)

    def on_want(self, owner: str, message: Want) -> None:
        """A user's wish."""
        job = self._held_for(owner, message.id)
        if job is None or message.k > job.status.assignment:
            self._void(message.id, message.k)
            if job is None:
                self._world.send(owner, Gone(id=message.id, k=message.k))
            else:
                self._end(job)  # and `Gone` once that is done
        elif message.k == job.status.assignment:
            if message.generation > job.status.generation and not job.status.returned:
                self._wish(job, message)
            else:
                self.report(job)

    def _wish(self, job: J, message: Want) -> None:
        if self._wishing.get(job.id, 0) >= message.generation:
            return  # a late copy, of this one or of one that is overtaken

        def done() -> None:
            # Only now: a host that was killed in between must not say that it has heard the wish.
            if self._wishing.get(job.id) == message.generation:
                del self._wishing[job.id]
            if self._world.get(job.id) is job and message.generation > job.status.generation:
                self._world.change(job, generation=message.generation)
            self.report(job)

        self._wishing[job.id] = message.generation
        self._world.wish(job, message.desired, done)

    def _end(self, job: J) -> None:
        self._world.wish(job, "deleted", lambda: None)

    def on_drop(self, owner: str, message: Drop) -> None:
        """The assignment is void."""
        self._void(message.id, message.k)
        job = self._held_for(owner, message.id)
        if job is not None and job.status.assignment <= message.k:
            self._end(job)

    def on_ack(self, owner: str, message: Ack) -> None:
        """The owner has heard a status."""
        job = self._held_for(owner, message.id)
        unheard = self._unheard.get(message.id)
        if job is None or job.status.assignment != message.k:
            return
        if unheard is None or message.version < (self._incarnation, unheard.counter):
            return
        del self._unheard[message.id]
        if job.status.returned:
            self._world.forget(job)

    def on_follow(self, owner: str) -> None:
        """The owner is there again."""
        for job_id in sorted(self._by_owner.get(owner, ())):
            job = self._world.get(job_id)
            if job is not None:
                self.report(job)
        self._renew(owner)

    def on_grant(self, owner: str, message: Grant) -> None:
        """More time for leased jobs."""
        if message.incarnation != self._incarnation:
            return
        until = message.asked_at + message.lease_s
        for job_id, k in message.held:
            job = self._held_for(owner, job_id)
            if job is None or job.status.assignment != k or until <= self._world.now():
                continue
            if until > self._leases.get(job_id, 0.0):
                self._leases[job_id] = until
                self._world.leased(job, until)

    # --- what happens here ---------------------------------------------------------------------

    def lease(self, job: J) -> float | None:
        """Until when a leased job may run; None when it has no lease (yet, or any more)."""
        until = self._leases.get(job.id)
        return until if until is not None and until > self._world.now() else None

    def report(self, job: J) -> None:
        """Its status has changed, or somebody asks: tell the owner soon."""
        if job.id in self._undurable:
            return
        if not self._changed:
            self._world.soon(self._report_changed)
        self._changed[job.id] = None

    def _report_changed(self) -> None:
        changed, self._changed = self._changed, {}
        for job_id in changed:
            job = self._world.get(job_id)
            if job_id in self._undurable:
                continue  # told once it is durable
            if job is not None and job.status.owner is not None:
                self._counter += 1
                self._unheard[job_id] = _Unheard(
                    self._counter, due=self._world.now() + FIRST_RETRY_S
                )
                self._say(job)

    def _say(self, job: J) -> None:
        status = job.status
        self._world.send(
            str(status.owner),
            Status(
                id=job.id,
                k=status.assignment,
                version=(self._incarnation, self._unheard[job.id].counter),
                generation=status.generation,
                state=encode(status),
                node_version=self._world.node_version(),
                returned=status.returned,
            ),
        )

    def give_back(self, job: J, reason: str, detail: str) -> None:
        """Nothing of it runs here, and nothing will: it is its owner's again."""
        self._leases.pop(job.id, None)
        self._awaiting_room.pop(job.id, None)
        self._unheard.pop(job.id, None)  # what is acknowledged from here on is not this
        self._world.change(job, phase=Phase.FAILED, reason=reason, detail=detail, returned=True)
        self._undurable.add(job.id)
        self._world.durably(lambda: self._accepted(job))

    def queued(self, job: J) -> None:
        """A hosted job is pending: run it here now, or give it back."""
        if job.status.owner is None:
            raise ValueError(f"{job.id} is not hosted")
        if job.status.returned:
            # A restart that was asked for just before it was given back: its owner sees to it.
            self.give_back(job, str(job.status.reason), str(job.status.detail))
            return
        why_not = self._unfit(job) or self._world.reserve(job)
        if why_not is None:
            self._awaiting_room.pop(job.id, None)
            if is_leased(job) and self.lease(job) is None:
                self._renew(job.status.owner)
            else:
                self._world.drive(job)
        elif job.id not in self._awaiting_room:
            self.give_back(job, "no_capacity", why_not)

    def room_made(self) -> None:
        """There is more room: for those that wait for it, highest priority first."""
        waiting = [self._world.get(job_id) for job_id in self._awaiting_room]
        found = [job for job in waiting if job is not None and job.status.phase == Phase.PENDING]
        for job in sorted(found, key=lambda job: -job.spec.priority):
            self.queued(job)

    def forgotten(self, job: J) -> None:
        """All traces of it are erased."""
        owner, k = job.status.owner, job.status.assignment
        if owner is None:
            return
        self._void(job.id, k)
        self._by_owner[owner].discard(job.id)
        for book in (self._unheard, self._leases, self._awaiting_room, self._changed):
            book.pop(job.id, None)
        if not job.status.returned:
            self._world.send(owner, Gone(id=job.id, k=k))

    def recover(self, job: J) -> None:
        """After a start: a job that the journal says was taken for another agent."""
        self._by_owner[str(job.status.owner)].add(job.id)
        self._counter += 1
        self._unheard[job.id] = _Unheard(self._counter, due=self._world.now())
        status = job.status
        if status.returned:
            return
        if status.phase == Phase.PENDING:
            self.give_back(job, "no_capacity", "the node was restarted before there was room")
        elif status.reason == "lease_expired" and status.desired == "running":
            self.give_back(job, "lease_expired", str(status.detail))

    def route_changed(self, node_id: str, *, up: bool) -> None:
        """An agent can be reached again: it may be an owner that has missed something.

        Or one that has taken back what it could not reach: it says so of all that is told.
        """
        if up:
            self.on_follow(node_id)

    def tick(self) -> None:
        """Say again what was not heard, renew leases, give up waiting, forget old refusals."""
        now = self._world.now()
        for job_id in [key for key, entry in self._unheard.items() if entry.due <= now]:
            job = self._world.get(job_id)
            if job is None or job_id in self._undurable:
                continue
            entry = self._unheard[job_id]
            entry.pause_s = min(entry.pause_s * 2, LAST_RETRY_S)
            entry.due = now + entry.pause_s
            self._say(job)
        for owner in [owner for owner, due in self._renew_due.items() if due <= now]:
            self._renew(owner)
        if self._audit_due is None or self._audit_due <= now:
            self._audit_due = now + AUDIT_S
            self._audit()
        for job_id in [key for key, limit in self._awaiting_room.items() if limit <= now]:
            del self._awaiting_room[job_id]
            job = self._world.get(job_id)
            if job is not None and job.status.phase == Phase.PENDING:
                self.give_back(job, "no_capacity", "no room came free in time")
        for job_id in [k for k, (_, at) in self._refused.items() if at <= now - REFUSALS_KEPT_S]:
            del self._refused[job_id]

    # --- parts ---------------------------------------------------------------------------------

    def _renew(self, owner: str) -> None:
        now = self._world.now()
        held = []
        for job_id in sorted(self._by_owner.get(owner, ())):
            job = self._world.get(job_id)
            if job is not None and is_leased(job) and job.status.holds_room:
                held.append((job_id, job.status.assignment))
        if held:
            self._renew_due[owner] = now + self._renew_every_s
            self._world.send(
                owner, Renew(incarnation=self._incarnation, asked_at=now, held=tuple(held))
            )
        else:
            self._renew_due.pop(owner, None)

    def _audit(self) -> None:
        """What an owner has taken back while this node was lost, it says when asked."""
        for owner, job_ids in sorted(self._by_owner.items()):
            found = [self._world.get(job_id) for job_id in sorted(job_ids)]
            held = [(job.id, job.status.assignment) for job in found if job is not None]
            for start in range(0, len(held), AUDITED_AT_ONCE):
                part = tuple(held[start : start + AUDITED_AT_ONCE])
                self._world.send(
                    owner,
                    Renew(incarnation=self._incarnation, asked_at=self._world.now(), held=part),
                )

    def _held_for(self, owner: str, job_id: str) -> J | None:
        job = self._world.get(job_id)
        return job if job is not None and job.status.owner == owner else None

    def _is_void(self, job_id: str, k: int) -> bool:
        return self._refused.get(job_id, (-1, 0.0))[0] >= k

    def _void(self, job_id: str, k: int) -> None:
        highest = max(k, self._refused.get(job_id, (-1, 0.0))[0])
        self._refused[job_id] = (highest, self._world.now())

    def _refuse(
        self,
        owner: str,
        job_id: str,
        k: int,
        reason: str,
        *,
        lasting: bool = False,
        until: tuple[int, int] | None = None,
    ) -> None:
        """`until`: the version up to which this node would refuse again; default: as it is now."""
        self._void(job_id, k)
        refusal = Refuse(
            id=job_id,
            k=k,
            reason=reason,
            lasting=lasting,
            node_version=self._world.node_version() if until is None else until,
        )
        self._world.send(owner, refusal)
