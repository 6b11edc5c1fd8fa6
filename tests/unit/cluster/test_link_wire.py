"""Messages, pieces of bodies, windows and turns; nothing here needs a socket."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnet.cluster import wire
from cnet.cluster.frames import Post
from cnet.cluster.outbox import Outbox
from cnet.cluster.requests import request_headers, target_of
from cnet.cluster.streams import MAX_CALLS, WINDOW, Stream, Streams
from cnet.cluster.wire import Assembler, Credit, Head, Open, Reset
from cnet.errors import MalformedError, UnreachableError

pytestmark = pytest.mark.anyio


def post(size: int) -> Post:
    return Post(to="b", source="a", path=("a",), body="x" * size)


def drain(outbox: Outbox) -> list[str | bytes]:
    sent: list[str | bytes] = []
    while (message := outbox.next_message() or outbox.next_piece()) is not None:
        sent.append(message)
    return sent


# --- messages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 100, wire.CHUNK - 200, wire.CHUNK, 5 * wire.CHUNK + 1])
def test_messages_of_any_size_survive_the_wire(size: int) -> None:
    assembler = Assembler()
    parts = wire.encode(post(size))
    assert all(len(part) <= wire.MAX_MESSAGE for part in parts)
    received = [assembler.feed(part) for part in parts]
    assert received[:-1] == [None] * (len(parts) - 1)
    assert received[-1] == post(size)
    assert assembler.feed(wire.encode(post(1))[0]) == post(1)


def test_pings_and_bodies_may_come_between_the_pieces_of_a_message() -> None:
    assembler = Assembler()
    first, *others = wire.encode(post(2 * wire.CHUNK))
    assert assembler.feed(first) is None
    assert assembler.feed(wire.PING) is None
    assert assembler.feed(next(wire.body_pieces(7, b"abc"))) == (7, b"abc")
    assert assembler.feed(wire.body_end(7)) == (7, b"")
    assert [assembler.feed(part) for part in others][-1] == post(2 * wire.CHUNK)


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_nonsense_is_malformed_or_a_piece_of_a_body(data: bytes | str) -> None:
    try:
        received = Assembler().feed(data)
    except MalformedError:
        return
    assert received is None or isinstance(received, tuple)


def test_a_message_without_end_is_given_up() -> None:
    assembler = Assembler()
    piece = b"\0\0\0\0\1" + bytes(wire.CHUNK)
    with pytest.raises(MalformedError, match="at most"):
        for _ in range(wire.MAX_JSON // wire.CHUNK + 1):
            assembler.feed(piece)


# --- turns ---------------------------------------------------------------------------------------


async def test_messages_go_first_and_bodies_take_turns() -> None:
    outbox = Outbox()
    one, two = Stream(1, outbox), Stream(3, outbox)
    await one.write(bytes(3 * wire.CHUNK))
    await two.write(bytes(2 * wire.CHUNK))
    two.finish()
    outbox.put("message")
    message, *pieces = drain(outbox)
    assert message == "message"
    assert [piece[3] for piece in pieces if isinstance(piece, bytes)] == [1, 3, 1, 3, 1, 3]
    assert pieces[-1] == wire.body_end(3)
    assert not outbox
    assert outbox.size == 0


async def test_what_is_put_in_ends_the_wait() -> None:
    outbox = Outbox()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(outbox.wait, None)
            await anyio.lowlevel.checkpoint()
            outbox.put("a")
        await outbox.wait(None)
        drain(outbox)
        await outbox.wait(0.001)


# --- windows -------------------------------------------------------------------------------------


def pair() -> tuple[Stream, Outbox, Stream, Outbox]:
    """The two ends of one request."""
    near, far = Outbox(), Outbox()
    return Stream(1, near), near, Stream(1, far), far


def pass_on(outbox: Outbox, stream: Stream) -> None:
    assembler = Assembler()
    for part in drain(outbox):
        received = assembler.feed(part)
        if isinstance(received, tuple):
            stream.receive_piece(received[1])
        elif isinstance(received, Credit):
            stream.receive_credit(received.size)
        elif isinstance(received, Head):
            stream.receive_head(received)
        elif isinstance(received, Reset):
            stream.break_off(received.details)


async def test_a_writer_is_never_more_than_a_window_ahead_of_the_reader() -> None:
    near, near_box, far, far_box = pair()
    data = bytes(range(256)) * (3 * WINDOW // 256 + 7)
    written = False
    read = bytearray()

    async def write() -> None:
        nonlocal written
        await near.write(data)
        near.finish()
        written = True

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        await anyio.wait_all_tasks_blocked()
        pass_on(near_box, far)
        assert not written
        while piece := await far.read():
            read += piece
            pass_on(far_box, near)
            await anyio.wait_all_tasks_blocked()
            pass_on(near_box, far)
    assert read == data
    assert await far.read() == b""


async def test_a_reset_reaches_whoever_waits_at_the_other_end() -> None:
    near, near_box, far, _ = pair()
    await near.write(b"abc")
    pass_on(near_box, far)
    near.reset("enough")
    near.reset("once more")
    pass_on(near_box, far)
    assert await far.read() == b"abc"
    for wait in (far.read, far.head):
        with pytest.raises(UnreachableError, match="enough") as caught:
            await wait()
        assert caught.value.code == "node_unreachable"
    with pytest.raises(UnreachableError):
        await far.write(b"x")
    far.finish()
    far.begin(Head(1, 200, ()))
    with anyio.fail_after(10):
        await far.until_over()


def test_an_end_that_disregards_the_rules_is_malformed() -> None:
    def fresh() -> Stream:
        return Stream(1, Outbox())

    with pytest.raises(MalformedError, match="more than it may"):
        fresh().receive_piece(bytes(WINDOW + 1))
    ended = fresh()
    ended.receive_piece(b"")
    with pytest.raises(MalformedError):
        ended.receive_piece(b"x")
    for size in (1, -1):
        with pytest.raises(MalformedError):
            fresh().receive_credit(size)
    twice = fresh()
    twice.receive_head(Head(1, 200, ()))
    with pytest.raises(MalformedError):
        twice.receive_head(Head(1, 200, ()))


# --- the table -----------------------------------------------------------------------------------


def opened(number: int) -> Open:
    return Open(id=number, to="a", path=("b",), method="GET", target="/", query="", headers=())


class Table:
    def __init__(self, *, dialled: bool = True) -> None:
        self.outbox = Outbox()
        self.served: list[Stream] = []
        self.streams = Streams(
            self.outbox, dialled=dialled, serve=lambda _, stream: self.served.append(stream)
        )

    def open(self) -> Stream:
        fields: dict[str, Any] = {"to": "b", "path": ("a",), "method": "GET"}
        return self.streams.open(**fields, target="/", query="", headers=())


def test_the_two_sides_never_give_a_request_the_same_number() -> None:
    ours, theirs = Table(dialled=True), Table(dialled=False)
    assert [ours.open().number for _ in range(3)] == [1, 3, 5]
    assert [theirs.open().number for _ in range(3)] == [2, 4, 6]
    for number in (1, 0, 2**32):
        with pytest.raises(MalformedError, match="no number for a new request"):
            ours.streams.receive(opened(number))
    ours.streams.receive(opened(2))
    with pytest.raises(MalformedError):
        ours.streams.receive(opened(2))


def test_numbers_are_used_again_after_the_last_one() -> None:
    table = Table(dialled=False)
    first = table.open()
    table.streams._next = 2**32 - 2
    assert table.open().number == 2**32 - 2
    assert table.open().number == first.number + 2


def test_what_comes_for_a_request_that_is_over_is_ignored() -> None:
    table = Table()
    stream = table.open()
    table.streams.forget(stream)
    table.streams.forget(stream)
    for message in (Head(1, 200, ()), Credit(1, 10**9), Reset(1, "")):
        table.streams.receive(message)
    table.streams.receive_piece(1, bytes(2 * WINDOW))


def test_too_many_requests_at_once_are_turned_down() -> None:
    table = Table()
    for number in range(MAX_CALLS + 1):
        table.streams.receive(opened(2 * number + 2))
    assert len(table.served) == MAX_CALLS
    assert isinstance(Assembler().feed(drain(table.outbox)[-1]), Reset)
    table.streams.forget(table.served[0])
    table.streams.receive(opened(2))
    assert len(table.served) == MAX_CALLS + 1


async def test_all_requests_break_with_the_link() -> None:
    table = Table()
    stream = table.open()
    table.streams.lose("the link to b was lost")
    with pytest.raises(UnreachableError, match="was lost"):
        await stream.head()
    with pytest.raises(UnreachableError, match="was lost"):
        table.open()


# --- requests ------------------------------------------------------------------------------------


def test_headers_of_the_hop_stay_behind() -> None:
    headers = [
        (b"Host", b"here"),
        (b"Authorization", b"Bearer secret"),
        (b"Connection", b"close, X-Private"),
        (b"X-Private", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"X-Own", b"\xe9"),
    ]
    assert request_headers({"headers": headers}, "b") == (("host", "b"), ("x-own", "é"))


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        ({"path": "/a b", "raw_path": b"/a%20b"}, "/a%20b"),
        ({"path": "/rest", "raw_path": b"/mounted/rest"}, "/rest"),
        ({"path": "/a/ü?%"}, "/a/%C3%BC%3F%25"),
    ],
)
def test_the_path_is_sent_as_it_came_unless_it_was_rewritten(
    scope: dict[str, Any], target: str
) -> None:
    assert target_of(scope) == target
