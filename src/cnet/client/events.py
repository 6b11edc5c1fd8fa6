"""The agent's event stream (Server-Sent Events) as an iterator that survives broken connections.

Follows the event-stream format of the HTML standard, section 9.2, as far as agents use it. It
keeps no state besides the last id, which is how the agent knows where to go on.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from cnet.client.lines import split_lines
from cnet.client.transport import Transport
from cnet.errors import TransientError

IDLE_LIMIT_S = 40.0
"""Silence after which the stream counts as broken: agents ping every 15 s."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `data` is the object as the agent sent it.

    `seq` numbers the changes of workloads; other news (kind `resources`) have none.
    """

    seq: int | None
    kind: str
    data: dict[str, Any] = field(default_factory=dict)


class Tick:
    """Something else came over the stream: the greeting that opens it, or a ping.

    With the greeting the agent says that from now on it sends every event; whoever waits for a
    state looks at it then, and not before, or a change in between would go unnoticed.
    """


TICK: Final = Tick()


class EventStream:
    """Iterates over events for ever; reconnects by itself, from where it broke.

    The first connection must succeed, and a later break is retried with jittered backoff for
    `patience_s` seconds; then the last error is raised. One thread at a time.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        workload_id: str | None = None,
        after: int | None = None,
        patience_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`after`: the seq of the last event already seen; None starts with what comes next."""
        self._transport = transport
        self._params = {"workload": workload_id} if workload_id else {}
        self._last_id = None if after is None else str(after)
        self._patience_s = patience_s
        self._sleep = sleep

    def __iter__(self) -> Iterator[Event]:
        return (item for item in self.items() if isinstance(item, Event))

    def items(self, *, deadline: float | None = None) -> Generator[Event | Tick]:
        """Events, and a `Tick` at every greeting and ping.

        `deadline` on `time.monotonic`'s scale: TransientError (code `timeout`) is raised once it
        has passed. Other errors as `Transport.stream`, once patience has run out.
        """
        broken_since: float | None = None
        pause_s = _FIRST_PAUSE_S
        connected_once = False
        while True:
            try:
                for item in self._connection(deadline):
                    broken_since, pause_s, connected_once = None, _FIRST_PAUSE_S, True
                    yield item
            except TransientError:
                if _passed(deadline) or not connected_once:
                    raise
                broken_since = broken_since or time.monotonic()
                if time.monotonic() - broken_since > self._patience_s:
                    raise
            if _passed(deadline):
                raise TransientError(f"{self._transport.url}: time is up", code="timeout")
            self._sleep(_shortened(pause_s * random.uniform(0.5, 1.0), deadline))  # noqa: S311
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _connection(self, deadline: float | None) -> Generator[Event | Tick]:
        """Everything of one connection; ends when it closes, or needs a shorter read timeout."""
        read_timeout_s = max(_shortened(IDLE_LIMIT_S, deadline), 0.001)
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        with self._transport.stream(
            "/api/events", read_timeout_s=read_timeout_s, params=self._params, headers=headers
        ) as reply:
            for item in parse(split_lines(reply.iter_bytes())):
                if isinstance(item, Event) and item.seq is not None:
                    self._last_id = str(item.seq)
                yield item
                if _shortened(IDLE_LIMIT_S, deadline) < read_timeout_s:
                    # httpx fixes the read timeout when the stream opens. Near the deadline a
                    # fresh connection with a shorter one is what makes the deadline exact.
                    return


def parse(lines: Iterable[bytes]) -> Iterator[Event | Tick]:
    """Events of an event stream; whatever else it holds is a `Tick`."""
    fields: dict[str, str] = {}
    for raw in lines:
        line = raw.removesuffix(b"\r").decode(errors="replace")
        if line.startswith(":"):
            yield TICK
        elif line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            joined = name == "data" and "data" in fields
            fields[name] = f"{fields['data']}\n{value}" if joined else value
        elif fields:
            yield _event(fields) or TICK
            fields = {}


def _event(fields: dict[str, str]) -> Event | None:
    """None for a block without a JSON object as its data."""
    try:
        data = json.loads(fields.get("data", ""))
        seq = int(fields["id"]) if "id" in fields else None
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    return Event(seq=seq, kind=fields.get("event", "message"), data=data)


def _passed(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _shortened(seconds: float, deadline: float | None) -> float:
    """`seconds`, or what is left until the deadline if that is less; never negative."""
    if deadline is None:
        return seconds
    return max(0.0, min(seconds, deadline - time.monotonic()))
