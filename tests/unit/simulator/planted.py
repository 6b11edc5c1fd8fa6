"""Bugs to put into the product: each one switches off a single rule that keeps a promise.

That the simulation finds every one of them is what gives its silence a meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cnet.cluster.exchange import Exchange
from cnet.cluster.frames import Update
from cnet.delegation.coordinator import Coordinator
from cnet.delegation.host import Host
from cnet.delegation.messages import Ack, Grant, Renew, Status, Want
from cnet.delegation.owner import Owner

Plant = Callable[[pytest.MonkeyPatch], None]


def nothing_is_repaired(patch: pytest.MonkeyPatch) -> None:
    """Agents that find each other again do not compare what they hold.

    That mends what several of the bugs below leave behind, before a run is over and looked at.
    """
    original = Owner._mine

    def mine(self: Owner[Any], source: str, job_id: str, k: int) -> Any:
        if self._world.get(job_id) is None:
            self._world.send(source, Ack(id=job_id, k=k, version=(2**62, 0)))
            return None
        return original(self, source, job_id, k)

    def route_changed(self: Host[Any], node_id: str, *, up: bool) -> None:
        if up:
            self._renew(node_id)

    patch.setattr(Owner, "_mine", mine)
    patch.setattr(Host, "route_changed", route_changed)


def host_forgets_what_it_refused(patch: pytest.MonkeyPatch) -> None:
    """A late copy of a request is taken though its owner has long placed it elsewhere."""
    patch.setattr(Host, "_is_void", lambda *_: False)


def unreachable_means_lost(patch: pytest.MonkeyPatch) -> None:
    """The owner places a job again as soon as its host cannot be reached."""
    original = Owner.route_changed

    def route_changed(self: Owner[Any], node_id: str, *, up: bool) -> None:
        original(self, node_id, up=up)
        if not up:
            for job_id in sorted(self._by_host.get(node_id, ())):
                job = self._world.get(job_id)
                if job is not None and not job.status.is_terminal:
                    self._take_back(job, "lost")

    patch.setattr(Owner, "route_changed", route_changed)


def lease_bound_without_margin(patch: pytest.MonkeyPatch) -> None:
    """The owner forgets that a run may take its grace to end."""
    patch.setattr(Owner, "_held_for", lambda self, _job: self._lease_s)


def lease_granted_unnoticed(patch: pytest.MonkeyPatch) -> None:
    """The owner grants more time and does not remember it."""
    original = Owner.on_renew

    def on_renew(self: Owner[Any], source: str, message: Renew) -> None:
        bounds = dict(self._bound)
        original(self, source, message)
        self._bound.update(bounds)

    patch.setattr(Owner, "on_renew", on_renew)


def lease_forgotten_by_a_restart(patch: pytest.MonkeyPatch) -> None:
    """An owner that was restarted believes that it has granted nothing."""
    original = Owner.recover

    def recover(self: Owner[Any], job: Any) -> None:
        original(self, job)
        if job.id in self._bound:
            self._bound[job.id] = self._world.now()

    patch.setattr(Owner, "recover", recover)


def lease_counted_from_its_arrival(patch: pytest.MonkeyPatch) -> None:
    """The host counts a lease from when it comes, not from when it asked."""
    original = Host.on_grant

    def on_grant(self: Host[Any], owner: str, message: Grant) -> None:
        late = msgspec.structs.replace(message, asked_at=self._world.now() + message.lease_s)
        original(self, owner, late)

    patch.setattr(Host, "on_grant", on_grant)


def asked_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    """The owner asks a host for which its own disk has no record yet."""

    def assigned(self: Owner[Any], job: Any) -> None:
        self._follow(job)
        self._open[job.id] = self._entry(job, sent=False)
        self._tell(job)

    patch.setattr(Owner, "assigned", assigned)


def wish_noted_before_it_is_done(patch: pytest.MonkeyPatch) -> None:
    """The host says that it has heard a wish, and may be killed before it has acted on it."""
    original = Host._wish

    def wish(self: Host[Any], job: Any, message: Want) -> None:
        generation = message.generation
        if self._wishing.get(job.id) != generation:
            self._world.change(job, generation=generation)
            self._world.durably(lambda: original(self, job, message))

    patch.setattr(Host, "_wish", wish)


def any_acknowledgement_will_do(patch: pytest.MonkeyPatch) -> None:
    """A job that was given back is forgotten when an older status of it is acknowledged."""
    original = Host.on_ack

    def on_ack(self: Host[Any], owner: str, message: Ack) -> None:
        original(self, owner, msgspec.structs.replace(message, version=(2**60, 0)))

    patch.setattr(Host, "on_ack", on_ack)


def said_once(patch: pytest.MonkeyPatch) -> None:
    """Whatever is lost on its way is not said again."""
    patch.setattr("cnet.delegation.owner.FIRST_RETRY_S", 1e9)
    patch.setattr("cnet.delegation.host.FIRST_RETRY_S", 1e9)


def older_news_win(patch: pytest.MonkeyPatch) -> None:
    """The owner believes whatever status comes last."""
    original = Owner.on_status

    def on_status(self: Owner[Any], source: str, message: Status) -> None:
        job = self._world.get(message.id)
        if job is not None and job.status.host_version > message.version:
            self._world.change(job, host_version=(0, 0))
        original(self, source, message)

    patch.setattr(Owner, "on_status", on_status)


def debits_are_kept(patch: pytest.MonkeyPatch) -> None:
    """Room that was asked for is counted for ever, also when the request was refused."""
    patch.setattr(Coordinator, "_settled", lambda *_: None)


def room_comes_unnoticed(patch: pytest.MonkeyPatch) -> None:
    """Nobody who waits is tried again."""
    patch.setattr(Coordinator, "look_again", lambda _: None)


def nothing_is_dropped(patch: pytest.MonkeyPatch) -> None:
    """A host is not told that its assignment is void."""
    original = Owner._mine

    def mine(self: Owner[Any], source: str, job_id: str, k: int) -> Any:
        job = self._world.get(job_id)
        if job is None or (job.status.host, job.status.assignment) != (source, k):
            return None
        return original(self, source, job_id, k)

    patch.setattr(Owner, "_mine", mine)


def gaps_go_unnoticed(patch: pytest.MonkeyPatch) -> None:
    """An update that was lost on its way is not missed."""
    original = Exchange._receive_update

    def receive_update(self: Exchange, link: Any, update: Update) -> None:
        if link.into.synced and not update.full:
            link.into.n = update.n - 1
        original(self, link, update)

    patch.setattr(Exchange, "_receive_update", receive_update)


HIDDEN: tuple[Plant, ...] = (
    asked_before_it_is_durable,
    wish_noted_before_it_is_done,
)
"""What these leave behind is mended before a run is over, unless `nothing_is_repaired`."""

PLANTS: tuple[Plant, ...] = (
    nothing_is_repaired,
    host_forgets_what_it_refused,
    unreachable_means_lost,
    lease_bound_without_margin,
    lease_granted_unnoticed,
    lease_forgotten_by_a_restart,
    lease_counted_from_its_arrival,
    any_acknowledgement_will_do,
    said_once,
    older_news_win,
    debits_are_kept,
    room_comes_unnoticed,
    nothing_is_dropped,
    gaps_go_unnoticed,
)
