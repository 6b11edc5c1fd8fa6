"""Which replica gets a request: a version by its weight, of that the least outstanding replica.

A router decides by what its own view says now; see docs/adr/0011 for what happens while news of a
change is still under way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cnet.api.services.replicas import Outstanding, Replica, Routed, Share

AVOID_S = 1.0
"""A replica that gave no answer is passed over for so long, while there are others."""
MAX_AVOIDED = 10_000


class SmoothWeights:
    """Takes turns among choices so that any run of turns is shared as the weights say.

    Smooth weighted round robin: after `sum(weights)` turns the shares are exact, and turns of one
    choice are spread as evenly as they can be.
    """

    def __init__(self) -> None:
        self._credit: dict[str, int] = {}

    def next(self, weights: Sequence[tuple[str, int]]) -> str:
        """The next choice; there must be one with a weight of more than 0."""
        total = sum(weight for _, weight in weights)
        credit = {name: self._credit.get(name, 0) + weight for name, weight in weights}
        chosen = max(credit, key=lambda name: (credit[name], name))
        credit[chosen] -= total
        self._credit = credit
        return chosen


class Choosing:
    """Of one router."""

    def __init__(self, outstanding: Outstanding) -> None:
        self._outstanding = outstanding
        self._turns: dict[str, SmoothWeights] = {}
        self._avoided: dict[str, float] = {}

    def avoid(self, replica: Replica, now: float) -> None:
        """It gave no answer."""
        if len(self._avoided) >= MAX_AVOIDED:
            self._avoided.clear()
        self._avoided[replica.workload_id] = now + AVOID_S

    def least(self, replicas: Sequence[Replica], tried: Collection[str], now: float) -> Replica:
        """The least outstanding, of those not tried and not avoided as far as there are any."""
        fresh = [one for one in replicas if one.workload_id not in tried] or replicas
        if self._avoided:
            fresh = [one for one in fresh if not self._avoids(one, now)] or fresh
        return self._outstanding.least(fresh)

    def pick(self, routed: Routed, tried: Collection[str], now: float) -> Replica | None:
        """A replica of a service; None when none is ready.

        The share of a version that has no ready replica goes to the others, and one without a
        weight gets requests only if nothing else can.
        """
        shares = [share for share in routed.shares if share.replicas]
        if tried:  # another replica of any version is better than the one that has just failed
            untried = [share for share in shares if _untried(share, tried)]
            shares = untried or shares
        if not shares:
            return None
        if len(shares) == 1:
            return self.least(shares[0].replicas, tried, now)
        weights = [(share.version, share.weight) for share in shares if share.weight is not None]
        if len(weights) < len(shares) or not any(weight for _, weight in weights):
            everyone = [one for share in shares for one in share.replicas]
            return self.least(everyone, tried, now)
        turns = self._turns.setdefault(routed.name, SmoothWeights())
        version = turns.next([(name, weight or 0) for name, weight in weights])
        chosen = next(share for share in shares if share.version == version)
        return self.least(chosen.replicas, tried, now)

    def _avoids(self, replica: Replica, now: float) -> bool:
        until = self._avoided.get(replica.workload_id)
        if until is None:
            return False
        if until <= now:
            del self._avoided[replica.workload_id]
            return False
        return True


def _untried(share: Share, tried: Collection[str]) -> bool:
    return any(one.workload_id not in tried for one in share.replicas)
