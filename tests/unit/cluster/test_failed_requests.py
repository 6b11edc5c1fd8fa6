"""An application that fails while it answers a request of another agent."""

from __future__ import annotations

import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs
from structlog.typing import EventDict

from cnet.cluster.outbox import Outbox
from cnet.cluster.requests import scope_of, serve
from cnet.cluster.streams import Stream
from cnet.cluster.wire import Open

pytestmark = pytest.mark.anyio
OPENED = Open(id=1, to="here", path=("there",), method="GET", target="/who", query="", headers=())


async def logged(stream: Stream, *, answers: bool) -> list[EventDict]:
    """What is logged of an application that fails, after its answer or without one."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if answers:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})
        raise RuntimeError("planted")

    with capture_logs() as logs:
        await serve(stream, app, scope_of(OPENED, link="there"))
    return [line for line in logs if line["path"] == "/who"]


async def test_one_that_somebody_waits_for_is_answered_and_logged() -> None:
    stream = Stream(1, Outbox())
    [line] = await logged(stream, answers=False)
    assert (line["event"], line["log_level"]) == ("request_failed", "error")
    assert not stream.is_broken, "it got an answer of 500"


async def test_one_that_nobody_waits_for_is_still_told() -> None:
    stream = Stream(1, Outbox())
    stream.break_off("whoever asked has gone")
    [line] = await logged(stream, answers=False)
    assert (line["event"], line["log_level"]) == ("request_failed_late", "debug")
    assert "planted" in line["error"]


async def test_one_that_was_answered_is_still_told_and_the_answer_stands() -> None:
    stream = Stream(1, Outbox())
    [line] = await logged(stream, answers=True)
    assert line["event"] == "request_failed_late"
    assert not stream.is_broken
