"""How the web page does over a large tree: 1,000 nodes and 10,000 workloads, in a real browser.

    python -m benchmarks.web [--nodes 1000] [--workloads 10000] [--rounds 5] [--churn-s 600]
                             [--changes 20] [--per-s 50] [--keep]

A real agent; the nodes are virtual ones behind one link (`benchmarks.virtual_tree`). Every page is
opened in a fresh browser profile: "first paint" is the browser's own first contentful paint,
counted from the navigation; "KB" is what came over the wire, headers included, compressed. "Seen"
is the time from the answer to a submit, and from the word of a node that a workload has ended, to
the moment at which the page shows it. While `--per-s` workloads end and begin every second, the
page stays open for `--churn-s` seconds; its heap is measured after a garbage collection.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import psutil
from playwright.async_api import Browser, CDPSession, async_playwright

from benchmarks.agents import memory, running_agent
from benchmarks.load import Connection
from benchmarks.virtual_tree import Run, VirtualTree, bodies

PAGES = ("/", "/topology", "/workloads", "/submit", "/models", "/data", "/events")
AT_ONCE = 16
CHROMIUM = os.environ.get("CNET_TEST_CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
SETTLED_S = 30.0
WAIT_FOR = """([name, word]) => new Promise((resolve) => {
  const shows = (row) => row.textContent.includes(name) && row.innerHTML.includes(word);
  const found = () => [...document.querySelectorAll("tr, li")].some(shows);
  const tell = () => resolve(performance.timeOrigin + performance.now());
  const look = new MutationObserver(() => { if (found()) { look.disconnect(); tell(); } });
  const everything = {subtree: true, childList: true, characterData: true, attributes: true};
  if (found()) tell(); else look.observe(document.body, everything);
})"""
"""Resolves with the Unix milliseconds at which a row with the name and the word is there."""


@dataclass(frozen=True, slots=True)
class Opening:
    """One page, opened once."""

    paint_ms: float
    kilobytes: float
    requests: int


class World:
    """The agent, its tree and what runs there."""

    def __init__(self, url: str, tree: VirtualTree) -> None:
        self.url = url
        self.tree = tree
        self.submitted = 0

    async def submit(self, count: int) -> None:
        """So many more workloads, all of them placed."""
        waiting = iter(bodies(count, start=self.submitted))
        self.submitted += count

        async def user() -> None:
            connection = Connection(self.url)
            for body in waiting:
                status, answer = await connection.request("POST", "/api/workloads?wait=false", body)
                if status != 201:
                    raise RuntimeError(answer)
            connection.close()

        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                group.start_soon(user)

    async def until_running(self, count: int) -> None:
        """Wait until the agent knows that so many run."""
        connection = Connection(self.url)
        with anyio.fail_after(300):
            while True:
                _, body = await connection.request("GET", "/api/resources/stats")
                if json.loads(body)["workloads_by_status"]["running"] >= count:
                    break
                await anyio.sleep(0.1)
        connection.close()

    async def churn(self, per_s: int) -> None:
        """Until cancelled: so many end every second, and as many begin."""
        dice = random.Random(2)
        while True:
            for run in dice.sample(self.tree.runs, per_s // 10):
                self.tree.end(run, exit_code=int(dice.random() < 0.05))
            await self.submit(per_s // 10)
            await anyio.sleep(0.1)


async def open_page(browser: Browser, url: str) -> Opening:
    """In a profile that has never seen the agent."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900})
    page = await context.new_page()
    wire = await context.new_cdp_session(page)
    received: list[float] = []
    wire.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    await wire.send("Network.enable")
    await page.goto(url, wait_until="load")
    paint = await page.evaluate(
        """() => new Promise((resolve) => {
          const told = (entries) => {
            const found = entries.find((entry) => entry.name === "first-contentful-paint");
            if (found) resolve(found.startTime);
          };
          told(performance.getEntriesByType("paint"));
          new PerformanceObserver((list) => told(list.getEntries())).observe({type: "paint"});
        })"""
    )
    await page.wait_for_timeout(500)  # what it asks for afterwards belongs to its weight
    await context.close()
    return Opening(paint, sum(received) / 1024, len(received))


async def measure_openings(browser: Browser, url: str, rounds: int) -> None:
    """First paint and weight of every page."""
    print("page         first paint ms (median, max)   KB   requests")
    for path in PAGES:
        found = [await open_page(browser, url + path) for _ in range(rounds)]
        paints = [each.paint_ms for each in found]
        print(
            f"{path:<12} {statistics.median(paints):>10.0f} {max(paints):>10.0f} "
            f"{max(each.kilobytes for each in found):>14.0f} {found[0].requests:>6}",
            flush=True,
        )


async def measure_changes(browser: Browser, world: World, count: int) -> None:
    """How soon a new workload, and the end of one, are on the page."""
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    await page.goto(f"{world.url}/workloads", wait_until="load")
    await page.wait_for_timeout(1_000)
    begun, ended = [], []
    for _ in range(count):
        name = f"work-{world.submitted:05d}"
        seen = asyncio.ensure_future(page.evaluate(WAIT_FOR, [name, name]))  # noqa: TID251
        await page.evaluate("1")
        await world.submit(1)
        at = time.time()
        begun.append(await asyncio.wait_for(seen, SETTLED_S) - at * 1e3)
        run = await _run_called(world, name)
        await page.wait_for_timeout(random.uniform(200, 700))
        seen = asyncio.ensure_future(page.evaluate(WAIT_FOR, [name, "completed"]))  # noqa: TID251
        await page.evaluate("1")
        at = time.time()
        world.tree.end(run)
        ended.append(await asyncio.wait_for(seen, SETTLED_S) - at * 1e3)
    await page.close()
    for what, times in (("a submit is seen after", begun), ("an end is seen after", ended)):
        times.sort()
        print(
            f"{what:<24} p50 {statistics.median(times):.0f} ms, max {times[-1]:.0f} ms", flush=True
        )


async def _run_called(world: World, name: str) -> Run:
    with anyio.fail_after(SETTLED_S):
        while True:
            for run in world.tree.runs:
                if run.assign.spec["name"] == name:
                    return run
            await anyio.sleep(0.01)


async def heap(wire: CDPSession) -> dict[str, float]:
    """Megabytes of the page's heap, and how many DOM nodes it has, after a collection."""
    await wire.send("HeapProfiler.collectGarbage")
    found = await wire.send("Performance.getMetrics")
    metrics = {each["name"]: each["value"] for each in found["metrics"]}
    return {
        "heap": metrics["JSHeapUsedSize"] / 1e6,
        "nodes": metrics["Nodes"],
        "listeners": metrics["JSEventListeners"],
    }


async def measure_memory(
    browser: Browser, world: World, path: str, *, seconds: float, per_s: int, agent_pid: int
) -> None:
    """The heap of one page while much changes."""
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    wire = await page.context.new_cdp_session(page)
    await wire.send("Performance.enable")
    await wire.send("HeapProfiler.enable")
    await page.goto(world.url + path, wait_until="load")
    agent = psutil.Process(agent_pid)
    looks = []
    async with anyio.create_task_group() as group:
        group.start_soon(world.churn, per_s)
        deadline = time.monotonic() + seconds
        before, since = sum(agent.cpu_times()[:2]), time.monotonic()
        while time.monotonic() < deadline:
            await anyio.sleep(seconds / 20)
            looks.append(await heap(wire))
        busy = (sum(agent.cpu_times()[:2]) - before) / (time.monotonic() - since)
        group.cancel_scope.cancel()
    await page.close()
    first, last = looks[:5], looks[-5:]

    def of(part: Sequence[dict[str, float]], key: str) -> float:
        return statistics.median(each[key] for each in part)

    print(
        f"{path:<12} {seconds:.0f} s at {per_s}/s: heap {of(first, 'heap'):.1f} → "
        f"{of(last, 'heap'):.1f} MB (most {max(each['heap'] for each in looks):.1f}), DOM nodes "
        f"{of(first, 'nodes'):.0f} → {of(last, 'nodes'):.0f}, listeners "
        f"{of(first, 'listeners'):.0f} → {of(last, 'listeners'):.0f}; agent {busy:.0%} of a core",
        flush=True,
    )


@asynccontextmanager
async def large_tree(url: str, nodes: int, workloads: int) -> AsyncIterator[World]:
    """The agent at `url` over so many virtual nodes, which run so many workloads."""
    tree = VirtualTree(url.partition("://")[2], nodes - 1)
    async with anyio.create_task_group() as group:
        await group.start(tree.run)
        world = World(url, tree)
        began = time.monotonic()
        await world.submit(workloads)
        await world.until_running(workloads)
        print(
            f"{nodes} nodes, {workloads} workloads running after {time.monotonic() - began:.1f} s"
        )
        yield world
        group.cancel_scope.cancel()


async def measure(options: argparse.Namespace) -> None:
    """All of it."""
    settings = {"CNET_DOCKER__ENABLED": "false", "CNET_RESOURCES__CPU": "0"}
    with running_agent(settings=settings) as agent:
        async with large_tree(agent.url, options.nodes, options.workloads) as world:
            print(f"agent RSS {memory(agent.pid)[0]:.0f} MB; {agent.url}", flush=True)
            if options.keep:
                with contextlib.suppress(KeyboardInterrupt):
                    await world.churn(options.per_s)
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=CHROMIUM, args=list(ARGUMENTS)
                )
                await measure_openings(browser, agent.url, options.rounds)
                await measure_changes(browser, world, options.changes)
                for path in options.churn_pages:
                    await measure_memory(
                        browser,
                        world,
                        path,
                        seconds=options.churn_s / len(options.churn_pages),
                        per_s=options.per_s,
                        agent_pid=agent.pid,
                    )
                await browser.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--churn-s", type=float, default=600)
    parser.add_argument("--per-s", type=int, default=50, help="workloads that end and begin")
    parser.add_argument("--churn-pages", nargs="+", default=["/workloads"])
    parser.add_argument("--keep", action="store_true", help="no browser: churn until interrupted")
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores")
    asyncio.run(measure(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
