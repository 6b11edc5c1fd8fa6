"""What of a request and of an answer may pass from one connection to the next.

RFC 9110 7.6.1 for the fields of a connection; those of the agent itself stay here, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.types import Scope

from cnet.errors import MalformedError

Headers = list[tuple[bytes, bytes]]

CARRIED = b"x-cnet-carried"
"""On a request that another agent has sent on."""
TO_THE_END = b"1"
"""Its value: it ends at a replica here or not at all."""
ONCE_MORE = b"2"
"""Its value: this agent may send it on to the node of the replica, which the other does not see."""

NO_REPLICA = b"x-cnet-no-replica"
"""On the answer to such a request: it is the agent's, not of a service; another may be asked."""

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Authorization is for the agent: a workload must never see its token. The outer server answers
# `Expect` itself; where a body ends is said anew for every connection.
_NOT_FOR_SERVICES = _HOP_BY_HOP | {
    b"authorization",
    b"content-length",
    b"expect",
    b"host",
    CARRIED,
}
_NOT_FOR_AGENTS = (_HOP_BY_HOP - {b"transfer-encoding"}) | {b"authorization", b"expect", CARRIED}
_FORWARDED = frozenset(
    {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-prefix", b"x-forwarded-proto"}
)
_NOT_TO_BE_NAMED = _FORWARDED | {CARRIED, b"content-length", b"host", b"transfer-encoding"}
# The outer server dates its answers itself.
_NOT_FOR_CLIENTS = _HOP_BY_HOP | {b"date"}

# A page of a service comes from the agent's own address, so a browser would let its scripts use
# the agent. In a sandbox it has an origin of its own, which the guard refuses.
_SANDBOX = (b"content-security-policy", b"sandbox allow-downloads allow-forms allow-scripts")


def request_head(
    scope: Scope, target: bytes, authority: bytes, *, prefix: bytes, length: int | None
) -> bytes:
    """Request line and fields for a service; `length` None means a chunked body.

    `prefix` is the path by which clients reach the service. Raises MalformedError when a field
    holds a line break (other agents hand on what no HTTP parser of ours has seen).
    """
    method: str = scope["method"]
    lines = [
        b"%s %s HTTP/1.1" % (method.encode("latin-1"), target),
        b"host: " + authority,
    ]
    if length is None:
        lines.append(b"transfer-encoding: chunked")
    elif length or method not in {"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"}:
        lines.append(b"content-length: %d" % length)
    fields = forwarded(scope, prefix)
    lines.extend(b"%s: %s" % field for field in _without(fields, _NOT_FOR_SERVICES))
    lines.append(b"via: 1.1 cnet")
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        raise MalformedError("headers: a field holds a line break")
    if lines[0].count(b" ") != 2:
        raise MalformedError("path: it holds a space")
    return head + b"\r\n\r\n"


def carried_headers(scope: Scope, prefix: bytes, how: bytes = TO_THE_END) -> Headers:
    """Fields of a request that goes to another agent."""
    return [*_without(forwarded(scope, prefix), _NOT_FOR_AGENTS), (CARRIED, how)]


def forwarded(scope: Scope, prefix: bytes) -> Headers:
    """The request's fields with `X-Forwarded-*` as this agent knows better than its client.

    What another agent has carried here bears them already.
    """
    headers: Headers = scope["headers"]
    seen: list[bytes] = []
    host = b""
    for name, value in headers:
        if name == CARRIED:
            return headers
        if name == b"x-forwarded-for":
            seen.append(value)
        elif name == b"host":
            host = value
    if client := scope.get("client"):
        seen.append(str(client[0]).encode("latin-1", "replace"))
    kept = [field for field in headers if field[0] not in _FORWARDED]
    if seen:
        kept.append((b"x-forwarded-for", b", ".join(seen)))
    kept.append((b"x-forwarded-host", host))
    kept.append((b"x-forwarded-proto", str(scope.get("scheme", "http")).encode()))
    kept.append((b"x-forwarded-prefix", prefix))
    return kept


def answer_start(status: int, headers: Headers) -> dict[str, Any]:
    """The message that begins the answer to the client."""
    dropped = _NOT_FOR_CLIENTS
    if status in {204, 304}:
        dropped |= {b"content-length"}  # they have no body; the outer server would wait for one
    kept = [*_without(headers, dropped), _SANDBOX]
    return {"type": "http.response.start", "status": status, "headers": kept}


def _without(headers: Iterable[tuple[bytes, bytes]], dropped: frozenset[bytes]) -> Headers:
    """The fields but those of `dropped` and those that `Connection` names."""
    fields = list(headers)
    for name, value in fields:
        if name == b"connection" and value.lower() not in {b"keep-alive", b"close"}:
            named = {word.strip().lower() for word in value.split(b",")}
            dropped |= named - _NOT_TO_BE_NAMED
    return [field for field in fields if field[0] not in dropped]
