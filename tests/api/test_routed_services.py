"""Requests to services with an owner: repeated where that does no harm, held for a replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import orjson
import pytest

from cnet.api.services import Routed, Share
from cnet.api.services.streams import REPEATED_BYTES
from tests.api.upstreams import (
    OK,
    Front,
    Place,
    Services,
    Upstream,
    answers,
    front,
    once,
    running,
    until,
)

pytestmark = pytest.mark.anyio

HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
RESET = once(b"")


def routed(*upstreams: Upstream, retry: bool = True, hold_s: float = 0.0) -> Services:
    """A service `m` of one version with a replica at each of these."""
    places = [Place(f"w{n}", each.endpoint) for n, each in enumerate(upstreams)]
    services = Services({place.workload_id: [place] for place in places})
    services.services["m"] = Routed("m", "here", retry, hold_s, [Share("v1", 100, places)])
    services.versions = {place.workload_id: ("m", "v1", "id") for place in places}
    return services


@asynccontextmanager
async def asking(agent: Front, status: int) -> AsyncIterator[None]:
    """A request to `m` that is under way; at the end its answer has this status."""

    async def ask() -> None:
        assert (await agent.ask("POST", "/services/m/predict", body=b"x")).status == status

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        yield


@pytest.mark.parametrize("broken", [RESET, once(HALF)], ids=["without an answer", "in the midst"])
async def test_a_post_is_sent_again_when_a_replica_breaks_off(broken: Any) -> None:
    bad, good = Upstream(broken), Upstream(answers(OK))
    async with running(bad, good), front(routed(bad, good)) as agent:
        for _ in range(4):  # of the two the first choice is either
            answer = await agent.ask("POST", "/services/m/predict", body=b"x" * 100)
            assert (answer.status, answer.body) == (200, b"ok")
    assert len(bad.heads) <= 2, "it is passed over for a while"
    assert agent.routes.counting.repeated["m"] == len(bad.heads)
    tally = agent.routes.counting.served[("m", "v1")]
    assert (tally.requests, tally.errors, tally.in_flight) == (
        4 + len(bad.heads),
        len(bad.heads),
        0,
    )


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_large_bodies_are_kept_to_be_sent_again(framing: str) -> None:
    bad, good = Upstream(RESET), Upstream(answers(OK))
    body = b"x" * 300_000
    async with running(bad, good), front(routed(bad, good)) as agent:
        agent.routes._choosing.avoid(Place("w1", None), asyncio.get_running_loop().time())
        if framing == "length":
            answer = await agent.ask("POST", "/services/m/", body=body)
        else:
            chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            answer = await agent.ask(
                "POST", "/services/m/", "Transfer-Encoding: chunked", body=chunked
            )
        assert answer.status == 200, answer
        assert bad.heads and good.heads
        await until(lambda: not agent.routes._kept.held)


async def test_larger_ones_are_not() -> None:
    bad, good = Upstream(RESET), Upstream(answers(OK))
    async with running(bad, good), front(routed(bad, good)) as agent:
        agent.routes._choosing.avoid(Place("w1", None), asyncio.get_running_loop().time())
        answer = await agent.ask("POST", "/services/m/", body=b"x" * (REPEATED_BYTES + 1))
        assert answer.status == 502 and not good.heads


async def test_where_it_may_do_harm_a_post_is_not_sent_again() -> None:
    bad, good = Upstream(RESET), Upstream(answers(OK))
    async with running(bad, good), front(routed(bad, good, retry=False)) as agent:
        agent.routes._choosing.avoid(Place("w1", None), asyncio.get_running_loop().time())
        assert (await agent.ask("POST", "/services/m/")).status == 502
        assert agent.routes.counting.unanswered["m"] == 1
        agent.routes._choosing.avoid(Place("w1", None), asyncio.get_running_loop().time())
        assert (await agent.ask("GET", "/services/m/")).status == 200


async def test_a_request_waits_for_a_replica() -> None:
    good = Upstream(answers(OK))
    woken: list[tuple[str, str]] = []
    async with running(good):
        services = routed(hold_s=60)
        async with front(services) as agent:
            agent.routes._wake = lambda owner, name: woken.append((owner, name))
            async with asking(agent, 200):
                await until(lambda: agent.routes.counting.held["m"] == 1 and bool(woken))
                services.services |= routed(good).services
                services.tell()
            assert not agent.routes.counting.held
    assert set(woken) == {("here", "m")}


async def test_the_only_replica_is_waited_for_when_it_broke_off() -> None:
    again = Upstream(RESET, answers(OK))
    async with running(again), front(routed(again, hold_s=60)) as agent:
        assert (await agent.ask("POST", "/services/m/predict", body=b"x")).status == 200
    assert len(again.heads) == 2


async def test_without_one_in_time_the_answer_says_when_to_ask_again() -> None:
    services = routed(hold_s=0.05)
    services.absent["m"] = "workload w is starting"
    async with front(services) as agent:
        answer = await agent.ask("POST", "/services/m/predict")
        body = orjson.loads(answer.body)
        assert (answer.status, body["error"]) == (503, "no_replica")
        assert "workload w is starting" in body["details"] and answer.all(b"retry-after")


async def test_a_service_that_is_deleted_is_not_waited_for() -> None:
    services = routed(hold_s=60)
    async with front(services) as agent, asking(agent, 404):
        await until(lambda: agent.routes.counting.held["m"] == 1)
        del services.services["m"]
        services.tell()


async def test_who_waits_for_idle_hears_of_the_last_answer() -> None:
    proceed = asyncio.Event()

    async def slow(peer: Any) -> None:
        await peer.request()
        await proceed.wait()
        await peer.say(OK)

    upstream = Upstream(slow)
    async with running(upstream), front(routed(upstream)) as agent:
        await agent.routes.until_idle("w0")
        async with asking(agent, 200):
            await until(lambda: agent.routes.outstanding == {"w0": 1})
            with anyio.move_on_after(0.01) as early:
                await agent.routes.until_idle("w0")
            assert early.cancelled_caught
            proceed.set()
            await agent.routes.until_idle("w0")
