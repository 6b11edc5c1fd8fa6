"""A program that works on a store until it is killed, and says on its output what it does.

`python -m tests.storage.worker load ROOT SEED` changes files in three tasks, each with keys of its
own: `{"key": …, "want": …}` before an operation, `{"key": …}` after it; `want` is the SHA-256 that
the key is to have, or null. `… count ROOT TIMES` adds one to the file `counter`, that many times.
`… hang ROOT` stops for ever in the middle of a body.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio

from cnet.errors import ConflictError
from cnet.storage import NodeStore, open_store
from cnet.storage.base import Condition

BUCKET = "cnet"
TASKS = 3
KEYS = 4
MIN_PART = 100_000


def say(**line: object) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


async def body(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 65_536):
        yield data[start : start + 65_536]


async def put(store: NodeStore, key: str, data: bytes) -> None:
    await store.put(BUCKET, key, body(data))


async def put_in_parts(store: NodeStore, key: str, data: bytes) -> None:
    upload = await store.create_upload(BUCKET, key)
    parts = []
    for number, start in enumerate(range(0, len(data), MIN_PART), start=1):
        piece = data[start : start + MIN_PART]
        part, _ = await store.put_part(BUCKET, key, upload, number, body(piece))
        parts.append((number, part.md5))
    await store.complete_upload(BUCKET, key, upload, parts)


async def load(store: NodeStore, task: int, rng: random.Random) -> None:
    known: dict[str, str] = {}
    while True:
        key = f"task-{task}/{rng.randrange(KEYS)}"
        act = rng.choice(["put", "put", "parts", "copy", "delete"])
        data = rng.randbytes(rng.choice([10, 5_000, 300_000]))
        want: str | None = hashlib.sha256(data).hexdigest()
        source = rng.choice(list(known)) if known else None
        if act == "delete":
            want = None
        elif act == "copy" and source is not None:
            want = known[source]
        say(key=key, want=want)
        if act == "delete":
            await store.delete(BUCKET, key)
        elif act == "copy" and source is not None:
            await store.copy(await store.stat(BUCKET, source), BUCKET, key)
        elif act == "parts":
            await put_in_parts(store, key, data)
        else:
            await put(store, key, data)
        say(key=key)
        known.pop(key, None)
        if want is not None:
            known[key] = want


async def run_load(root: Path, seed: int) -> None:
    async with open_store(root, min_part_bytes=MIN_PART) as store:
        for task in range(TASKS):
            await store.delete_prefix(BUCKET, f"task-{task}/")
        say(ready=True)
        async with anyio.create_task_group() as tasks:
            for task in range(TASKS):
                tasks.start_soon(load, store, task, random.Random(seed * TASKS + task))


async def run_count(root: Path, times: int) -> None:
    async with open_store(root) as store:
        say(ready=True)
        for _ in range(times):
            while True:
                file = await store.stat(BUCKET, "counter")
                value = file.size + 1
                try:
                    await store.put(
                        BUCKET,
                        "counter",
                        body(bytes(value)),
                        condition=Condition(if_match=file.etag),
                    )
                except ConflictError:
                    continue
                break


async def run_hang(root: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield bytes(2_000_000)
        say(ready=True)
        await anyio.sleep_forever()

    async with open_store(root) as store:
        await store.put(BUCKET, "never", endless())


def main() -> None:
    mode, root = sys.argv[1], Path(sys.argv[2])
    run = {
        "load": lambda: partial(run_load, root, int(sys.argv[3])),
        "count": lambda: partial(run_count, root, int(sys.argv[3])),
        "hang": lambda: partial(run_hang, root),
    }[mode]()
    anyio.run(run, backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
