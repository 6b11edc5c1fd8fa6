"""What agents say to each other over a link, as JSON objects told apart by their key `frame`."""

from __future__ import annotations

from typing import Any

import msgspec

from cnet.errors import MalformedError
from cnet.model.node import NodeState

MAX_HOPS = 16
"""The longest way that anything travels: links to cross."""


class Advert(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A node, and the way to it from the agent that says so."""

    state: NodeState
    path: tuple[str, ...]
    """from the agent that says so to the node, both included: the number of links to cross"""
    reachable: bool = True
    below: bool = False
    """a descendant of the agent that says so, or that agent itself"""


class Update(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="frame"):
    """What has changed since the update before, or (`full`) everything."""

    n: int
    """numbers the updates of one link in one direction from 1"""
    full: bool = False
    """what this update and those that continue it do not tell of is gone"""
    more: bool = False
    """the next update continues this one"""
    adverts: tuple[Advert, ...] = ()
    gone: tuple[str, ...] = ()
    """names of nodes that are told of no longer"""


class Resync(msgspec.Struct, frozen=True, tag_field="frame"):
    """Some update was missed: asks for everything anew."""


class Post(msgspec.Struct, frozen=True, kw_only=True, tag_field="frame"):
    """A message from one agent to another, passed on hop by hop."""

    to: str
    source: str
    path: tuple[str, ...]
    """the agents that have sent it on, its source first"""
    body: Any
    """any JSON value"""


Frame = Update | Resync | Post

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)


def encode(frame: Frame) -> bytes:
    """A frame as UTF-8 JSON."""
    return _encoder.encode(frame)


def decode(data: bytes | str) -> Frame:
    """The inverse of `encode`. Raises MalformedError for anything else."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"frame: {error}") from None
