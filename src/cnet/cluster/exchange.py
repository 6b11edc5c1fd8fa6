"""Spreads what agents know of nodes over their links; with it, messages go hop by hop.

Sans-I/O: links report what happens (`link_up`, `receive`, …); frames leave through `transmit`, time
comes in by `now`. What one link is told:

- a parent: the own node, everything below, the own peers and those of nodes below;
- a peer: the own node, with `share` also the nodes below;
- a child: the own node, and to one that wants all (it escalates) everything not learned from it.

Adverts carry the whole path to their node, so that no way leads in a circle. Among several ways to
a node each link is told the shortest it may be told of. As every hop makes a way longer, this
settles on the shortest permitted ways whatever the topology.

Updates are numbered per link. One that is missing shows as a gap, by the next change or by the
empty update that an idle link sends every few seconds, and makes the receiver ask for everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from cnet.cluster.forwarding import Forwarding
from cnet.cluster.frames import MAX_HOPS, Advert, Frame, Post, Resync, Update
from cnet.errors import MalformedError
from cnet.model.node import NodeState
from cnet.register.view import Description, Heard, LinkRole, View

MAX_ADVERTS = 200
"""in one update; more are continued in the next, so that nothing waits long behind one frame"""
IDLE_S = 5.0
"""seconds without an update after which an empty one shows whether the last one arrived"""
RESYNC_S = 1.0
"""seconds until an unanswered resync is repeated; doubles up to RESYNC_MAX_S"""
RESYNC_MAX_S = 8.0


@dataclass(slots=True)
class _Outgoing:
    """What has been and what is to be told over a link."""

    n: int = 0
    sent_at: float = 0.0
    full: bool = True
    told: dict[str, tuple[object, ...]] = field(default_factory=dict)
    """by node: what the last advert said, the state by its version"""
    changed: dict[str, None] = field(default_factory=dict)
    """nodes to look at in the next flush, in the order they changed"""
    announced: bool = False
    """the owner knows that there is something to flush"""


@dataclass(slots=True)
class _Incoming:
    """How much of what a link says has arrived."""

    n: int = 0
    synced: bool = False
    untold: set[str] | None = None
    """while a full update is arriving: nodes it has not told of yet"""
    ask_at: float = 0.0
    """when to ask for everything if it has not come by then"""
    patience_s: float = RESYNC_S


@dataclass(slots=True)
class _Link:
    peer_id: str
    role: LinkRole
    wants_all: bool
    out: _Outgoing = field(default_factory=_Outgoing)
    into: _Incoming = field(default_factory=_Incoming)


class Exchange:
    """One agent's part in spreading the view; see the module."""

    def __init__(
        self,
        node_id: str,
        *,
        escalate: bool,
        share: bool,
        transmit: Callable[[str, Frame], None],
        deliver: Callable[[str, Any], None],
        route_changed: Callable[[str, bool], None],
        dirty: Callable[[str], None],
        now: Callable[[], float],
        links_changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`transmit(peer_id, frame)` sends, `deliver(source, body)` hands over a message for us.

        `route_changed(node_id, up)` tells that messages to a node can or cannot be sent from now
        on; `up` is told again when the node has another incarnation, since what was under way to
        the former one may be lost. `dirty(peer_id)` asks for `flush(peer_id)` in at most 20 ms;
        `now()` is monotonic seconds.
        """
        self.node_id = node_id
        self.view = View(node_id, escalate=escalate)
        self._forwarding = Forwarding(
            self.view, transmit=transmit, deliver=deliver, route_changed=route_changed
        )
        self._share = share
        self._transmit = transmit
        self._dirty = dirty
        self._now = now
        self._links_changed = links_changed
        self._links: dict[str, _Link] = {}

    @property
    def dropped(self) -> int:
        """Messages given up because there was no way on, or a loop."""
        return self._forwarding.dropped

    def links(self) -> dict[str, LinkRole]:
        """The agents that a link is up to, and what they are."""
        return {peer_id: link.role for peer_id, link in self._links.items()}

    def set_self(self, state: NodeState) -> None:
        """The own node is like this now; ignored unless its version is a newer one."""
        if self.view.set_self(state, self._now()):
            for link in self._links.values():
                self._mark(link, [self.node_id])

    def link_up(self, peer_id: str, role: LinkRole, *, wants_all: bool = False) -> None:
        """A link is open. One that was up to the same agent is replaced.

        Frames of the former link must not be handed in any more.
        """
        if peer_id in self._links:
            self.link_down(peer_id)
        now = self._now()
        link = self._links[peer_id] = _Link(peer_id, role, wants_all)
        link.into.ask_at = now + RESYNC_S
        self.view.link_up(peer_id, role)
        self._forwarding.link_up(peer_id, role)
        self._announce(link)
        self._links_changed()
        self._forwarding.settle([peer_id])

    def link_down(self, peer_id: str) -> None:
        """A link is lost; harmless when it was not up."""
        if self._links.pop(peer_id, None) is None:
            return
        learned = self._forwarding.link_down(peer_id)
        self._links_changed()
        concerned = self.view.link_down(peer_id, self._now())
        self._spread(concerned)
        self._forwarding.settle(dict.fromkeys([*concerned, *learned]))

    def receive(self, peer_id: str, frame: Frame) -> None:
        """A frame has come over a link; ignored when that link is not up.

        Raises MalformedError for what no agent would send.
        """
        link = self._links.get(peer_id)
        if link is None:
            return
        if isinstance(frame, Update):
            self._receive_update(link, frame)
        elif isinstance(frame, Post):
            self._forwarding.receive(peer_id, frame)
        else:
            link.out.full = True
            self._announce(link)

    def flush(self, peer_id: str) -> None:
        """Send what has gathered for a link; harmless when there is nothing."""
        link = self._links.get(peer_id)
        if link is None:
            return
        out = link.out
        out.announced = False
        full, out.full = out.full, False
        if full:
            out.told.clear()
        names = self._everything_for(link) if full else list(out.changed)
        out.changed.clear()
        adverts, gone = self._news(link, names)
        if full or adverts or gone:
            self._send(link, full, adverts, gone)

    def age(self, node_id: str) -> float:
        """Seconds since the newest version of a known node was heard; KeyError for others."""
        return self._now() - self.view.updated(node_id)

    def register(
        self, node_type: Literal["child", "peer"], node_id: str, said: Description
    ) -> None:
        """A node without a link registers. Raises ConflictError, see `View.register_http`."""
        self.view.register_http(node_type, node_id, said, now=self._now())

    def heartbeat(self, node_id: str, said: Description) -> None:
        """It is still there. Raises NotFoundError, ConflictError, see `View.heartbeat_http`."""
        self.view.heartbeat_http(node_id, said, now=self._now())

    def unregister(self, node_id: str) -> None:
        """Forget a node that registered over HTTP, or one whose links are all lost.

        Raises NotFoundError, or ConflictError while some link still tells of it.
        """
        self.view.unregister(node_id)
        self._spread([node_id])
        self._forwarding.settle([node_id])

    def tick(self) -> None:
        """To be called about once a second: repeats what may have been lost."""
        now = self._now()
        self.view.tick(now)
        for link in list(self._links.values()):
            if not link.into.synced and now >= link.into.ask_at:
                self._ask(link, now)
            if not link.out.announced and now - link.out.sent_at >= IDLE_S:
                self._send(link, False, [], [])

    def post(self, to: str, body: Any) -> bool:
        """Send a message; False when there is no way to go. It may be lost on any hop.

        One to the own node is delivered before this returns. `body` is any JSON value.
        """
        return self._forwarding.post(to, body)

    def next_hop(self, to: str) -> str | None:
        """The linked agent through which a node is reached from here."""
        return self._forwarding.next_hop(to)

    # ── what a link tells us ────────────────────────────────────────────────────────────────────

    def _receive_update(self, link: _Link, update: Update) -> None:
        into, now = link.into, self._now()
        if update.n <= into.n:
            return
        continues = into.synced or into.untold is not None
        if not update.full and not (continues and update.n == into.n + 1):
            if continues:
                into.synced, into.untold = False, None
                into.patience_s = RESYNC_S
                self._ask(link, now)
            return
        into.n = update.n
        if update.full:
            into.synced, into.untold = False, self.view.heard_over(link.peer_id)
        into.ask_at = now + into.patience_s
        self._apply(link, update, now)

    def _apply(self, link: _Link, update: Update, now: float) -> None:
        into = link.into
        changed: dict[str, None] = {}
        gone = list(update.gone)
        for advert in update.adverts:
            node_id = advert.state.node_id
            if not advert.reachable and self._forwarding.unlearn(link.peer_id, node_id):
                changed[node_id] = None
            heard = self._heard(link, advert)
            if heard is None:
                gone.append(node_id)
                continue
            if into.untold is not None:
                into.untold.discard(node_id)
            if self.view.learn(link.peer_id, advert.state, heard, now):
                changed[node_id] = None
        if into.untold is not None and not update.more:
            gone.extend(sorted(into.untold))
            into.untold, into.synced, into.patience_s = None, True, RESYNC_S
        for node_id in gone:
            unlearned = self._forwarding.unlearn(link.peer_id, node_id)
            if self.view.withdraw(link.peer_id, node_id, now) or unlearned:
                changed[node_id] = None
        self._spread(changed)
        self._forwarding.settle(changed)

    def _heard(self, link: _Link, advert: Advert) -> Heard | None:
        """What an advert tells; None when that is a way through ourselves, or too long.

        Of a way through ourselves only that the node is below the child is worth keeping.
        """
        path = advert.path
        if not path or path[0] != link.peer_id or path[-1] != advert.state.node_id:
            raise MalformedError(
                f"update: path {list(path)} does not lead from {link.peer_id} to "
                f"{advert.state.node_id}"
            )
        if len(path) > MAX_HOPS or advert.state.node_id == self.node_id:
            return None
        if self.node_id in path:
            is_below = advert.below and link.role == "child"
            return Heard(path, reachable=False, below=True) if is_below else None
        return Heard(path, advert.reachable, advert.below)

    def _ask(self, link: _Link, now: float) -> None:
        into = link.into
        into.ask_at = now + into.patience_s
        into.patience_s = min(2 * into.patience_s, RESYNC_MAX_S)
        self._transmit(link.peer_id, Resync())

    # ── what we tell a link ─────────────────────────────────────────────────────────────────────

    def _spread(self, changed: Iterable[str]) -> None:
        """Note for each link that may be told of other nodes what there is to look at."""
        names = list(changed)
        if not names:
            return
        for link in self._links.values():
            if self._tells_of_others(link):
                self._mark(link, (name for name in names if self._concerns(link, name)))

    def _concerns(self, link: _Link, node_id: str) -> bool:
        """Whether a change of a node may be news to a link: what only it tells of is none."""
        return node_id in link.out.told or any(
            told_by != link.peer_id for told_by in self.view.heard(node_id)
        )

    def _tells_of_others(self, link: _Link) -> bool:
        if link.role == "parent":
            return True
        return self._share if link.role == "peer" else link.wants_all

    def _mark(self, link: _Link, names: Iterable[str]) -> None:
        link.out.changed.update(dict.fromkeys(names))
        if link.out.changed:
            self._announce(link)

    def _announce(self, link: _Link) -> None:
        if not link.out.announced:
            link.out.announced = True
            self._dirty(link.peer_id)

    def _everything_for(self, link: _Link) -> list[str]:
        if not self._tells_of_others(link):
            return [self.node_id]
        return [known.node_id for known in self.view.nodes()]

    def _news(self, link: _Link, names: list[str]) -> tuple[list[Advert], list[str]]:
        """Adverts for what differs from what the link was told, and names it is to forget."""
        told = link.out.told
        adverts, gone = [], []
        for node_id in names:
            advert = self._advert(link, node_id)
            if advert is None:
                if told.pop(node_id, None) is not None:
                    gone.append(node_id)
                continue
            said = (advert.state.version, advert.path, advert.reachable, advert.below)
            if told.get(node_id) != said:
                told[node_id] = said
                adverts.append(advert)
        return adverts, gone

    def _advert(self, link: _Link, node_id: str) -> Advert | None:
        """What a link may be told of a node: the best way that does not lead through it.

        A parent hears of a node below in any case. What is below decides what is shared with peers;
        did it hang on which way is best, ways could chase each other for ever.
        """
        known = self.view.get(node_id)
        if known is None:
            return None
        if node_id == self.node_id:
            return Advert(state=known.state, path=(node_id,), below=True)
        ways: list[Heard] = []
        below = False
        for told_by, heard in self.view.heard(node_id).items():
            role = self.view.role(told_by)
            below |= role == "child" and heard.below
            if told_by != link.peer_id and (role != "parent" or link.role == "child"):
                ways.append(heard)
        if link.role == "peer" and not below:
            return None
        to_ancestor = below and link.role == "parent"
        around = [heard for heard in ways if link.peer_id not in heard.path]
        if not around and not (to_ancestor and ways):
            return None
        best = min(around or ways, key=lambda way: (not way.reachable, len(way.path), way.path))
        return Advert(
            state=known.state,
            path=(self.node_id, *best.path),
            reachable=best.reachable and bool(around),
            below=to_ancestor,
        )

    def _send(self, link: _Link, full: bool, adverts: list[Advert], gone: list[str]) -> None:
        """One update, or several where there is much to tell."""
        out = link.out
        out.sent_at = self._now()
        for start in range(0, max(1, len(adverts)), MAX_ADVERTS):
            out.n += 1
            last = start + MAX_ADVERTS >= len(adverts)
            update = Update(
                n=out.n,
                full=full and start == 0,
                more=full and not last,
                adverts=tuple(adverts[start : start + MAX_ADVERTS]),
                gone=tuple(gone) if last else (),
            )
            self._transmit(link.peer_id, update)
