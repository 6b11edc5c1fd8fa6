"""How many replicas a load asks for: pure, with its damping.

- Wanted are as many that each has `target` requests under way on average; within 10 % of what
  there are now nothing changes.
- A rise is followed at once, to at most twice as many (or 4 more) every 5 s.
- A fall is followed when the load has not asked for more during `stabilization_s`, by at most half
  every 15 s.
- To none, at once, only where `min` is 0 and there was no request for `idle_s`; from none to one
  as soon as a request waits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from cnet.services.record import Autoscale

TOLERANCE = 0.1
RISE_EVERY_S = 5.0
FALL_EVERY_S = 15.0
LEAST_RISE = 4


@dataclass(frozen=True, slots=True)
class Load:
    """Of one version since the look before."""

    under_way: float
    """requests, the mean over that time"""
    any_requests: bool
    """whether there was one at all, or one waits"""


@dataclass(frozen=True, slots=True)
class Damping:
    """What one look leaves for the next. Times are monotonic seconds."""

    asked: tuple[tuple[float, int], ...] = ()
    """(when, how many), oldest first, within the time of stabilization"""
    changed_at: float = float("-inf")
    busy_at: float = float("-inf")
    """when there last was a request"""

    @classmethod
    def starting(cls, current: int, now: float) -> Damping:
        """As after a restart of the agent: what there is was surely asked for."""
        return cls(asked=((now, current),), busy_at=now)


def follow(
    policy: Autoscale, current: int, load: Load, damping: Damping, *, now: float
) -> tuple[int, Damping]:
    """How many replicas there are to be from now on, `policy.min` to `policy.max`."""
    busy_at = now if load.any_requests or load.under_way > 0 else damping.busy_at
    if not policy.min and now - busy_at >= policy.idle_s:
        return 0, replace(damping, busy_at=busy_at, asked=((now, 0),), changed_at=now)
    least = policy.min or (1 if current or load.any_requests else 0)
    asked_now = _clamped(_asked(policy, current, load), least, policy.max)
    recent = (*damping.asked, (now, asked_now))
    asked = tuple(each for each in recent if now - each[0] <= policy.stabilization_s)
    asked = asked or ((now, asked_now),)
    damping = replace(damping, asked=asked, busy_at=busy_at)
    count = _step(policy, current, asked_now, max(count for _, count in asked), damping, now)
    count = _clamped(count, least, policy.max)
    if count != current:
        damping = replace(damping, changed_at=now)
    return count, damping


def _asked(policy: Autoscale, current: int, load: Load) -> int:
    if current and abs(load.under_way / (policy.target * current) - 1) <= TOLERANCE:
        return current
    return ceil(load.under_way / policy.target)


def _step(
    policy: Autoscale, current: int, asked_now: int, most_asked: int, damping: Damping, now: float
) -> int:
    since = now - damping.changed_at
    if asked_now > current:
        if current and since < RISE_EVERY_S:
            return current
        return min(asked_now, max(2 * current, current + LEAST_RISE))
    if most_asked < current:
        if since < FALL_EVERY_S and current <= policy.max:
            return current
        return max(most_asked, current - max(1, current // 2))
    return current


def _clamped(count: int, least: int, most: int) -> int:
    return max(least, min(count, most))
