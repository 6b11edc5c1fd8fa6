"""The three steps by which an open WebSocket becomes a link; `cnet.cluster.hello` has the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import anyio
from msgspec.structs import replace

from cnet.cluster import wire
from cnet.cluster.hello import (
    Held,
    Hello,
    Identity,
    Refused,
    Seen,
    Why,
    counterpart,
    hello,
    join_address,
    plain_ip,
    refuse_answer,
    refuse_call,
    stranger,
)
from cnet.cluster.sockets import Socket, SocketClosedError
from cnet.errors import MalformedError
from cnet.register.view import LinkRole

HELLO_S = 5.0
"""Seconds within which the two must have come to terms."""

Expected = TypeVar("Expected", Hello, Seen)


class HandshakeError(Exception):
    """No link came about; `why` when one side refused, `node_id` the other agent where known."""

    def __init__(self, details: str, *, why: Why | None = None, node_id: str | None = None) -> None:
        super().__init__(details)
        self.details = details
        self.why = why
        self.node_id = node_id


class Handshakes:
    """All of one agent, so that it notices when two agents call each other at the same moment."""

    def __init__(self, own: Identity, held: Callable[[str], Held | None]) -> None:
        """`held` tells of the link to an agent that is up."""
        self._own = own
        self._held = held
        self._callers: Counter[str] = Counter()

    async def call(self, socket: Socket, role: LinkRole, *, escalate: bool) -> Hello:
        """Introduce this agent to one that is to be its `role`; the other's answer.

        Raises HandshakeError.
        """
        with _bounded():
            await _send(socket, hello(self._own, counterpart(role), escalate=escalate))
            answer = await _expect(socket, Hello)
            refused = stranger(self._own, answer) or refuse_answer(
                self._own,
                answer,
                self._held(answer.node_id),
                being_called=self._callers[answer.node_id] > 0,
            )
            if refused is not None:
                await self._refuse(socket, refused, answer)
            if answer.role != role:
                raise HandshakeError(f"{answer.node_id} answers as {answer.role}, not {role}")
            await _send(socket, Seen(address="" if socket.secure else _address(socket)))
            return answer

    async def answer(self, socket: Socket) -> tuple[Hello, Seen]:
        """Let another agent introduce itself; what it says, and where it has reached this one.

        Raises HandshakeError.
        """
        with _bounded():
            caller = await _expect(socket, Hello)
            refused = stranger(self._own, caller) or self._refuse_call(caller)
            if refused is not None:
                await self._refuse(socket, refused, caller)
            if caller.role == "parent":
                raise HandshakeError(f"{caller.node_id} calls as parent; allowed: child, peer")
            with self._called_by(caller.node_id):
                seen = plain_ip(socket.remote[0])
                await _send(socket, hello(self._own, counterpart(caller.role), seen=seen))
                confirmed = await _expect(socket, Seen)
            if (refused := self._refuse_call(caller)) is not None:  # another link may be up by now
                await self._refuse(socket, refused, caller)
            return caller, confirmed

    def _refuse_call(self, caller: Hello) -> Refused | None:
        return refuse_call(self._own, caller, self._held(caller.node_id))

    async def _refuse(self, socket: Socket, refused: Refused, other: Hello) -> NoReturn:
        await _send(socket, replace(refused, node_id=self._own.node_id))
        raise HandshakeError(refused.details, why=refused.why, node_id=other.node_id)

    @contextmanager
    def _called_by(self, node_id: str) -> Iterator[None]:
        self._callers[node_id] += 1
        try:
            yield
        finally:
            self._callers[node_id] -= 1
            if not self._callers[node_id]:
                del self._callers[node_id]


@contextmanager
def _bounded() -> Iterator[None]:
    try:
        with anyio.fail_after(HELLO_S):
            yield
    except TimeoutError:
        raise HandshakeError(f"no hello within {HELLO_S:g} s") from None
    except SocketClosedError as error:
        raise HandshakeError(str(error)) from None
    except MalformedError as error:
        raise HandshakeError(error.message) from None


async def _send(socket: Socket, message: Hello | Seen | Refused) -> None:
    for part in wire.encode(message):
        await socket.send(part)


async def _expect(socket: Socket, kind: type[Expected]) -> Expected:
    received = wire.Assembler().feed(await socket.receive())
    if isinstance(received, Refused):
        raise HandshakeError(received.details, why=received.why, node_id=received.node_id)
    if not isinstance(received, kind):
        raise HandshakeError(f"message: {kind.__name__.lower()} is expected here")
    return received


def _address(socket: Socket) -> str:
    host, port = socket.remote
    host = plain_ip(host)
    return join_address(host, port) if host else ""
