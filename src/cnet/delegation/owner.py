"""The owner's side: jobs this agent was asked for and has given to other nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

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
from cnet.delegation.state import decode
from cnet.delegation.world import J, World, is_leased
from cnet.model.lifecycle import Phase

FIRST_RETRY_S = 2.0
LAST_RETRY_S = 30.0
LEASE_MARGIN_S = 2.0
"""On top of lease and grace, for the kill itself and whatever the clocks differ by."""
CLOCK_DRIFT = 0.01
"""Share by which two machines' clocks may run apart."""
LAST_SEQ = 2**62
REFUSED_FOR_S = 60.0
"""How often nodes are asked again whose reason to refuse their state does not show."""
KEPT_BACK = frozenset({"phase", "reason", "detail", "ended_at", "log_tail", "exit_code"})
"""What a host that has not heard the last wish cannot know."""


@dataclass(slots=True)
class _Open:
    """Something the host has not answered yet."""

    due: float
    generation: int
    desired: str
    """the wish, as it is on the disk: one that a crash takes back must not have been heard"""
    pause_s: float = FIRST_RETRY_S
    sent: bool = False


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A node has refused a job."""

    reason: str
    until: tuple[int, int] | None
    """version of its state up to which it would refuse again; None: always"""

    @property
    def is_lasting(self) -> bool:
        """Whether waiting cannot help."""
        return self.until is None or self.until[1] == LAST_SEQ


class Owner(Generic[J]):
    """Gives jobs to hosts, follows them, and takes them back when that is surely safe."""

    def __init__(
        self,
        world: World[J],
        *,
        lease_s: float,
        incarnation_of: Callable[[str], int],
        reachable: Callable[[str], bool],
        placeable: Callable[[J], None],
        settled: Callable[[J, str, tuple[int, int]], None],
    ) -> None:
        """`placeable`: the job is this agent's to place again. `settled`: a host has answered, and
        its node's state of that version or later counts the job's room."""
        self._world = world
        self._lease_s = lease_s
        self._incarnation_of = incarnation_of
        self._reachable = reachable
        self._placeable = placeable
        self._settled = settled
        self._by_host: defaultdict[str, set[str]] = defaultdict(set)
        self._open: dict[str, _Open] = {}
        self._taken_from: set[str] = set()  # nodes that may not know what they have lost
        self._bound: dict[str, float] = {}  # until when a leased job may be running at its host
        self._refused: defaultdict[str, dict[str, _Refusal]] = defaultdict(dict)
        self._ask_again_at = 0.0

    # --- giving --------------------------------------------------------------------------------

    def assignment(self, job: J, node_id: str) -> dict[str, Any]:
        """The status changes that give the job to a node; make them, then call `assigned`."""
        return {
            "phase": Phase.PENDING,
            "host": node_id,
            "host_incarnation": self._incarnation_of(node_id),
            "assignment": job.status.assignment + 1,
            "answered": False,
            "host_version": (0, 0),
            "reason": "delegating",
            "detail": f"given to {node_id}, which has not answered yet",
        }

    def assigned(self, job: J) -> None:
        """The assignment is in the journal's queue: ask the host once it is durable."""
        self._follow(job)
        self._open_durably(job, sent=False)

    def tell(self, job: J) -> None:
        """There is a new wish for a job at a host: pass it on once it is durable."""
        self._open_durably(job, sent=True)

    def _open_durably(self, job: J, *, sent: bool) -> None:
        """Nothing is asked before that, whoever else wants to ask again meanwhile."""
        entry, k = self._entry(job, sent=sent), job.status.assignment

        def ask() -> None:
            if job.status.assignment == k and job.status.host is not None:
                self._open[job.id] = entry
                self._tell(job)

        self._world.durably(ask)

    def _follow_up_durably(self, job: J) -> None:
        """Ask how it stands if nothing is heard of it in a while."""
        entry, k = self._entry(job, sent=True), job.status.assignment

        def wait() -> None:
            if job.status.assignment == k and job.status.host is not None:
                entry.due = self._world.now() + FIRST_RETRY_S
                self._open.setdefault(job.id, entry)

        self._world.durably(wait)

    def _entry(self, job: J, *, sent: bool) -> _Open:
        status = job.status
        return _Open(self._world.now(), status.generation, status.desired, sent=sent)

    def excluded(
        self, job: J, version_of: Callable[[str], tuple[int, int] | None]
    ) -> Mapping[str, str]:
        """Nodes that have refused the job and do not look any different since → what they said."""
        refusals = self._refused.get(job.id)
        if not refusals:
            return {}
        found = {}
        for node_id, refusal in refusals.items():
            seen = version_of(node_id)
            if refusal.until is None or seen is None or seen <= refusal.until:
                found[node_id] = refusal.reason
        return found

    def refused(self, job: J, node_id: str, reason: str) -> None:
        """A node cannot run the job, and asking it again will not help."""
        self._refused[job.id][node_id] = _Refusal(reason, until=None)

    def recover(self, job: J) -> None:
        """After a start: a job that the journal says is at a host."""
        status = job.status
        self._by_host[str(status.host)].add(job.id)
        if status.is_terminal and status.desired != "deleted" and not status.generation:
            return
        if is_leased(job):
            # What the last incarnation granted is not known any more: the most it can have been.
            self._bound[job.id] = self._world.now() + self._held_for(job)
        self._open[job.id] = self._entry(job, sent=True)

    def forgotten(self, job: J) -> None:
        """The job is no more."""
        self._unfollow(job)
        self._refused.pop(job.id, None)

    def _follow(self, job: J) -> None:
        now = self._world.now()
        self._by_host[str(job.status.host)].add(job.id)
        if is_leased(job):
            self._bound[job.id] = now  # nothing was granted for this assignment

    def _unfollow(self, job: J) -> None:
        if job.status.host is not None:
            self._by_host[job.status.host].discard(job.id)
        self._open.pop(job.id, None)
        self._bound.pop(job.id, None)

    def _tell(self, job: J) -> None:
        status = job.status
        entry = self._open.get(job.id)
        if entry is None or status.host is None:
            return
        entry.due = self._world.now() + entry.pause_s
        entry.pause_s = min(entry.pause_s * 2, LAST_RETRY_S)
        message: Message
        if status.answered or entry.desired != "running":
            message = Want(
                id=job.id,
                k=status.assignment,
                generation=entry.generation,
                desired=entry.desired,
            )
        else:
            message = Assign(
                id=job.id,
                k=status.assignment,
                incarnation=status.host_incarnation,
                spec=job.spec.model_dump(mode="json"),
                created_at=status.created_at,
                attempt=status.attempt,
                generation=entry.generation,
                preempt=job.spec.priority > 0,
            )
        if self._world.send(status.host, message):
            entry.sent = True
        elif not entry.sent and isinstance(message, Assign):
            # It never left this agent, so nothing can come of it.
            self._take_back(job, f"{status.host} cannot be reached")

    # --- hearing -------------------------------------------------------------------------------

    def on_status(self, source: str, message: Status) -> None:
        """How a job stands at its host."""
        job = self._mine(source, message.id, message.k)
        if job is None:
            return
        ack = Ack(id=message.id, k=message.k, version=message.version)
        if message.version > job.status.host_version:
            if message.returned:
                self._take_back(job, str(message.state.get("detail") or "given back"))
            else:
                self._settled(job, source, message.node_version)
                self._mirror(job, message)
        if message.returned or job.status.is_terminal:
            self._world.durably(lambda: _ignore(self._world.send(source, ack)))
        else:
            self._world.send(source, ack)

    def on_refuse(self, source: str, message: Refuse) -> None:
        """A host does not take it: somewhere else, or later."""
        job = self._mine(source, message.id, message.k)
        if job is None:
            return
        seen = message.node_version
        # Another incarnation of the node may be able to do what this one never will.
        until = (seen[0], LAST_SEQ) if message.lasting else seen
        self._refused[job.id][source] = _Refusal(message.reason, until)
        self._take_back(job, f"{source}: {message.reason}")

    def on_gone(self, source: str, message: Gone) -> None:
        """Nothing of it is left at the host."""
        job = self._mine(source, message.id, message.k)
        if job is None:
            return
        if job.id in self._open or not job.status.is_terminal:
            self._take_back(job, f"{source} does not have it any more")

    def on_renew(self, source: str, message: Renew) -> None:
        """A host asks for more time for leased jobs."""
        granted: list[tuple[str, int]] = []
        for job_id, k in message.held:
            job = self._mine(source, job_id, k)
            if job is not None and is_leased(job):
                self._bound[job_id] = self._world.now() + self._held_for(job)
                granted.append((job_id, k))
        if granted:
            grant = Grant(
                incarnation=message.incarnation,
                asked_at=message.asked_at,
                lease_s=self._lease_s,
                held=tuple(granted),
            )
            self._world.send(source, grant)

    def _mine(self, source: str, job_id: str, k: int) -> J | None:
        """The job if that assignment is the valid one; tells the host where it is void."""
        job = self._world.get(job_id)
        if job is None:
            # It was deleted here, and the host has not heard of that.
            self._world.send(source, Drop(id=job_id, k=k))
            return None
        if job.status.owner is not None:
            return None
        if job.status.host == source and job.status.assignment == k:
            return job
        if k <= job.status.assignment:
            # Durably: what was taken back must stay so when the host has forgotten it.
            drop = Drop(id=job_id, k=k)
            self._world.durably(lambda: _ignore(self._world.send(source, drop)))
        return None

    def _mirror(self, job: J, message: Status) -> None:
        status = job.status
        changes = decode(message.state)
        if message.generation < status.generation:
            changes = {key: value for key, value in changes.items() if key not in KEPT_BACK}
        elif status.desired != "deleted":
            self._open.pop(job.id, None)
        self._world.change(job, **changes, answered=True, host_version=message.version)
        self._refused.pop(job.id, None)

    def _take_back(self, job: J, why: str) -> None:
        """The host has nothing of it and never will: it is this agent's to place again."""
        self._settled(job, str(job.status.host), (0, 0))
        self._unfollow(job)
        desired = job.status.desired
        self._world.change(
            job,
            phase=Phase.PENDING if desired == "running" else Phase.STOPPED,
            host=None,
            answered=False,
            endpoint=None,
            port=None,
            pid=None,
            gpu_devices=(),
            reason="placing" if desired == "running" else "stopped_by_user",
            detail=why if desired == "running" else None,
        )
        self._placeable(job)

    # --- time and links ------------------------------------------------------------------------

    def route_changed(self, node_id: str, *, up: bool) -> None:
        """A node can be reached again, or not any more."""
        ids = self._by_host.get(node_id, ())
        if up and (ids or node_id in self._taken_from):
            self._taken_from.discard(node_id)
            self._world.send(node_id, Follow())
        for job_id in sorted(ids):
            job = self._world.get(job_id)
            if job is None:
                continue
            if up and job_id in self._open:
                self._open[job_id].pause_s = FIRST_RETRY_S
                self._tell(job)
            elif up and not job.status.is_terminal:
                # `Follow` may be lost: ask for this one until something is heard of it.
                self._follow_up_durably(job)
            elif not up and not job.status.is_terminal:
                self._world.change(
                    job,
                    reason="node_unreachable",
                    detail=f"{node_id} cannot be reached; last known: {job.status.phase}",
                )

    def given_up(self, node_id: str) -> None:
        """A person says that a node will never be back: its jobs are placed again.

        Nobody can prove it; should the node return after all, it is told that they are void.
        """
        self._taken_from.add(node_id)
        for job_id in sorted(self._by_host.pop(node_id, ())):
            job = self._world.get(job_id)
            if job is not None and job.status.is_terminal and job.status.desired == "running":
                self._unfollow(job)
                self._world.change(job, host=None, detail=f"{node_id}, where it ran, was given up")
            elif job is not None:
                self._take_back(job, f"{node_id} was given up")

    def tick(self) -> None:
        """Say again what is unanswered; take back leased jobs whose lease is surely over."""
        now = self._world.now()
        for job_id in [key for key, entry in self._open.items() if entry.due <= now]:
            job = self._world.get(job_id)
            if job is not None:
                self._tell(job)
        for job_id in [key for key, bound in self._bound.items() if bound <= now]:
            job = self._world.get(job_id)
            if job is None or job.status.host is None or self._reachable(job.status.host):
                continue
            if not job.status.is_terminal:
                self._taken_from.add(job.status.host)
                self._take_back(job, f"{job.status.host} was lost and its lease is over")
        if self._ask_again_at <= now:
            self._ask_again_at = now + REFUSED_FOR_S
            self._forget_refusals()

    def _forget_refusals(self) -> None:
        for job_id, refusals in list(self._refused.items()):
            lasting = {node_id: each for node_id, each in refusals.items() if each.is_lasting}
            if len(lasting) == len(refusals):
                continue
            self._refused[job_id] = lasting
            job = self._world.get(job_id)
            if job is None or job.status.host is not None:
                continue
            if job.status.phase == Phase.PENDING and job.status.desired == "running":
                self._placeable(job)

    def _held_for(self, job: J) -> float:
        return (self._lease_s + job.spec.stop_grace_s) * (1 + CLOCK_DRIFT) + LEASE_MARGIN_S


def _ignore(_sent: bool) -> None:
    """The other side asks again when this was lost."""
