"""Keeps one configured address linked: dials, and dials again, for ever."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
import structlog

from cnet.cluster.hello import Why
from cnet.cluster.link import Link
from cnet.cluster.sockets import DialledSocket, dial
from cnet.config import LinkSettings
from cnet.errors import UnreachableError
from cnet.register.view import LinkRole

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """An agent to be linked to."""

    url: str
    role: LinkRole
    """what it is to this agent: `parent` or `peer`"""
    token: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended."""

    lasted_s: float | None = None
    """how long the link was up; None when it was refused"""
    details: str = ""
    why: Why | None = None
    held: Link | None = None
    """another link to the same agent that is up"""


class Dialler:
    """One address."""

    def __init__(
        self,
        target: Target,
        settings: LinkSettings,
        talk: Callable[[DialledSocket, Target], Awaitable[Outcome]],
    ) -> None:
        """`talk` makes a link of an open connection and returns when it has ended."""
        self._target = target
        self._settings = settings
        self._talk = talk
        self._failures = 0
        self._said: str | None = None

    async def run(self) -> None:
        """Dial until cancelled."""
        while True:
            held = await self._try()
            if held is not None:
                await held.ended.wait()
            await anyio.sleep(self._pause_s())

    async def _try(self) -> Link | None:
        """One call; a link that already leads to the same agent, if there is one."""
        self._failures += 1
        try:
            socket = await dial(self._target.url, token=self._target.token)
        except UnreachableError as error:
            self._say(error.message)
            return None
        try:
            outcome = await self._talk(socket, self._target)
        finally:
            socket.abort()
        if outcome.lasted_s is not None:
            self._said = None
            if outcome.lasted_s >= self._settings.retry_max_s:
                self._failures = 0
        elif outcome.why != "duplicate":
            self._say(outcome.details)
        elif outcome.held is not None:
            self._failures = 0
        return outcome.held

    def _pause_s(self) -> float:
        """Doubles with each failure; jittered, so that many do not call at the same moment."""
        settings = self._settings
        longest = settings.retry_min_s * 2.0 ** min(max(self._failures - 1, 0), 32)
        return min(longest, settings.retry_max_s) * random.uniform(0.5, 1)  # noqa: S311

    def _say(self, details: str) -> None:
        """Log a failure once, not with every repetition."""
        if details != self._said:
            self._said = details
            log.warning("dial_failed", role=self._target.role, details=details)
