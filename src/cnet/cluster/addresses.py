"""Where others reach this agent: what was configured, else what those it is linked to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cnet.config import is_loopback


@dataclass(frozen=True, slots=True)
class _Sighting:
    address: str
    loopback: bool
    by_parent: bool


class Addresses:
    """The best address anyone has seen; `changed(address)` is called with each new one."""

    def __init__(
        self, *, advertised: str | None, loopback_only: bool, changed: Callable[[str], None]
    ) -> None:
        """`loopback_only`: the API listens on loopback, so no other address can be right."""
        self._advertised = advertised
        self._loopback_only = loopback_only
        self._changed = changed
        self._sightings: dict[str, _Sighting] = {}
        self.current = advertised or ""

    def seen(
        self, peer_id: str, host: str, address: str, *, same_host: bool, by_parent: bool
    ) -> None:
        """`peer_id` reaches this agent at `address`, whose host part is `host`."""
        loopback = is_loopback(host)
        if self._advertised is not None or not host:
            return
        if (loopback and not same_host) or (self._loopback_only and not loopback):
            return
        self._sightings[peer_id] = _Sighting(address, loopback, by_parent)
        best = min(
            self._sightings.items(),
            key=lambda item: (item[1].loopback, not item[1].by_parent, item[0]),
        )[1].address
        if best != self.current:
            self.current = best
            self._changed(best)
