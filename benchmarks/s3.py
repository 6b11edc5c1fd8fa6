"""Our S3 gateway beside nginx with the same files, and beside moto's server.

    python -m benchmarks.s3 [--rounds 3] [--seconds 3] [--only get|list] [--keys 100000]
                            [--workers 1] [--moto VENV/bin/python] [--moto-keys 10000]

Downloads of 1 KiB, 1 MiB and 100 MiB: every server for `--seconds`, in turns, `--rounds` times.
Requests are signed beforehand (SigV4, checked by the gateway; moto does not check; nginx gets them
unsigned) and sent by this one process. nginx has one worker process, `sendfile`, no log and no
cache of open files, and reads hard links to the store's own files. A thousand files of 1 KiB are
asked for in turn. "server" and "client" are CPU time a request, of all processes of the server and
of this one; where "client" takes up most of the time, the server could do more.

Listing: ListObjectsV2 over all keys in pages of 1,000, a thousand keys in a folder; the first and
the last page, and `delimiter=/`, each asked for several times. Signing is left out of the times.
A hundred thousand keys take moto minutes, so it gets `--moto-keys`; compare "ms a page", which
grows with the number of keys there. Keys that are listed are rows of the gateway's catalogue
without bytes.

nginx is left out where there is none. moto needs an environment with `moto[s3,server]`, of which
`--moto` names the interpreter. Medians of the rounds are printed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import anyio

from benchmarks.load import Timing, middle, print_ratios
from benchmarks.s3_listing import compare_listings
from benchmarks.s3_load import Access, Asking, download, target
from benchmarks.s3_servers import (
    FILES,
    Server,
    Sort,
    fill_store,
    gateway,
    moto,
    nginx,
)

SORTS = (
    Sort("1 KiB", 1 << 10, files=1_000, connections=16),
    Sort("1 MiB", 1 << 20, files=32, connections=4),
    Sort("100 MiB", 100 << 20, files=2, connections=4),
)
WARM_UP_S = 0.5
T_Number = TypeVar("T_Number", int, float)


@dataclass(frozen=True, slots=True)
class Downloads:
    """One round of one server."""

    timing: Timing
    server_s: float
    """CPU seconds a request"""
    client_s: float


def check(server: Server, sort: Sort) -> None:
    """Every server gives the very bytes."""
    with closing(Asking(server.access)) as ask:
        for key in (sort.keys[0], sort.keys[-1]):
            content, _ = ask("GET", target(FILES, key))
            if content != sort.content(key):
                raise RuntimeError(f"{server.name} gave other bytes for {key}")


def check_signatures(server: Server) -> None:
    """A request that another secret signed is refused: what is measured includes the check."""
    if server.access.key is None:
        raise ValueError(f"{server.name} has no access key")
    key_id, secret = server.access.key
    forged = Access(server.access.port, (key_id, secret[::-1]))
    with closing(Asking(forged)) as ask:
        ask("GET", target(FILES), expected=HTTPStatus.FORBIDDEN)


def measure_downloads(server: Server, sort: Sort, seconds: float) -> Downloads:
    """One round."""
    requests = [server.access.get(target(FILES, key)) for key in sort.keys]
    before = server.processor_s()
    load = download(
        server.access.port,
        requests,
        size=sort.size,
        connections=sort.connections,
        seconds=seconds,
    )
    spent = server.processor_s() - before
    return Downloads(load.timing, spent / load.count, load.client_s / load.count)


def compare_downloads(
    servers: Sequence[Server], sort: Sort, *, rounds: int, seconds: float
) -> None:
    """Print a block for files of one size."""
    found: dict[str, list[Downloads]] = {server.name: [] for server in servers}
    for server in servers:
        check(server, sort)
        measure_downloads(server, sort, min(seconds, WARM_UP_S))
    for _ in range(rounds):
        for server in servers:
            found[server.name].append(measure_downloads(server, sort, seconds))
    print(f"\nGET {sort.label}, {sort.connections} connections")
    print(
        f"  {'':8} {'requests/s':>11} {'GB/s':>7} {'p50 ms':>9} {'p99 ms':>9}"
        f" {'server µs':>10} {'client µs':>10}"
    )
    for name, seen in found.items():
        rate = middle(seen, lambda one: one.timing.per_second)
        print(
            f"  {name:8} {rate:11,.1f} {rate * sort.size / 1e9:7.3f}"
            f" {middle(seen, lambda one: one.timing.p50_ms):9.2f}"
            f" {middle(seen, lambda one: one.timing.p99_ms):9.2f}"
            f" {middle(seen, lambda one: one.server_s) * 1e6:10,.0f}"
            f" {middle(seen, lambda one: one.client_s) * 1e6:10,.0f}"
        )
    print_ratios("requests/s", found, lambda one: one.timing.per_second)
    print_ratios("server CPU a request", found, lambda one: one.server_s)


def positive(kind: Callable[[str], T_Number]) -> Callable[[str], T_Number]:
    """For argparse: a number above 0."""

    def parse(text: str) -> T_Number:
        number = kind(text)
        if not number > 0:
            raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
        return number

    parse.__name__ = "number"  # argparse names it when `kind` fails
    return parse


@contextmanager
def running(options: argparse.Namespace, folder: Path) -> Iterator[list[Server]]:
    """All servers there are, with their files; the gateway is the first."""
    listed = 0 if options.only == "get" else options.keys
    sorts = () if options.only == "list" else SORTS
    paths = anyio.run(fill_store, folder / "data", sorts, listed)
    with ExitStack() as stack:
        servers = [stack.enter_context(gateway(folder / "data", listed, options.workers))]
        check_signatures(servers[0])
        program = shutil.which("nginx")
        if sorts and program is None:
            print("nginx: not found, left out")
        elif sorts and program is not None:
            servers.append(stack.enter_context(nginx(program, folder, paths)))
        if options.moto is None:
            print("moto: no --moto, left out")
        else:
            keys = min(listed, options.moto_keys)
            if keys < listed:
                print(f"moto: {keys:,} keys to list (--moto-keys); {listed:,} take it too long")
            servers.append(stack.enter_context(moto(options.moto, folder, sorts, keys)))
        yield servers


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=positive(int), default=3)
    parser.add_argument("--seconds", type=positive(float), default=3, help="of each server's round")
    parser.add_argument("--only", choices=("get", "list"))
    parser.add_argument("--keys", type=positive(int), default=100_000, help="to list")
    parser.add_argument("--workers", type=positive(int), default=1, help="of the gateway")
    parser.add_argument("--moto", metavar="PYTHON", help="of an environment with moto[s3,server]")
    parser.add_argument("--moto-keys", type=positive(int), default=10_000, help="for it to list")
    options = parser.parse_args()
    if options.moto is not None and shutil.which(options.moto) is None:
        parser.error(f"argument --moto: {options.moto} is no program")
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores")
    with (
        tempfile.TemporaryDirectory(prefix="cnet-bench-") as folder,
        running(options, Path(folder)) as servers,
    ):
        for sort in () if options.only == "list" else SORTS:
            compare_downloads(servers, sort, rounds=options.rounds, seconds=options.seconds)
        if options.only != "get":
            compare_listings(servers, rounds=options.rounds)


if __name__ == "__main__":
    main()
