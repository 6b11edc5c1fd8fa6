"""How links come about, end and come back."""

from __future__ import annotations

import time
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cnet._support.ports import free_ports
from cnet.cluster import hello, wire
from cnet.cluster.hello import Identity, Refused, Seen
from cnet.cluster.link import COALESCE_S
from cnet.cluster.wire import Message
from cnet.register.view import LinkRole
from tests.cluster.nodes import (
    PATIENCE_S,
    PING_S,
    Node,
    address_of,
    linked,
    listening,
    others_have_had_time_to_call,
    running,
    until,
)
from tests.cluster.wire import Wire

pytestmark = pytest.mark.anyio

LOST_S = 3 * PING_S
NEVER_S = 60.0
"""between pings: far beyond the patience of a test"""
PINGS_BYTES = 2 + 6
"""of an empty WebSocket message from each side, the dialling one's with a mask"""


def ups(node: Node, other: str) -> list[bool]:
    return [up for node_id, up in node.routes_changed if node_id == other]


# --- coming about --------------------------------------------------------------------------------


async def test_a_child_and_its_parent_know_each_other() -> None:
    root = Node("root")
    child = Node("child", parent=root.address)
    async with running(root, child):
        await linked(root, child)
        assert (root.links.linked, child.links.linked) == ({"child": "child"}, {"root": "parent"})
        assert root.exchange.links() == {"child": "child"}
        await until(lambda: root.exchange.view.get("child") and child.exchange.view.get("root"))


async def test_a_parent_may_start_after_its_child() -> None:
    root = Node("root")
    child = Node("child", parent=root.address)
    async with running(child) as start:
        await until(lambda: not root.links.linked)
        await start(root)
        await linked(root, child)


@pytest.mark.parametrize("_", range(5))
async def test_peers_that_dial_each_other_keep_one_connection(_: int) -> None:
    at = listening()
    two = Node("two", peers=(address_of(at),))
    one = Node("one", listener=at, peers=(two.address,))
    async with running(one, two) as start:
        await linked(one, two)
        await until(lambda: one.exchange.view.get("two") and two.exchange.view.get("one"))
        held = one.links._links["two"], two.links._links["one"]
        await others_have_had_time_to_call(start)
        assert held == (one.links._links["two"], two.links._links["one"])
        assert held[0].dialled != held[1].dialled
        assert ups(one, "two") == ups(two, "one") == [True]


async def test_addresses_are_those_that_others_see() -> None:
    root = Node("root")
    child = Node("child", parent=root.address)
    async with running(root, child):
        await linked(root, child)
        await until(lambda: root.addresses_seen and child.addresses_seen)
        assert root.addresses_seen == [root.address]
        assert child.addresses_seen == [child.address]
        assert child.links.address == child.address


# --- refusals ------------------------------------------------------------------------------------


async def refusal(*nodes: Node) -> str:
    """What the first dialler that fails says."""
    with capture_logs() as logs:
        async with running(*nodes):
            await until(lambda: [line for line in logs if line["event"] == "dial_failed"])
            assert not any(node.links.linked for node in nodes)
    return str(next(line["details"] for line in logs if line["event"] == "dial_failed"))


async def test_an_agent_is_not_linked_to_itself() -> None:
    at = listening()
    details = await refusal(Node("node", listener=at, parent=address_of(at)))
    assert "parent.address or peers.addresses of node leads to itself" in details


async def test_two_agents_of_one_name_are_not_linked() -> None:
    one = Node("same", instance="a")
    two = Node("same", instance="b", parent=one.address)
    assert "both agents are called same" in await refusal(one, two)


async def test_a_name_that_is_linked_is_not_given_to_another_agent() -> None:
    root = Node("root")
    first = Node("child", parent=root.address, instance="a")
    second = Node("child", parent=root.address, instance="b", incarnation=7)
    async with running(root, first) as start:
        await linked(root, first)
        with capture_logs() as logs:
            await start(second)
            await until(lambda: any(line["event"] == "dial_failed" for line in logs))
        assert "another agent called child is linked already" in str(logs)
        assert ups(root, "child") == [True]
        assert first.links.linked
        await first.stop()
        await linked(root, second)


async def test_parents_of_each_other_end_up_as_one_link() -> None:
    at = listening()
    two = Node("two", parent=address_of(at))
    one = Node("one", listener=at, parent=two.address)
    with capture_logs() as logs:
        async with running(one, two):
            await linked(one, two)
            await until(lambda: "it cannot be" in str(logs))
            await until(
                lambda: (
                    sorted([*one.links.linked.values(), *two.links.linked.values()])
                    == ["child", "parent"]
                )
            )


async def test_a_child_that_is_listed_as_a_peer_too_stays_a_child() -> None:
    at = listening()
    root = Node("root", peers=(address_of(at),))
    child = Node("child", listener=at, parent=root.address)
    async with running(root) as start:
        await start(child)
        await until(lambda: root.links.linked == {"child": "child"})
        await until(lambda: child.links.linked == {"root": "parent"})


# --- by hand -------------------------------------------------------------------------------------


async def dial(node: Node) -> ClientConnection:
    return await connect(
        f"ws://{node.address}/api/link", compression=None, proxy=None, ping_interval=None
    )


async def say(connection: ClientConnection, message: Message) -> None:
    for part in wire.encode(message):
        await connection.send(part)


def stranger(name: str = "stranger", role: LinkRole = "peer", **changes: Any) -> hello.Hello:
    identity = Identity(
        node_id=name,
        instance=changes.pop("instance", "elsewhere"),
        incarnation=changes.pop("incarnation", 1),
        port=1,
    )
    return hello.hello(identity, role)


async def greeted(node: Node, **changes: Any) -> ClientConnection:
    connection = await dial(node)
    await say(connection, stranger(**changes))
    assert isinstance(wire.decode(await connection.recv()), hello.Hello)
    await say(connection, Seen())
    return connection


async def closed(connection: ClientConnection) -> str:
    """The reason that is given, after whatever else is said."""
    try:
        with anyio.fail_after(PATIENCE_S):
            while True:
                await connection.recv()
    except ConnectionClosed:
        return connection.close_reason or ""


async def test_another_protocol_version_is_refused_with_both_versions() -> None:
    node = Node("node")
    async with running(node):
        connection = await dial(node)
        await connection.send('{"frame":"Hello","node_id":"old","protocol":99,"more":[1]}')
        refused = wire.decode(await connection.recv())
        assert isinstance(refused, Refused)
        assert (refused.why, refused.node_id) == ("protocol", "node")
        assert "old speaks link protocol 99" in refused.details
        assert "old speaks link protocol 99" in await closed(connection)


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        '{"frame":"Nothing"}',
        '{"frame":"Head","id":1}',
        (
            '{"frame":"Open","id":2,"to":"node","path":[],"method":"GET","target":"/","query":"",'
            '"headers":[]}'
        ),
        (
            '{"frame":"Open","id":1,"to":"node","path":["other"],"method":"GET","target":"/",'
            '"query":"","headers":[]}'
        ),
        '{"frame":"Seen"}',
        b"\0\0",
        b"\0\0\0\0\7",
        '{"frame":"Update","n":1,"adverts":[{"state":1}]}',
    ],
)
async def test_a_malformed_message_closes_the_link_with_a_reason(message: str | bytes) -> None:
    node = Node("node")
    async with running(node):
        connection = await greeted(node)
        await until(lambda: node.links.linked)
        await connection.send(message)
        assert await closed(connection)
        await until(lambda: not node.links.linked)


async def test_garbage_instead_of_a_hello_is_refused() -> None:
    node = Node("node")
    async with running(node):
        for first in ("no json", b"\0\0\0\1", '{"frame":"Seen"}'):
            connection = await dial(node)
            await connection.send(first)
            assert "message" in await closed(connection)


async def test_a_restarted_agent_takes_the_place_of_its_former_self() -> None:
    node = Node("node")
    async with running(node):
        former = await greeted(node, incarnation=1)
        await until(lambda: node.links.linked)
        later = await greeted(node, incarnation=2)
        assert "newer link" in await closed(former)
        assert node.links.linked == {"stranger": "peer"}
        older = await dial(node)
        await say(older, stranger(incarnation=1))
        assert "linked already" in await closed(older)
        await later.close()
        await until(lambda: not node.links.linked)


async def test_a_half_open_link_gives_way_to_a_new_one() -> None:
    node = Node("node")
    async with running(node):
        former = await greeted(node)
        await until(lambda: node.links.linked)
        later = await greeted(node)
        assert "newer link" in await closed(former)
        assert node.links.linked == {"stranger": "peer"}
        await later.close()


async def test_more_of_a_body_than_its_window_closes_the_link() -> None:
    node = Node("node")
    async with running(node):
        connection = await greeted(node)
        await connection.send(
            '{"frame":"Open","id":1,"to":"node","path":["stranger"],"method":"POST",'
            '"target":"/held","query":"","headers":[]}'
        )
        for _ in range(5):
            await connection.send(b"\0\0\0\1" + bytes(wire.CHUNK))
        assert "more than it may" in await closed(connection)


async def test_a_request_that_goes_round_in_circles_is_given_up() -> None:
    node = Node("node")
    async with running(node):
        connection = await greeted(node)
        long = tuple(f"node-{number}" for number in range(15))
        for number, path in enumerate((("node",), long)):
            opened = wire.Open(
                id=2 * number + 1,
                to="far",
                path=(*path, "stranger"),
                method="GET",
                target="/",
                query="",
                headers=(),
            )
            await say(connection, opened)
            answer = wire.decode(await connection.recv())
            while not isinstance(answer, wire.Reset):
                received = await connection.recv()
                if received:
                    answer = wire.decode(received)
            assert "far cannot be reached" in answer.details
        await connection.close()


# --- ends and returns ----------------------------------------------------------------------------


async def test_a_closed_connection_is_noticed_at_once_and_made_again() -> None:
    root = Node("root", ping_s=NEVER_S)
    async with running(root) as start:
        between = Wire(root.port)
        await start(between)
        child = Node("child", parent=between.address, ping_s=NEVER_S)
        await start(child)
        await linked(root, child)
        between.cut()
        await until(lambda: not root.links.linked or ups(root, "child") != [True])
        await until(lambda: not child.links.linked or between.connections == 2)
        await linked(root, child)
        await until(lambda: ups(root, "child") == [True, False, True])


async def test_a_frozen_agent_is_given_up_and_found_again() -> None:
    root = Node("root")
    async with running(root) as start:
        between = Wire(root.port)
        await start(between)
        child = Node("child", parent=between.address)
        await start(child)
        await linked(root, child)
        await until(lambda: root.exchange.view.get("child"))
        lost = root.links._links["child"], child.links._links["root"]
        between.freeze()
        await until(lambda: not root.links.linked and not child.links.linked)
        for link in lost:
            assert f"nothing heard from {link.peer_id} for {LOST_S:g} s" in link.reason
            assert anyio.current_time() - link._heard_at > LOST_S
        known = root.exchange.view.get("child")
        assert known is not None
        assert not known.reachable
        between.thaw()
        await linked(root, child)


async def test_a_parent_that_restarts_gets_its_children_back() -> None:
    (port,) = free_ports(1)
    root = Node("root", listener=listening(port))
    children = [Node(f"child-{number}", parent=root.address) for number in range(3)]
    async with running(*children) as start:
        await start(root)
        await until(lambda: len(root.links.linked) == 3)
        await root.stop()
        await until(lambda: not any(child.links.linked for child in children))
        again = Node("root", listener=listening(port), incarnation=2)
        await start(again)
        await until(lambda: len(again.links.linked) == 3)
        await until(
            lambda: all(ups(child, "root")[:3] == [True, False, True] for child in children)
        )


async def test_an_idle_link_stays_up_and_costs_little() -> None:
    root = Node("root")
    async with running(root) as start:
        between = Wire(root.port)
        await start(between)
        child = Node("child", parent=between.address)
        await start(child)
        await linked(root, child)
        await until(lambda: root.exchange.view.get("child") and child.exchange.view.get("root"))
        before, began = between.carried, anyio.current_time()
        await until(lambda: between.carried - before > 10 * PINGS_BYTES)
        pings = (anyio.current_time() - began) / PING_S
        # Of each side one that was on its way before, and one that has just been sent.
        assert between.carried - before <= (pings + 2) * PINGS_BYTES
        assert ups(root, "child") == ups(child, "root") == [True]


async def test_no_link_is_given_up_because_this_process_stood_still() -> None:
    root = Node("root")
    child = Node("child", parent=root.address)
    async with running(root, child):
        await linked(root, child)
        for _ in range(3):
            time.sleep(3 * LOST_S)  # noqa: ASYNC251  the standstill itself
            resumed = anyio.current_time()
            await until(lambda resumed=resumed: _heard(root, child) > resumed + PING_S)
        assert ups(root, "child") == ups(child, "root") == [True]


def _heard(one: Node, other: Node) -> float:
    """When the one that has waited longer has heard of the other."""
    links = one.links._links.get(other.name), other.links._links.get(one.name)
    return min(link._heard_at if link else 0.0 for link in links)


async def test_an_agent_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnet.cluster.link.MAX_WAITING", 1_000_000)
    node = Node("node")
    async with running(node):
        connection = await greeted(node)
        await until(lambda: node.links.linked)
        connection.transport.pause_reading()
        for _ in range(2000):
            await connection.send(b"")  # it lives
            node.exchange.post("stranger", "x" * 100_000)
            if not node.links.linked:
                break
            await anyio.lowlevel.checkpoint()
        await until(lambda: not node.links.linked)
        connection.transport.abort()


# --- what links carry ----------------------------------------------------------------------------


async def test_messages_of_any_size_are_passed_on() -> None:
    root = Node("root")
    child = Node("child", parent=root.address)
    async with running(root, child):
        await linked(root, child)
        for size in (0, 10, 100_000, 3_000_000):
            assert root.exchange.post("child", "x" * size)
            await until(lambda size=size: child.delivered)  # type: ignore[misc]
            assert child.delivered.pop() == ("root", "x" * size)


async def test_a_slow_wire_full_of_bulk_is_no_lost_link() -> None:
    root = Node("root")
    async with running(root) as start:
        between = Wire(root.port, bytes_per_s=2_000_000)
        await start(between)
        child = Node("child", parent=between.address)
        await start(child)
        await linked(root, child)
        await until(lambda: root.exchange.view.get("child"))
        assert root.exchange.post("child", "x" * 2_000_000)
        assert child.exchange.post("root", "x" * 2_000_000)
        async with root.client("child") as client:
            reply = await client.get("/zeros", params={"size": 2_000_000})
        assert len(reply.content) == 2_000_000
        await until(lambda: child.delivered and root.delivered)
        assert ups(root, "child") == ups(child, "root") == [True]


async def test_changes_are_sent_together() -> None:
    root = Node("root")
    child = Node("child", parent=root.address)
    async with running(root, child):
        await linked(root, child)
        await until(lambda: root.exchange.view.get("child"))
        flushes = []
        link = child.links._links["root"]
        flush = link._exchange.flush
        child.exchange.flush = lambda peer_id: (flushes.append(peer_id), flush(peer_id))[1]  # type: ignore[method-assign, func-returns-value]
        began = anyio.current_time()
        for seq in range(2, 502):
            child.tell(seq)
            if seq % 10 == 0:
                await anyio.sleep(0.001)
        await until(lambda: root.exchange.view.get("child").state.seq == 501)  # type: ignore[union-attr]
        assert 1 <= len(flushes) <= 1 + (anyio.current_time() - began) / COALESCE_S


async def test_a_change_waits_for_no_ping_and_no_tick() -> None:
    root = Node("root", ping_s=NEVER_S)
    child = Node("child", parent=root.address, ping_s=NEVER_S)
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    child.exchange.tick = tick  # type: ignore[method-assign]
    async with running(root, child):
        await linked(root, child)
        await until(lambda: root.exchange.view.get("child"))
        ticks = 0
        for seq in range(2, 22):
            child.tell(seq)
            await until(lambda seq=seq: root.exchange.view.get("child").state.seq == seq)  # type: ignore[union-attr]
        assert ticks < 20
