"""What the owner of a workload and its host say to each other.

Messages may be lost, doubled, late and out of order: each one states something that stays true, and
is said again until it is answered. `k` is the number of the assignment, which the owner counts up
each time it gives the workload to a node; what belongs to an older one is void.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cnet.errors import MalformedError


class _Message(msgspec.Struct, frozen=True, tag_field="say", kw_only=True):
    pass


class Assign(_Message, frozen=True, tag="assign"):
    """Owner → host: run this. Answered by `Status` once that is durable there, or `Refuse`."""

    id: str
    k: int
    incarnation: int
    """of the host as the owner knows it; a host that has been restarted since refuses"""
    spec: dict[str, Any]
    created_at: float
    attempt: int
    """runs so far; the host goes on counting"""
    generation: int
    preempt: bool = False
    """may end preemptible workloads of lower priority to make room"""


class Want(_Message, frozen=True, tag="want"):
    """Owner → host: a user's wish; `running` is a restart. Answered by `Status` or `Gone`."""

    id: str
    k: int
    generation: int
    desired: str


class Drop(_Message, frozen=True, tag="drop"):
    """Owner → host: assignments up to `k` are void; end the run and forget it."""

    id: str
    k: int


class Ack(_Message, frozen=True, tag="ack"):
    """Owner → host: heard the status of this version."""

    id: str
    k: int
    version: tuple[int, int]


class Follow(_Message, frozen=True, tag="follow"):
    """Owner → host: tell me again of everything you hold for me."""


class Grant(_Message, frozen=True, tag="grant"):
    """Owner → host: these may run until `asked_at` + `lease_s` by the host's clock."""

    incarnation: int
    """of the host when it asked; its clock may have begun anew since"""
    asked_at: float
    lease_s: float
    held: tuple[tuple[str, int], ...]


class Status(_Message, frozen=True, tag="status"):
    """Host → owner: how it stands. The first one says that it was accepted."""

    id: str
    k: int
    version: tuple[int, int]
    generation: int
    state: dict[str, Any]
    node_version: tuple[int, int]
    """of the host's `NodeState` that counts this workload's room as this status says"""
    returned: bool = False
    """no run of it is left here and none will come; it is the owner's again"""


class Refuse(_Message, frozen=True, tag="refuse"):
    """Host → owner: not taken, and this assignment never will be."""

    id: str
    k: int
    reason: str
    lasting: bool
    """asking this host again will not help"""
    node_version: tuple[int, int]
    """of the host's `NodeState` up to which it would refuse again"""


class Gone(_Message, frozen=True, tag="gone"):
    """Host → owner: nothing of it is here, and this assignment will never run."""

    id: str
    k: int


class Renew(_Message, frozen=True, tag="renew"):
    """Host → owner: may these go on? `asked_at` is the host's clock, to be sent back.

    Once in a while for everything that is kept: the owner says what of it is void.
    """

    incarnation: int
    asked_at: float
    held: tuple[tuple[str, int], ...]


Message = Assign | Want | Drop | Ack | Follow | Grant | Status | Refuse | Gone | Renew


def to_json(message: Message) -> Any:
    """A message as JSON values."""
    return msgspec.to_builtins(message)


def from_json(body: Any) -> Message:
    """The inverse; raises MalformedError."""
    try:
        message: Message = msgspec.convert(body, Message)
    except msgspec.ValidationError as error:
        raise MalformedError(f"delegation message: {error}") from None
    return message
