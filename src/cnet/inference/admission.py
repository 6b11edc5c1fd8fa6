"""How long the line of waiting requests may be.

A burst may fill it: it will be worked off. Where it stays full, more comes in than goes out, and
a long line only makes everybody wait: it is kept so short then that whoever is let in waits about
as long as one call of the model takes, until nobody had to be refused for a while. Clients that
wait for their answers before they ask again never fill a line that has room for them.
"""

from __future__ import annotations

_SUSTAINED_S = 0.25
_CALM_S = 0.5


class Admission:
    """At most `longest` wait; `short` once refusals have gone on for a quarter of a second.

    Times in seconds.
    """

    def __init__(self, *, longest: int, short: int) -> None:
        self._longest = longest
        self._short = min(short, longest)
        self._first_refusal = 0.0
        self._last_refusal = float("-inf")

    def limit(self, now: float) -> int:
        """How many may wait at the time `now`."""
        if now - self._last_refusal > _CALM_S:
            return self._longest
        is_sustained = self._last_refusal - self._first_refusal >= _SUSTAINED_S
        return self._short if is_sustained else self._longest

    def refused(self, now: float) -> None:
        """Somebody was refused at the time `now`."""
        if now - self._last_refusal > _CALM_S:
            self._first_refusal = now
        self._last_refusal = now
