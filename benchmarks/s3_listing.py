"""Listing a bucket with many keys, as `benchmarks.s3` compares it."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from xml.sax.saxutils import unescape

from benchmarks.load import middle, print_ratios
from benchmarks.s3_load import Asking, target
from benchmarks.s3_servers import FOLDER_KEYS, LISTED, Server

PAGE_KEYS = 1_000
ASKED_AGAIN = 9
_TOKEN = re.compile(rb"<NextContinuationToken>([^<]+)</NextContinuationToken>")


@dataclass(frozen=True, slots=True)
class Listings:
    """One round of one server; seconds."""

    whole_s: float
    server_s: float
    """CPU seconds a page"""
    first_s: float
    last_s: float
    delimiter_s: float


def measure_listing(server: Server) -> Listings:
    """One round: all pages, and some of them again."""
    with closing(Asking(server.access)) as ask:
        before = server.processor_s()
        pages, last = _all_pages(server, ask)
        spent = server.processor_s() - before

        def again(query: Mapping[str, str], tag: bytes, count: int) -> float:
            times = []
            for _ in range(ASKED_AGAIN):
                body, took = ask("GET", _page(query))
                if body.count(tag) != count:
                    raise RuntimeError(f"{server.name} did not list {count} for {query}")
                times.append(took)
            return statistics.median(times)

        on_last = server.listed - (len(pages) - 1) * PAGE_KEYS
        folders = -(-server.listed // FOLDER_KEYS)
        return Listings(
            whole_s=sum(pages),
            server_s=spent / len(pages),
            first_s=again({}, b"<Key>", min(PAGE_KEYS, server.listed)),
            last_s=again(last, b"<Key>", on_last),
            delimiter_s=again({"delimiter": "/"}, b"<CommonPrefixes>", min(folders, PAGE_KEYS)),
        )


def _all_pages(server: Server, ask: Asking) -> tuple[list[float], dict[str, str]]:
    """Seconds of each page, and the query of the last."""
    times: list[float] = []
    keys = 0
    query: dict[str, str] = {}
    while True:
        body, took = ask("GET", _page(query))
        times.append(took)
        keys += body.count(b"<Key>")
        token = _TOKEN.search(body)
        if token is None:
            break
        query = {"continuation-token": unescape(token[1].decode())}
    if keys != server.listed:
        raise RuntimeError(f"{server.name} listed {keys} of {server.listed} keys")
    return times, query


def _page(query: Mapping[str, str]) -> str:
    return target(LISTED, query={"list-type": "2", "max-keys": str(PAGE_KEYS), **query})


def compare_listings(servers: Sequence[Server], *, rounds: int) -> None:
    """Print the block of those that list."""
    servers = [server for server in servers if server.listed]
    found: dict[str, list[Listings]] = {server.name: [] for server in servers}
    for _ in range(rounds):
        for server in servers:
            found[server.name].append(measure_listing(server))
    print(f"\nListObjectsV2, pages of {PAGE_KEYS:,} keys, one after the other")
    print(
        f"  {'':8} {'keys':>9} {'total s':>9} {'ms a page':>10} {'server ms':>10} {'first ms':>9}"
        f" {'last ms':>9} {'last/first':>11} {'delimiter=/ ms':>15}"
    )
    for server in servers:
        seen = found[server.name]
        whole = middle(seen, lambda one: one.whole_s)
        print(
            f"  {server.name:8} {server.listed:9,} {whole:9.3f}"
            f" {_page_s(server, whole) * 1e3:10.2f}"
            f" {middle(seen, lambda one: one.server_s) * 1e3:10.2f}"
            f" {middle(seen, lambda one: one.first_s) * 1e3:9.2f}"
            f" {middle(seen, lambda one: one.last_s) * 1e3:9.2f}"
            f" {middle(seen, lambda one: one.last_s / one.first_s):11.2f}"
            f" {middle(seen, lambda one: one.delimiter_s) * 1e3:15.2f}"
        )
    by_page = {
        server.name: [_page_s(server, one.whole_s) for one in found[server.name]]
        for server in servers
    }
    print_ratios("time a page", by_page, lambda seconds: seconds)


def _page_s(server: Server, whole_s: float) -> float:
    return whole_s / -(-server.listed // PAGE_KEYS)
