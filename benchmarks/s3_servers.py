"""The servers that `benchmarks.s3` compares, filled with the same files."""

from __future__ import annotations

import hashlib
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from sqlite3 import Connection

import anyio
import psutil

from benchmarks.s3_load import Access, Asking, target
from cnet.storage import open_store, queries
from cnet.storage.base import FileInfo
from cnet.storage.keys import create_key

FILES, LISTED = "cnet", "listed"
"""buckets: of what is downloaded, and of what is listed"""
FOLDER_KEYS = 1_000
READY_WITHIN_S = 60.0
_PUTS_AT_ONCE = 16
_ROWS_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Sort:
    """Files of one size, and over how many connections they are downloaded."""

    label: str
    size: int
    files: int
    connections: int

    @property
    def keys(self) -> list[str]:
        """Of all of them."""
        return [f"{self.size}/{number:05}.bin" for number in range(self.files)]

    def content(self, key: str) -> bytes:
        """The same whenever it is asked for."""
        return random.Random(key).randbytes(self.size)


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs."""

    name: str
    access: Access
    process: psutil.Process
    listed: int
    """keys in the bucket that is listed; 0 where nothing is to be listed"""

    def processor_s(self) -> float:
        """CPU seconds so far, of all its processes."""
        times = [one.cpu_times() for one in (self.process, *self.process.children(recursive=True))]
        return sum(one.user + one.system for one in times)


def listed_keys(count: int) -> list[str]:
    """Keys of the bucket that is listed, a thousand in a folder."""
    return [
        f"folder-{number // FOLDER_KEYS:05}/{number % FOLDER_KEYS:03}.bin"
        for number in range(count)
    ]


# --- our gateway -------------------------------------------------------------------------------


@contextmanager
def gateway(folder: Path, listed: int, workers: int = 1) -> Iterator[Server]:
    """`cnet-gateway` over the store in `folder`."""
    key = create_key(folder / "keys.json", read_only=True)
    log = folder.with_name("gateway.log")
    command = [sys.executable, "-m", "cnet.gateway", "--base-path", str(folder), "--port", "0"]
    command += ["--workers", str(workers)]

    def port(said: str) -> int | None:
        found = re.search(r"listening on http://\S+:(\d+)", said)
        return int(found[1]) if found else None

    with _running(command, log, port) as (child, number):
        yield Server("gateway", Access(number, (key.key_id, key.secret)), child, listed)


async def fill_store(folder: Path, sorts: Sequence[Sort], listed: int) -> dict[str, str]:
    """Put every file; returns where the bytes of each key are.

    What is listed are rows of the catalogue only: a listing looks at nothing else, and a hundred
    thousand deleted files slow an ext4 down for minutes.
    """
    paths: dict[str, str] = {}
    async with open_store(folder) as store:
        limiter = anyio.CapacityLimiter(_PUTS_AT_ONCE)

        async def put(sort: Sort, key: str) -> None:
            async with limiter:
                file = await store.put(FILES, key, _once(sort.content(key)))
            path = store.local_path(file)
            if path is None:
                raise RuntimeError(f"{key} is not one file")
            paths[key] = path

        async with anyio.create_task_group() as group:
            for sort in sorts:
                for key in sort.keys:
                    group.start_soon(put, sort, key)
        await store.create_bucket(LISTED)
        keys = listed_keys(listed)
        random.Random(1).shuffle(keys)  # as they come in life: not in the order they are listed
        for start in range(0, listed, _ROWS_AT_ONCE):
            part = keys[start : start + _ROWS_AT_ONCE]
            await store.catalog.write(partial(_add_rows, keys=part))
    return paths


def _add_rows(connection: Connection, keys: Sequence[str]) -> None:
    for key in keys:
        digest = hashlib.sha256(key.encode()).hexdigest()
        file = FileInfo(
            bucket=LISTED,
            key=key,
            blob=digest[:32],
            size=1024,
            etag=digest[32:],
            sha256=digest,
            content_type="application/octet-stream",
            modified_at=time.time(),
        )
        queries.put_file(connection, file, queries.ALWAYS, guarded=False)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


# --- what it is compared with ------------------------------------------------------------------


@contextmanager
def nginx(program: str, folder: Path, paths: dict[str, str]) -> Iterator[Server]:
    """Static files, one worker process; hard links to the very files of the store."""
    for key, path in paths.items():
        link = folder / "www" / FILES / key
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, link)
    port = _free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;\n"
        + ("user root;\n" if os.geteuid() == 0 else "")  # others may not read the store
        + "events { worker_connections 512; }\nhttp {\n"
        + "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
        + "access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;\n"
        f"keepalive_requests 1000000000;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}/www; }}\n}}\n"
    )
    command = [program, "-e", "stderr", "-p", str(folder), "-c", str(config)]
    with _running(command, folder / "nginx.log", _when_answering(port)) as (child, _):
        yield Server("nginx", Access(port), child, 0)


@contextmanager
def moto(python: str, folder: Path, sorts: Sequence[Sort], listed: int) -> Iterator[Server]:
    """moto's server, filled by requests. It does not look at the signature."""
    port = _free_port()
    command = [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, folder / "moto.log", _when_answering(port)) as (child, _):
        access = Access(port, ("AKBENCHMARK", "a-secret-for-moto"))
        with closing(Asking(access)) as ask:
            for bucket in (FILES, LISTED):
                ask("PUT", target(bucket))
            for sort in sorts:
                for key in sort.keys:
                    ask("PUT", target(FILES, key), sort.content(key))
            for key in listed_keys(listed):
                ask("PUT", target(LISTED, key), b"listed")
        yield Server("moto", access, child, listed)


# --- programs ----------------------------------------------------------------------------------


@contextmanager
def _running(
    command: Sequence[str], log: Path, port: Callable[[str], int | None]
) -> Iterator[tuple[psutil.Process, int]]:
    """A program and its port, which `port` finds in what it has said so far, or not yet."""
    with log.open("wb") as stream:
        child = subprocess.Popen(command, stdout=stream, stderr=stream)
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while (number := port(log.read_text())) is None:
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        yield psutil.Process(child.pid), number
    finally:
        child.terminate()
        child.wait(30)


def _when_answering(port: int) -> Callable[[str], int | None]:
    def answering(_said: str) -> int | None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            return None
        return port

    return answering


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
