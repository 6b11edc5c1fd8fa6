"""What is written during a turn of the event loop leaves in one piece, and nothing is lost."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from cnet.serving import _Gathered


class Wire:
    """A transport that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.closing = True
        self.told.append("closed")

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str) -> str:
        return f"about {name}"


def gathered(wire: Wire) -> _Gathered:
    return _Gathered(cast("asyncio.Transport", wire), asyncio.get_running_loop())


@pytest.mark.anyio
async def test_a_turn_is_one_write() -> None:
    wire = Wire()
    transport = gathered(wire)
    transport.write(b"head")
    transport.write(b"body")
    assert wire.told == []
    await asyncio.sleep(0)
    assert wire.told == [b"headbody"]
    transport.write(b"more")
    await asyncio.sleep(0)
    assert wire.told == [b"headbody", b"more"]
    assert transport.get_extra_info("peer") == "about peer"


@pytest.mark.anyio
async def test_an_end_follows_what_was_written() -> None:
    wire = Wire()
    transport = gathered(wire)
    transport.write(b"last")
    transport.close()
    await asyncio.sleep(0)
    assert wire.told == [b"last", "closed"]


@pytest.mark.anyio
async def test_nothing_is_written_to_a_lost_connection() -> None:
    wire = Wire()
    transport = gathered(wire)
    transport.write(b"late")
    wire.closing = True
    await asyncio.sleep(0)
    assert wire.told == []
