"""Events, log following and waiting, against a server whose connections really break."""

from __future__ import annotations

import threading
import time
from itertools import islice

import pytest

from cnet.client import AgentClient
from cnet.client.events import TICK, Event, parse
from cnet.client.lines import LONGEST_LINE, split_lines
from cnet.errors import NotFoundError, TransientError, UnreachableError
from tests.unit.client.stub_server import (
    broken_chunked_answer,
    json_answer,
    serve,
    stream_answer,
)

RUNNING = json_answer('{"id": "w", "name": "job", "status": "running", "status_reason": null}')
COMPLETED = json_answer('{"id": "w", "name": "job", "status": "completed"}')


GREETING = b"retry: 1000\n\n"


def event_text(seq: int, name: str = "workload") -> bytes:
    return f'id: {seq}\nevent: {name}\ndata: {{"seq": {seq}}}\n\n'.encode()


def test_parse_follows_the_event_stream_format() -> None:
    text = (
        b'retry: 1\n\n: ping\n\nid: 7\r\nevent:workload\r\ndata: {\r\ndata: "seq": 7}\r\n\r\n'
        b'event: resources\ndata: {"name": "\xe2\x80\xa8"}\n\n'
        b"id: 9\ndata: no json\n\nid: x\ndata: {}\n\ndata: [1]\n\nid: 10\ndata: {}\n"
    )
    assert list(parse(text.split(b"\n"))) == [
        TICK,
        TICK,
        Event(7, "workload", {"seq": 7}),
        Event(None, "resources", {"name": "\u2028"}),
        TICK,
        TICK,
        TICK,
        Event(10, "message", {}),
    ]


def test_lines_end_at_line_feeds_only_and_stay_bounded() -> None:
    assert list(split_lines([b"a\x0cb\n\xe2\x80", b"\xa8c\nd"])) == [
        b"a\x0cb",
        "\u2028c".encode(),
        b"d",
    ]
    pieces = list(split_lines([b"x" * 700_000] * 4))
    assert b"".join(pieces) == b"x" * 2_800_000
    assert max(map(len, pieces)) <= LONGEST_LINE + 700_000


def test_events_go_on_after_a_break_from_the_last_id() -> None:
    first = stream_answer(event_text(1), event_text(2))
    hold = threading.Event()
    second = stream_answer(b": ping\n\n", event_text(3), hold=hold)
    with serve({"/api/events": [first, second]}) as stub, AgentClient(stub.url) as client:
        events = client.events()
        seen = [event.seq for event in islice(events, 3)]
        hold.set()
    assert seen == [1, 2, 3]
    asked = [headers.get("Last-Event-ID") for headers in stub.headers_of("/api/events")]
    assert asked == [None, "2"]


def test_events_without_an_agent_fail_at_once() -> None:
    with AgentClient("http://127.0.0.1:1") as client, pytest.raises(UnreachableError):
        next(client.events())


def test_wait_for_reads_the_workload_again_at_each_event() -> None:
    hold = threading.Event()
    scripts = {
        "/api/events": [stream_answer(GREETING, event_text(1), hold=hold)],
        "/api/workloads/w": [RUNNING, COMPLETED],
    }
    with serve(scripts) as stub, AgentClient(stub.url) as client:
        assert client.wait_for("w")["status"] == "completed"
        hold.set()
        assert len(stub.headers_of("/api/workloads/w")) == 2


def test_wait_for_needs_no_event_when_the_state_is_reached_already() -> None:
    hold = threading.Event()
    scripts = {"/api/events": [stream_answer(GREETING, hold=hold)], "/api/workloads/w": [RUNNING]}
    with serve(scripts) as stub, AgentClient(stub.url) as client:
        assert client.wait_for("w", until="running")["name"] == "job"
        hold.set()


def test_wait_for_looks_again_after_a_break_although_no_event_came() -> None:
    hold = threading.Event()
    scripts = {
        "/api/events": [stream_answer(GREETING), stream_answer(GREETING, hold=hold)],
        "/api/workloads/w": [RUNNING, COMPLETED],
    }
    with serve(scripts) as stub, AgentClient(stub.url) as client:
        assert client.wait_for("w")["status"] == "completed"
        hold.set()


def test_wait_for_keeps_its_deadline_on_a_silent_stream() -> None:
    hold = threading.Event()
    scripts = {"/api/events": [stream_answer(GREETING, hold=hold)], "/api/workloads/w": [RUNNING]}
    with serve(scripts) as stub, AgentClient(stub.url) as client:
        began = time.monotonic()
        with pytest.raises(TransientError, match=r"'job' is still running after 0\.3 s") as caught:
            client.wait_for("w", timeout=0.3)
        assert time.monotonic() - began < 20
        hold.set()
    assert caught.value.code == "timeout"


def test_wait_for_keeps_its_deadline_on_a_busy_stream() -> None:
    hold = threading.Event()
    busy = stream_answer(*[b": ping\n\n"] * 3, hold=hold)
    scripts = {"/api/events": [busy], "/api/workloads/w": [RUNNING]}
    with serve(scripts) as stub, AgentClient(stub.url) as client:
        began = time.monotonic()
        with pytest.raises(TransientError, match="still running"):
            client.wait_for("w", timeout=0.4)
        assert 0.3 < time.monotonic() - began < 20
        hold.set()


def test_wait_for_a_deleted_workload_says_so() -> None:
    gone = json_answer('{"error": "not_found", "details": "no workload w"}', status=404)
    hold = threading.Event()
    scripts = {
        "/api/events": [stream_answer(GREETING, event_text(1), hold=hold)],
        "/api/workloads/w": [RUNNING, gone],
    }
    with serve(scripts) as stub, AgentClient(stub.url) as client:
        with pytest.raises(NotFoundError, match="no workload w"):
            client.wait_for("w")
        hold.set()


def test_following_a_log_gives_lines_and_notices_a_killed_agent() -> None:
    whole = stream_answer(b"one\ntw", b"o\n")
    cut = broken_chunked_answer(b"one\n")
    with serve({"/api/workloads/w/logs": [whole, cut]}) as stub, AgentClient(stub.url) as client:
        assert list(client.follow_logs("w")) == [b"one", b"two"]
        lines = client.follow_logs("w")
        assert next(lines) == b"one"
        with pytest.raises(UnreachableError, match="broke"):
            next(lines)


def test_wait_for_looks_again_when_a_look_failed() -> None:
    hold = threading.Event()
    busy = json_answer('{"error": "unavailable", "details": "starting"}', status=503)
    scripts = {
        "/api/events": [stream_answer(GREETING, event_text(1), hold=hold)],
        "/api/workloads/w": [busy, COMPLETED],
    }
    with serve(scripts) as stub, AgentClient(stub.url) as client:
        assert client.wait_for("w")["status"] == "completed"
        hold.set()
