"""Passes messages on hop by hop, and calls out to whom they can be sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cnet.cluster.frames import MAX_HOPS, Post
from cnet.errors import MalformedError
from cnet.register.view import LinkRole, View

_ABSENT = object()


class Forwarding:
    """The messages of an `Exchange`: own ones, those for us, and those that only come through.

    The way to a node is the one the view has; failing that, the link its last message came over;
    for one that nobody here has heard of, the parent.
    """

    def __init__(
        self,
        view: View,
        *,
        transmit: Callable[[str, Post], None],
        deliver: Callable[[str, Any], None],
        route_changed: Callable[[str, bool], None],
    ) -> None:
        """The callables are those of `Exchange`."""
        self.dropped = 0
        self._node_id = view.node_id
        self._view = view
        self._transmit = transmit
        self._deliver = deliver
        self._route_changed = route_changed
        self._links: dict[str, LinkRole] = {}
        self._learned: dict[str, str] = {}
        """by source of a message: the link it came over last"""
        self._up: dict[str, int | None] = {}
        """nodes that have been called reachable, with their incarnation where it is known"""

    # ── links ───────────────────────────────────────────────────────────────────────────────────

    def link_up(self, peer_id: str, role: LinkRole) -> None:
        """Messages can be sent over this link from now on."""
        self._links[peer_id] = role
        self._learned[peer_id] = peer_id

    def link_down(self, peer_id: str) -> list[str]:
        """Messages cannot be sent over it any more; the nodes whose way was learned from it."""
        del self._links[peer_id]
        learned = [source for source, link in self._learned.items() if link == peer_id]
        for source in learned:
            del self._learned[source]
        return learned

    def unlearn(self, peer_id: str, node_id: str) -> bool:
        """A link has no way to a node any more: what came from there over it counts no longer."""
        if node_id == peer_id or self._learned.get(node_id) != peer_id:
            return False
        del self._learned[node_id]
        return True

    # ── who can be reached ──────────────────────────────────────────────────────────────────────

    def next_hop(self, to: str) -> str | None:
        """The linked agent through which a node is reached from here."""
        return next(self._hops(to), None)

    def _hops(self, to: str) -> Iterator[str]:
        for hop in (self._view.route(to), self._learned.get(to)):
            if hop in self._links:
                yield hop

    def _ways(self, to: str) -> Iterator[str]:
        """For a message: what nobody here has heard of, somebody above may have."""
        yield from self._hops(to)
        if self._view.get(to) is None:
            yield from (peer_id for peer_id, role in self._links.items() if role == "parent")

    def settle(self, names: Iterable[str]) -> None:
        """Call out the nodes that messages can, or can no longer, be sent to."""
        called: list[tuple[str, bool]] = []
        for node_id in names:
            if node_id == self._node_id:
                continue
            if self.next_hop(node_id) is None:
                if self._up.pop(node_id, _ABSENT) is not _ABSENT:
                    called.append((node_id, False))
                continue
            known = self._view.get(node_id)
            incarnation = None if known is None else known.state.incarnation
            former = self._up.get(node_id, _ABSENT)
            self._up[node_id] = incarnation
            if former is _ABSENT or (former is not None and former != incarnation):
                called.append((node_id, True))
        for node_id, up in called:
            self._route_changed(node_id, up)

    # ── messages ────────────────────────────────────────────────────────────────────────────────

    def post(self, to: str, body: Any) -> bool:
        """See `Exchange.post`."""
        if to == self._node_id:
            self._deliver(to, body)
            return True
        hop = next(self._ways(to), None)
        if hop is None:
            return False
        message = Post(to=to, source=self._node_id, path=(self._node_id,), body=body)
        self._transmit(hop, message)
        return True

    def receive(self, peer_id: str, post: Post) -> None:
        """Deliver a message that has come over a link, or pass it on. Raises MalformedError."""
        if not post.path or post.path[-1] != peer_id or post.path[0] != post.source:
            raise MalformedError(
                f"post: path {list(post.path)} does not lead from {post.source} to {peer_id}"
            )
        if self._node_id in post.path:
            self.dropped += 1
            return
        self._learned[post.source] = peer_id
        self.settle([post.source])
        if post.to == self._node_id:
            self._deliver(post.source, post.body)
            return
        hop = next((hop for hop in self._ways(post.to) if hop not in post.path), None)
        if hop is None or len(post.path) >= MAX_HOPS:
            self.dropped += 1
            return
        onward = Post(
            to=post.to, source=post.source, path=(*post.path, self._node_id), body=post.body
        )
        self._transmit(hop, onward)
