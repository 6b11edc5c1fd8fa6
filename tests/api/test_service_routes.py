"""Routes to services over real sockets: scripted services behind uvicorn's own protocol."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from cnet.api.services.connection import HIGH_WATER_BYTES
from cnet.errors import UnreachableError
from tests.api.upstreams import (
    OK,
    Answer,
    Front,
    Links,
    Peer,
    Place,
    Services,
    Upstream,
    answers,
    fields_of,
    front,
    once,
    running,
    until,
)

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


def one(upstream: Upstream, name: str = "faces") -> Services:
    return Services({name: [Place("w1", upstream.endpoint)]})


def refused(answer: Answer, status: int, code: str, says: str) -> None:
    assert answer.status == status, answer
    body = orjson.loads(answer.body)
    assert body["error"] == code and says in body["details"], body
    assert bool(answer.all(b"retry-after")) is (status == 503)


async def standstill(progress: Callable[[], int]) -> None:
    """Until a thousand turns of the event loop, in which all sides run, have changed nothing."""
    turns, seen = 0, progress()
    while turns < 1000 or not seen:
        await asyncio.sleep(0)
        turns, seen = (turns + 1, seen) if progress() == seen else (0, progress())


# --- what is passed on --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_method_path_query_and_body_are_passed_on(method: str) -> None:
    upstream = Upstream(answers(b"HTTP/1.1 201 Made\r\nX-A: b\r\nContent-Length: 4\r\n\r\nmade"))
    async with running(upstream), front(one(upstream)) as agent:
        answer = await agent.ask(method, "/services/faces/a%20b/c?x=%2f&y", body=b"body")
        assert (answer.status, answer.body, answer.all(b"x-a")) == (201, b"made", [b"b"])
    assert upstream.heads[0].startswith(f"{method} /a%20b/c?x=%2f&y HTTP/1.1\r\n".encode())
    assert fields_of(upstream.heads[0])[b"content-length"] == b"4"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/services/faces", b"/"),
        ("/services/faces/", b"/"),
        ("/services/faces?a", b"/?a"),
        ("/services/faces//x/../y", b"//x/../y"),
        ("/services/f%61ces/%2e%2e", b"/%2e%2e"),
    ],
)
async def test_paths(path: str, target: bytes) -> None:
    upstream = Upstream(answers(OK))
    async with running(upstream), front(one(upstream)) as agent:
        assert (await agent.ask("GET", path)).body == b"ok"
    assert upstream.heads[0].split(b" ")[1] == target


@pytest.mark.parametrize("path", ["/api/x", "/services", "/%73ervices/faces/x", "/service/faces"])
async def test_other_paths_are_the_agents_own(path: str) -> None:
    async with front(Services()) as agent:
        assert (await agent.ask("GET", path)).status == 418


async def test_names_of_any_text_and_ids() -> None:
    upstream = Upstream(answers(OK))
    async with running(upstream):
        places = [Place("0b6e", upstream.endpoint)]
        async with front(Services({"Erkennung für %": places, "0b6e": places})) as agent:
            path = "/services/Erkennung%20f%C3%BCr%20%25/x"
            assert (await agent.ask("GET", path)).status == 200
            assert (await agent.ask("GET", "/services/0b6e/x")).status == 200
    assert fields_of(upstream.heads[0])[b"x-forwarded-prefix"] == path[:-2].encode()


async def test_fields_of_the_connection_and_of_the_agent_stay_here() -> None:
    reply = (
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n"
        b"Date: then\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok"
    )
    upstream = Upstream(answers(reply))
    async with running(upstream), front(one(upstream)) as agent:
        answer = await agent.ask(
            "GET",
            "/services/faces/",
            "Authorization: Bearer secret",
            "Proxy-Authorization: Basic secret",
            "Connection: X-Mine, keep-alive, x-forwarded-for",
            "X-Mine: 1",
            "TE: trailers",
            "X-Forwarded-For: 10.0.0.7",
            "X-Forwarded-Host: spoofed",
            "X-Other: 2",
            "Accept: a",
            "Accept: b",
        )
    head = upstream.heads[0]
    fields = fields_of(head)
    assert b"secret" not in head and b"spoofed" not in head
    assert not {b"connection", b"x-mine", b"te", b"authorization"} & fields.keys()
    assert head.count(b"accept: ") == 2 and fields[b"x-other"] == b"2"
    assert fields[b"host"] == upstream.endpoint.removeprefix("http://").encode()
    assert fields[b"x-forwarded-for"] == b"10.0.0.7, 127.0.0.1"
    assert fields[b"x-forwarded-host"] == b"localhost:80"
    assert fields[b"x-forwarded-proto"] == b"http"
    assert fields[b"x-forwarded-prefix"] == b"/services/faces"
    assert fields[b"via"] == b"1.1 cnet"
    assert not answer.all(b"x-hop") and not answer.all(b"keep-alive")
    assert answer.all(b"set-cookie") == [b"a", b"b"]
    assert answer.all(b"date") == [b"now"]
    assert answer.all(b"content-security-policy")[0].startswith(b"sandbox ")


# --- answers of every kind ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "reply", "status", "body", "kept"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, b"", True),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, b"", True),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        ("GET", b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", 304, b"", True),
        (
            "GET",
            b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hm\r\nLink: x\r\n\r\n" + OK,
            200,
            b"ok",
            True,
        ),
        ("GET", OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), 200, b"ok", False),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
        ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
        (
            "GET",
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n"
                b"1;x=y\r\no\r\n1\r\nk\r\n0\r\nT: 1\r\n\r\n"
            ),
            200,
            b"ok",
            True,
        ),
    ],
)
async def test_answers(method: str, reply: bytes, status: int, body: bytes, kept: bool) -> None:
    """Each is followed by another request, on the same connection where that is possible."""
    upstream = Upstream(answers(reply, OK))
    async with running(upstream), front(one(upstream)) as agent:
        client = await agent.connect()
        await client.send(method, "/services/faces/")
        answer = await client.answer(method)
        assert (answer.status, answer.body, answer.whole) == (status, body, True)
        await client.send("GET", "/services/faces/")
        second = await client.answer()
        assert (second.status, second.body) == (status, body) if not kept else (200, b"ok")
        assert len(upstream.peers) == (1 if kept else 2)
        client.close()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_that_ends_with_its_connection(version: bytes) -> None:
    upstream = Upstream(once(b"HTTP/" + version + b" 200 OK\r\n\r\nall there is"))
    async with running(upstream), front(one(upstream)) as agent:
        answer = await agent.ask("GET", "/services/faces/")
        assert (answer.status, answer.body, answer.whole) == (200, b"all there is", True)
        assert agent.pool.idle == 0


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "no HTTP"),
        (b"\x16\x03\x01\x02\x00", "no HTTP"),
        (b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", "999"),
        (b"HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "transfer coding"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer coding"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 0\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nA b: c\r\nContent-Length: 0\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 0\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Len", "midst"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, "header fields"),
        (b"HTTP/1.1 100 Go\r\n\r\n" * 10_000, "header fields"),
    ],
)
async def test_what_cannot_be_passed_on_is_a_bad_gateway(reply: bytes, says: str) -> None:
    upstream = Upstream(once(reply))
    async with running(upstream), front(one(upstream)) as agent:
        answer = await agent.ask("GET", "/services/faces/")
        refused(answer, 502, "bad_gateway", says)
        assert b"w1 on node here" in answer.body
        assert len(upstream.peers) == 1  # an answer had begun: not asked again
        assert agent.pool.idle == 0 and not agent.routes.outstanding


async def test_what_follows_an_answer_costs_the_connection_only() -> None:
    upstream = Upstream(answers(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
    async with running(upstream), front(one(upstream)) as agent:
        for count in (1, 2):
            assert (await agent.ask("GET", "/services/faces/")).body == b"ok"
            assert len(upstream.peers) == count


async def test_a_small_answer_that_breaks_off_is_not_begun() -> None:
    upstream = Upstream(once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"))
    async with running(upstream), front(one(upstream)) as agent:
        answer = await agent.ask("GET", "/services/faces/")
        refused(answer, 502, "bad_gateway", "w1 on node here closed the connection in the midst")


async def test_an_answer_that_breaks_off_is_seen_to_break_off() -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\nhalf"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
    for reply in (large, chunked):
        upstream = Upstream(once(reply))
        async with running(upstream), front(one(upstream)) as agent:
            answer = await agent.ask("GET", "/services/faces/")
            assert (answer.status, answer.body, answer.whole) == (200, b"half", False)


# --- streams ------------------------------------------------------------------------------------


async def test_events_arrive_one_by_one_and_end_with_the_client() -> None:
    proceed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await proceed.wait()
        await peer.say(b"data: 2\n\n")
        await peer.gone()

    upstream = Upstream(script)
    async with running(upstream), front(one(upstream)) as agent:
        client = await agent.connect()
        await client.send("GET", "/services/faces/events")
        await client.reader.readuntil(b"data: 1\n\n")
        assert agent.routes.outstanding == {"w1": 1}
        proceed.set()
        await client.reader.readuntil(b"data: 2\n\n")
        client.close()
        await upstream.closed.wait()
        await until(lambda: not agent.routes.outstanding)
        assert agent.pool.idle == 0


async def test_a_client_that_leaves_before_the_answer_ends_the_request() -> None:
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.gone()

    upstream = Upstream(script)
    async with running(upstream), front(one(upstream)) as agent:
        client = await agent.connect()
        await client.send("POST", "/services/faces/predict", body=b"x")
        await asked.wait()
        client.close()
        await upstream.closed.wait()
        await until(lambda: not agent.routes.outstanding)
        assert len(upstream.peers) == 1


async def test_a_conversation_of_chunks_both_ways() -> None:
    """Neither side waits for the other to be finished."""

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while chunk := await peer.chunk():
            await peer.say(b"%x\r\n%b\r\n" % (len(chunk), chunk.upper()))
        await peer.say(b"0\r\n\r\n")
        await peer.gone()

    upstream = Upstream(script)
    async with running(upstream), front(one(upstream)) as agent:
        client = await agent.connect()
        await client.send("POST", "/services/faces/", "Transfer-Encoding: chunked")
        await client.reader.readuntil(b"\r\n\r\n")
        for word in (b"one", b"two"):
            client.writer.write(b"3\r\n%b\r\n" % word)
            await client.reader.readuntil(word.upper() + b"\r\n")
        client.writer.write(b"0\r\n\r\n")
        await client.reader.readuntil(b"0\r\n\r\n")
        await until(lambda: agent.pool.idle == 1)
        client.close()


@pytest.mark.parametrize("framing", ["Content-Length: 33554432", "Transfer-Encoding: chunked"])
async def test_big_bodies_are_streamed_at_the_speed_of_the_service(framing: str) -> None:
    """32 MiB to a service that does not read yet: the client is made to wait."""
    proceed, total = asyncio.Event(), 32 * MIB

    async def script(peer: Peer) -> None:
        await proceed.wait()
        _, body = await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%8d" % len(body))
        await peer.gone()

    async def upload(client: Any) -> None:
        piece = b"x" * MIB
        framed = b"100000\r\n%b\r\n" % piece if "chunked" in framing else piece
        for _ in range(total // MIB):
            client.writer.write(framed)
            await client.writer.drain()
            sent.append(MIB)
        if "chunked" in framing:
            client.writer.write(b"0\r\n\r\n")

    sent: list[int] = []
    upstream = Upstream(script)
    async with running(upstream), front(one(upstream)) as agent, asyncio.TaskGroup() as group:
        client = await agent.connect()
        await client.send("POST", "/services/faces/", framing)
        group.create_task(upload(client))
        await standstill(lambda: len(sent))
        assert len(sent) < 24
        proceed.set()
        assert (await client.answer()).body == b"%8d" % total
        client.close()


async def test_big_answers_are_streamed_at_the_speed_of_the_client() -> None:
    total, said = 64 * MIB, 0

    async def script(peer: Peer) -> None:
        nonlocal said
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(total // MIB):
            await peer.say(b"x" * MIB)
            said += 1

    upstream = Upstream(script)
    async with running(upstream), front(one(upstream)) as agent:
        client = await agent.connect()
        await client.send("GET", "/services/faces/")
        await standstill(lambda: said)
        assert said < 48
        answer = await client.answer()
        assert answer.whole and len(answer.body) == total
        client.close()


async def test_an_answer_before_the_end_of_the_upload() -> None:
    early = b"HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(early)
        await peer.gone()

    upstream = Upstream(script)
    async with running(upstream), front(one(upstream)) as agent:
        client = await agent.connect()
        await client.send("POST", "/services/faces/", "Content-Length: 99999999", body=b"x" * 99999)
        assert (await client.answer()).body == b"no"
        await until(lambda: agent.pool.size == 0)
        client.close()


async def test_the_agents_bound_on_bodies_of_services() -> None:
    upstream = Upstream(answers(OK))
    async with running(upstream), front(one(upstream), max_streamed_bytes=200_000) as agent:
        ok = await agent.ask("POST", "/services/faces/", body=b"x" * 150_000)
        assert ok.body == b"ok"  # far more than max_body_bytes
        told = await agent.ask("POST", "/services/faces/", body=b"x" * 200_001)
        refused(told, 413, "too_large", "200000")
        chunked = b"186a0\r\n" + b"x" * 100_000 + b"\r\n"
        body = chunked * 3 + b"0\r\n\r\n"
        untold = await agent.ask(
            "POST", "/services/faces/", "Transfer-Encoding: chunked", body=body
        )
        refused(untold, 413, "too_large", "200000")
        assert (await agent.ask("POST", "/api/x", body=b"x" * 1025)).status == 413


async def test_a_client_that_asks_before_it_sends() -> None:
    upstream = Upstream(answers(OK))
    async with running(upstream), front(one(upstream)) as agent:
        client = await agent.connect()
        await client.send("POST", "/services/faces/", "Expect: 100-continue", "Content-Length: 2")
        assert b"100 Continue" in await client.reader.readuntil(b"\r\n\r\n")
        client.writer.write(b"hi")
        assert (await client.answer()).body == b"ok"
        client.close()
    assert b"expect" not in fields_of(upstream.heads[0])


# --- which replica ------------------------------------------------------------------------------


async def test_the_replica_with_the_fewest_requests_is_asked() -> None:
    async def holds(peer: Peer) -> None:
        await peer.request()
        await release.wait()
        await peer.say(OK)
        await peer.gone()

    release, busy, free = asyncio.Event(), Upstream(holds), Upstream(holds)
    async with running(busy, free):
        places = [Place("w1", busy.endpoint), Place("w2", free.endpoint)]
        async with front(Services({"faces": places})) as agent, asyncio.TaskGroup() as group:
            asks = []
            for count in range(1, 11):
                asks.append(group.create_task(agent.ask("GET", "/services/faces/")))
                await until(lambda n=count: sum(agent.routes.outstanding.values()) == n)
                counts = [agent.routes.outstanding.get(each, 0) for each in ("w1", "w2")]
                assert max(counts) - min(counts) <= 1
            release.set()
        assert all(ask.result().body == b"ok" for ask in asks)
        assert not agent.routes.outstanding


async def test_ties_are_spread() -> None:
    first, second = Upstream(answers(OK)), Upstream(answers(OK))
    async with running(first, second):
        places = [Place("w1", first.endpoint), Place("w2", second.endpoint)]
        async with front(Services({"faces": places})) as agent:
            for _ in range(64):
                await agent.ask("GET", "/services/faces/")
    assert min(len(first.heads), len(second.heads)) > 8


async def test_no_such_service_names_those_that_exist() -> None:
    services = Services({"faces": [], "shapes": []}, {"late": "pending: starting"})
    async with front(services) as agent:
        for path in ("/services/fases/x", "/services/", "/services//x", "/services/a%2Fb"):
            refused(await agent.ask("GET", path), 404, "not_found", "faces, late, shapes")


async def test_a_service_without_a_ready_replica_says_why() -> None:
    async with front(Services(absent={"late": "pending: no_capacity"})) as agent:
        refused(await agent.ask("GET", "/services/late/"), 503, "unavailable", "no_capacity")


# --- connections, and second tries --------------------------------------------------------------


async def test_connections_are_kept_and_closed_when_idle() -> None:
    upstream = Upstream(answers(OK))
    async with running(upstream), front(one(upstream), idle_s=0.05) as agent:
        for _ in range(5):
            assert (await agent.ask("POST", "/services/faces/", body=b"x")).body == b"ok"
        assert len(upstream.peers) == 1 and agent.pool.idle == 1
        await upstream.closed.wait()
        await until(lambda: agent.pool.size == 0)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_kept_connection_found_closed_is_replaced(method: str) -> None:
    """Whatever the method: nothing has been sent on it."""
    upstream = Upstream(once(OK), answers(OK))
    async with running(upstream), front(one(upstream)) as agent:
        await agent.ask(method, "/services/faces/", body=b"x")
        await upstream.closed.wait()
        assert (await agent.ask(method, "/services/faces/", body=b"x")).body == b"ok"
        assert len(upstream.peers) == 2


async def deaf(peer: Peer) -> None:
    """Takes a request and hangs up."""
    await peer.request()


async def hangs_up_on_the_second(peer: Peer) -> None:
    await peer.request()
    await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await peer.request()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_what_may_be_repeated_is(method: str) -> None:
    upstream = Upstream(hangs_up_on_the_second)
    async with running(upstream), front(one(upstream)) as agent:
        for _ in range(2):
            answer = await agent.ask(method, "/services/faces/", body=b"whole")
            assert answer.status == 200
    assert len(upstream.heads) == 3 and len(upstream.peers) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_may_have_had_an_effect_is_not_repeated(method: str) -> None:
    upstream = Upstream(deaf, answers(OK))
    async with running(upstream), front(one(upstream)) as agent:
        answer = await agent.ask(method, "/services/faces/", body=b"x")
        refused(answer, 502, "bad_gateway", "without an answer")
    assert len(upstream.peers) == 1


async def test_a_body_that_is_streamed_is_not_repeated() -> None:
    upstream = Upstream(deaf, answers(OK))
    async with running(upstream), front(one(upstream)) as agent:
        answer = await agent.ask("PUT", "/services/faces/", body=b"x" * 100_000)
        refused(answer, 502, "bad_gateway", "without an answer")
    assert len(upstream.peers) == 1


async def test_it_is_repeated_once_only() -> None:
    upstream = Upstream(deaf)
    async with running(upstream), front(one(upstream)) as agent:
        refused(await agent.ask("GET", "/services/faces/"), 502, "bad_gateway", "without an answer")
    assert len(upstream.peers) == 2


@pytest.mark.parametrize("size", [1, 200_000])
async def test_where_nobody_listens_another_is_asked(size: int) -> None:
    """Nothing went out, so a POST may go elsewhere, too, even one that is streamed."""
    gone, other = Upstream(deaf), Upstream(answers(OK))
    async with running(other):
        async with running(gone):
            places = [Place("w1", gone.endpoint), Place("w2", other.endpoint)]
        async with front(Services({"faces": places})) as agent:
            for _ in range(16):
                answer = await agent.ask("POST", "/services/faces/", body=b"x" * size)
                assert answer.body == b"ok"
            agent.services.places["faces"] = places[:1]
            refused(await agent.ask("GET", "/services/faces/"), 502, "bad_gateway", "not answer at")


async def test_connections_are_bounded() -> None:
    release = asyncio.Event()

    async def holds(peer: Peer) -> None:
        await peer.request()
        await release.wait()
        await peer.say(OK)

    held, other = Upstream(holds), Upstream(answers(OK))
    async with running(held, other):
        places = {"a": [Place("w1", held.endpoint)], "b": [Place("w2", other.endpoint)]}
        async with (
            front(Services(places), max_connections=3) as agent,
            asyncio.TaskGroup() as group,
        ):
            assert (await agent.ask("GET", "/services/b/")).body == b"ok"  # leaves an idle one
            asks = [group.create_task(agent.ask("GET", "/services/a/")) for _ in range(3)]
            await until(lambda: len(held.heads) == 3)  # the idle one had to go
            refused(await agent.ask("GET", "/services/b/"), 503, "overloaded", "3 requests")
            release.set()
        assert all(ask.result().body == b"ok" for ask in asks)


# --- other nodes --------------------------------------------------------------------------------


async def test_a_replica_of_another_node_is_asked_through_its_agent() -> None:
    upstream = Upstream(answers(OK))
    async with running(upstream):
        far = Services({"w9": [Place("w9", upstream.endpoint, "far")]})
        near = Services({"faces": [Place("w9", None, "far")]})
        async with front(far) as far_agent, front(near) as agent:
            agent.links.apps["far"] = far_agent.routes
            answer = await agent.ask(
                "PUT",
                "/services/faces/a%2Fb?q=1",
                "Authorization: Bearer secret",
                "X-Forwarded-For: 10.0.0.7",
                body=b"x" * 100_000,
            )
            assert (answer.status, answer.body) == (200, b"ok")
            chunks = b"2\r\nhi\r\n0\r\n\r\n"
            field = "Transfer-Encoding: chunked"
            assert (await agent.ask("POST", "/services/faces/", field, body=chunks)).body == b"ok"
            await until(lambda: not agent.routes.outstanding)
            assert not far_agent.routes.outstanding
    fields = fields_of(upstream.heads[0])
    assert upstream.heads[0].startswith(b"PUT /a%2Fb?q=1 ") and b"secret" not in upstream.heads[0]
    assert fields[b"x-forwarded-for"] == b"10.0.0.7, 127.0.0.1"
    assert fields[b"x-forwarded-prefix"] == b"/services/faces"
    assert fields[b"content-length"] == b"100000"
    assert b"x-cnet-carried" not in fields


async def test_two_agents_that_point_at_each_other() -> None:
    a = Services({"faces": [Place("w1", None, "b")], "w1": [Place("w1", None, "b")]})
    b = Services({"w1": [Place("w1", None, "a")]})
    async with front(b) as far, front(a) as agent:
        agent.links.apps["b"] = far.routes
        far.links.apps["a"] = agent.routes
        refused(await agent.ask("GET", "/services/faces/"), 503, "unavailable", "no longer")


async def test_a_node_out_of_reach() -> None:
    upstream = Upstream(answers(OK))
    async with running(upstream):
        places = [Place("w1", None, "far"), Place("w2", upstream.endpoint)]
        async with front(Services({"faces": places, "only": places[:1]})) as agent:
            for _ in range(16):
                answer = await agent.ask("POST", "/services/faces/", body=b"x")
                assert answer.body == b"ok"
            refused(await agent.ask("GET", "/services/only/"), 503, "unreachable", "far")


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 502)])
async def test_a_link_that_breaks_before_the_answer(method: str, status: int) -> None:
    asked = []

    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        asked.append((await receive())["body"])
        if len(asked) == 1:
            raise UnreachableError("the link to far broke")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    services = Services({"faces": [Place("w1", None, "far")]})
    async with front(services, Links({"far": breaks})) as agent:
        answer = await agent.ask(method, "/services/faces/", body=b"x")
        assert answer.status == status
        assert asked == [b"x", b"x"] if status == 200 else [b"x"]


async def test_a_client_that_leaves_is_told_to_the_other_node() -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def far(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        asked.set()
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    services = Services({"faces": [Place("w1", None, "far")]})
    async with front(services, Links({"far": far})) as agent:
        client = await agent.connect()
        await client.send("GET", "/services/faces/")
        await asked.wait()
        client.close()
        await left.wait()
        await until(lambda: not agent.routes.outstanding)


# --- all at once ---------------------------------------------------------------------------------


async def test_nothing_is_left_of_a_thousand_rude_requests(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Clients that leave and services that hang up or answer early, at any point."""
    dice = random.Random(4711)
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n2\r\n!!\r\n0\r\n\r\n"

    async def rude_service(peer: Peer) -> None:
        while True:
            patient = dice.random() < 0.8
            if patient:
                await peer.request()
            for _ in range(dice.randrange(5)):
                await asyncio.sleep(0)
            end = len(reply) if dice.random() < 0.6 else dice.randrange(len(reply))
            for at in range(0, end, 30):
                await peer.say(reply[at : min(at + 30, end)])
            if not patient or end < len(reply) or dice.random() < 0.2:
                return

    async def rude_client(agent: Front) -> None:
        client = await agent.connect()
        method = dice.choice(["GET", "POST", "PUT"])
        size = dice.choice([0, 10, 70_000])
        told = size + (dice.random() < 0.1)
        await client.send(method, "/services/faces/", f"Content-Length: {told}", body=b"x" * size)
        if dice.random() < 0.3:
            for _ in range(dice.randrange(30)):
                await asyncio.sleep(0)
        elif told == size:
            statuses.append((await client.answer(method)).status)
        client.close()

    statuses: list[int] = []
    first, second = Upstream(rude_service), Upstream(rude_service)
    async with running(first, second):
        places = [Place("w1", first.endpoint), Place("w2", second.endpoint)]
        async with front(Services({"faces": places}), max_connections=40) as agent:
            for _ in range(50):
                async with asyncio.TaskGroup() as group:
                    for _ in range(20):
                        group.create_task(rude_client(agent))
            await until(lambda: not agent.routes.outstanding)
            agent.routes.close()
            await until(lambda: agent.pool.size == 0)
    assert set(statuses) <= {200, 502} and statuses.count(200) > 300
    said = {record.getMessage() for record in caplog.records}
    assert said <= {"ASGI callable returned without completing response."}


def test_the_bound_on_memory_is_what_the_documents_say() -> None:
    assert HIGH_WATER_BYTES <= 256 * 1024
