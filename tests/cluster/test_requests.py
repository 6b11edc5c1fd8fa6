"""Requests carried over links, one hop and two."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from cnet.cluster.streams import WINDOW
from cnet.errors import UnreachableError
from tests.cluster.nodes import Node, linked, running, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def chain() -> AsyncIterator[tuple[Node, Node, Node]]:
    """Root, middle and leaf; every one knows the others."""
    root = Node("root")
    middle = Node("middle", parent=root.address, escalate=True)
    leaf = Node("leaf", parent=middle.address, escalate=True)
    async with running(root, middle, leaf):
        await linked(root, middle)
        await linked(middle, leaf)
        await until(lambda: root.exchange.next_hop("leaf") and leaf.exchange.next_hop("root"))
        yield root, middle, leaf


async def test_a_request_reaches_a_node_two_hops_away_and_back(
    chain: tuple[Node, Node, Node],
) -> None:
    root, middle, leaf = chain
    for start, end in ((root, leaf), (leaf, root)):
        async with start.client(end.name) as client:
            reply = await client.get("/who", headers={"Authorization": "Bearer x", "X-Own": "1"})
        assert reply.status_code == 200
        assert reply.headers["x-node"] == end.name
        told = reply.json()["headers"]
        assert told["host"] == end.name
        assert told["x-own"] == "1"
        assert "authorization" not in told
        scope = end.application.scopes[-1]
        assert (scope["cnet.link"], scope["cnet.source"]) == ("middle", start.name)
        assert scope["cnet.path"] == (start.name, "middle")
    assert not middle.application.scopes


async def test_path_query_and_status_arrive_as_they_were(chain: tuple[Node, Node, Node]) -> None:
    root, _, leaf = chain
    async with root.client("leaf") as client:
        reply = await client.get("/a%20b/%C3%BC?x=1&y=%2F")
    assert reply.status_code == 404
    scope = leaf.application.scopes[-1]
    assert scope["path"] == "/a b/ü"
    assert scope["raw_path"] == b"/a%20b/%C3%BC"
    assert scope["query_string"] == b"x=1&y=%2F"


async def test_the_own_node_is_answered_without_a_link(chain: tuple[Node, Node, Node]) -> None:
    root, _, _ = chain
    async with root.client("root") as client:
        assert (await client.get("/who")).json()["node"] == "root"


async def test_a_node_without_a_way_is_unreachable(chain: tuple[Node, Node, Node]) -> None:
    root, _, _ = chain
    with pytest.raises(UnreachableError, match="nowhere cannot be reached from root") as caught:
        root.links.app_for("nowhere")
    assert caught.value.code == "node_unreachable"


async def test_large_bodies_arrive_bit_exact_in_both_directions(
    chain: tuple[Node, Node, Node],
) -> None:
    root, _, _ = chain
    data = os.urandom(20 * 1024 * 1024)
    async with httpx.AsyncClient(timeout=60) as client:
        reply = await client.post(f"{root.url}/to/leaf/digest", content=data)
        assert reply.json() == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    async with root.client("leaf") as client:  # one that reads while it still sends
        assert (await client.post("/echo", content=data)).content == data


async def test_an_error_of_the_application_is_an_answer_of_500(
    chain: tuple[Node, Node, Node],
) -> None:
    root, _, _ = chain
    async with root.client("leaf") as client:
        reply = await client.get("/broken")
        assert (reply.status_code, reply.json()["error"]) == (500, "internal_error")
        assert (await client.get("/who")).status_code == 200
    assert root.links.linked.keys() == {"middle"}


async def test_a_slow_reader_fills_no_memory_and_holds_up_nobody(
    chain: tuple[Node, Node, Node],
) -> None:
    root, _, leaf = chain
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", f"{root.url}/to/leaf/endless") as reply,
    ):
        assert reply.status_code == 200
        seen = -1
        while seen != leaf.application.streamed:  # until nothing more is put out
            seen = leaf.application.streamed
            for _ in range(20):
                assert (await client.get(f"{root.url}/to/leaf/who")).status_code == 200
        # Windows of two links, and what sockets of three connections hold.
        assert seen < 2 * WINDOW + 16 * 1024 * 1024
        assert not [up for _, up in root.routes_changed if not up]
    await until(lambda: leaf.application.left == ["/endless"])


async def test_many_requests_share_a_link(chain: tuple[Node, Node, Node]) -> None:
    root, _, _ = chain
    sizes: list[int] = []

    async def download(client: httpx.AsyncClient, size: int) -> None:
        sizes.append(len((await client.get("/zeros", params={"size": size})).content))

    async with root.client("leaf") as client, anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(download, client, number * 10_000)
    assert sorted(sizes) == [number * 10_000 for number in range(100)]


async def test_events_come_one_by_one_and_end_with_their_reader(
    chain: tuple[Node, Node, Node],
) -> None:
    root, _, leaf = chain
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", f"{root.url}/to/leaf/events") as reply,
    ):
        assert await anext(reply.aiter_bytes()) == b"data: hello\n\n"
    await until(lambda: leaf.application.left == ["/events"])


async def test_whoever_asks_may_leave_before_the_answer(chain: tuple[Node, Node, Node]) -> None:
    root, _, leaf = chain
    async with httpx.AsyncClient(timeout=60) as client, anyio.create_task_group() as group:
        group.start_soon(client.get, f"{root.url}/to/leaf/patient")
        await until(lambda: leaf.application.scopes)
        group.cancel_scope.cancel()
    await until(lambda: leaf.application.left == ["/patient"])


async def test_a_reply_may_come_before_the_request_is_read(
    chain: tuple[Node, Node, Node],
) -> None:
    root, _, leaf = chain
    leaf.application.held.set()
    async with root.client("leaf") as client:
        reply = await client.post("/held", content=bytes(4 * WINDOW))
        assert reply.text == "done"
        assert (await client.get("/who")).status_code == 200


async def test_a_node_that_is_lost_before_it_answers_is_an_error(
    chain: tuple[Node, Node, Node],
) -> None:
    root, _, leaf = chain
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            async with root.client("leaf") as client:
                with pytest.raises(UnreachableError, match="leaf was lost") as caught:
                    await client.get("/held")
            assert caught.value.code == "node_unreachable"

        group.start_soon(ask)
        await until(lambda: leaf.application.scopes)
        group.start_soon(leaf.stop)


async def test_a_body_that_breaks_off_is_no_whole_one(chain: tuple[Node, Node, Node]) -> None:
    root, _, leaf = chain
    async with (
        httpx.AsyncClient(timeout=60) as client,
        anyio.create_task_group() as group,
        client.stream("GET", f"{root.url}/to/leaf/events") as reply,
    ):
        pieces = reply.aiter_bytes()
        assert await anext(pieces)
        group.start_soon(leaf.stop)
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(pieces)
