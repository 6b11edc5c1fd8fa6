"""How two agents make themselves known to each other, and when they refuse to be linked.

Three steps: whoever dials says `Hello`, the other answers with its own, the first confirms with
`Seen`; either may say `Refused` instead. The link is up for each side with the confirmation.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Literal

import msgspec

import cnet
from cnet.register.view import LinkRole

PROTOCOL = 1

Why = Literal["self", "node_id_taken", "protocol", "role", "duplicate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who an agent is to those that it is linked to."""

    node_id: str
    instance: str
    """made once per data directory: tells an agent from another that was given its name"""
    incarnation: int
    """counts the starts of the agent on its data directory"""
    port: int
    """where its API listens"""


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag_field="frame"):
    """Who is speaking. Everything has a default that another version may leave out."""

    node_id: str
    protocol: int
    instance: str = ""
    incarnation: int = 0
    role: LinkRole = "peer"
    """what the speaker will be to the other one"""
    escalate: bool = False
    """as a child: wants to know of all nodes, for work that fits nowhere below"""
    port: int = 0
    host: str = ""
    """equal for agents that share loopback addresses, see `host_mark`"""
    version: str = ""
    seen: str = ""
    """in the answer: the IP address that the caller calls from"""


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag_field="frame"):
    """The caller's confirmation."""

    address: str = ""
    """`host:port` at which it reached the other one; empty behind TLS, where a proxy may stand"""


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag_field="frame"):
    """No link, for this reason; the connection is closed after it."""

    why: Why
    details: str
    node_id: str = ""
    """the agent that refuses"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A link that is up already to an agent of the same name."""

    instance: str
    incarnation: int
    role: LinkRole
    """what the other agent is to this one"""
    dialled: bool
    """this agent opened the connection"""


def hello(identity: Identity, role: LinkRole, *, escalate: bool = False, seen: str = "") -> Hello:
    """What `identity` says when it will be `role` to the other agent."""
    return Hello(
        node_id=identity.node_id,
        protocol=PROTOCOL,
        instance=identity.instance,
        incarnation=identity.incarnation,
        role=role,
        escalate=escalate,
        port=identity.port,
        host=host_mark(),
        version=cnet.__version__,
        seen=seen,
    )


def stranger(own: Identity, other: Hello) -> Refused | None:
    """Why an agent can never be linked to this one, whatever links there are."""
    if other.protocol != PROTOCOL:
        return Refused(
            why="protocol",
            details=f"{other.node_id} speaks link protocol {other.protocol} (cnet {other.version}),"
            f" {own.node_id} speaks {PROTOCOL} (cnet {cnet.__version__})",
        )
    if other.node_id != own.node_id:
        return None
    if other.instance == own.instance:
        return Refused(
            why="self",
            details=f"parent.address or peers.addresses of {own.node_id} leads to itself",
        )
    return Refused(
        why="node_id_taken",
        details=f"agent.node_id: both agents are called {own.node_id}; rename one of them",
    )


def refuse_call(own: Identity, caller: Hello, held: Held | None) -> Refused | None:
    """Why the one that was called refuses; None when the new link may replace `held`.

    The caller has no link, as far as it knows: so what is held is half-open, or both called each
    other at the same moment, and then the call of the agent with the smaller name stays.
    """
    if held is None:
        return None
    if (refused := _other_agent(caller, held)) is not None:
        return refused
    if caller.incarnation > held.incarnation:
        return None
    if held.role != caller.role:
        # The tree comes first: a parent that also lists its child as a peer must not keep it out.
        return None if (held.role, caller.role) == ("peer", "child") else _conflict(caller, held)
    if held.role == "peer" and held.dialled and own.node_id < caller.node_id:
        return _duplicate(caller)
    return None


def refuse_answer(
    own: Identity, answer: Hello, held: Held | None, *, being_called: bool
) -> Refused | None:
    """Why the caller refuses after the answer; None when the new link may replace `held`.

    `being_called`: the same agent is calling this one at the same time.
    """
    if held is None:
        both = being_called and answer.role == "peer" and answer.node_id < own.node_id
        return _duplicate(answer) if both else None
    if (refused := _other_agent(answer, held)) is not None:
        return refused
    if answer.incarnation > held.incarnation:
        return None
    if held.role == answer.role:
        return _duplicate(answer)
    return None if (held.role, answer.role) == ("peer", "parent") else _conflict(answer, held)


def _other_agent(other: Hello, held: Held) -> Refused | None:
    if other.instance != held.instance:
        return Refused(
            why="node_id_taken",
            details=f"agent.node_id: another agent called {other.node_id} is linked already; "
            "rename one of them",
        )
    return _duplicate(other) if other.incarnation < held.incarnation else None


def _duplicate(other: Hello) -> Refused:
    return Refused(why="duplicate", details=f"{other.node_id} is linked already")


def _conflict(other: Hello, held: Held) -> Refused:
    return Refused(
        why="role",
        details=f"{other.node_id} is linked as {held.role} already, it cannot be {other.role} too",
    )


def counterpart(role: LinkRole) -> LinkRole:
    """What one end is to the other that is `role` to it."""
    return {"parent": "child", "child": "parent", "peer": "peer"}[role]  # type: ignore[return-value]


@cache
def host_mark() -> str:
    """Equal for processes that share a kernel and a network namespace, hence loopback addresses."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/net').st_ino}"  # noqa: PTH116  Path follows too
    except OSError:
        return socket.gethostname()


def plain_ip(text: str) -> str:
    """An IP address as others may use it; empty for what is none, or means something here only."""
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if address.is_link_local:
            return ""
    return "" if address.is_unspecified else str(address)


def join_address(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """The inverse of `join_address`, for an IP address; empty and 0 for anything else."""
    host, _, port = address.rpartition(":")
    host = plain_ip(host.removeprefix("[").removesuffix("]"))
    return (host, int(port)) if host and port.isascii() and port.isdigit() else ("", 0)
