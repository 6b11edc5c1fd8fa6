"""Stage what the job names, then publish it."""

from __future__ import annotations

import base64
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import orjson

from cnet.errors import CnetError, SpecError, TransientError
from cnet.storage.fetch import files
from cnet.storage.fetch.job import Job, read_job
from cnet.storage.objects import DataObjects
from cnet.storage.opening import open_store
from cnet.storage.staging import Stager, staging

CHUNK = 1024 * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the job in the file that the only argument names; the exit status."""
    (path,) = sys.argv[1:] if argv is None else argv
    try:
        anyio.run(_carry_out, read_job(Path(path)))
    except CnetError as error:
        _say({"error": error.code, "details": error.message})
        return 1
    return 0


def _say(line: object) -> None:
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()


async def _carry_out(job: Job) -> None:
    database = None if job.database is None else Path(job.database)
    async with open_store(Path(job.root), database=database, create=False) as store:
        objects = DataObjects(store)
        stage = job.item.run
        await objects.unstage(stage)  # of a try that was cut off
        async with staging(
            objects, stage, max_bytes=job.max_bytes, max_files=job.max_files
        ) as stager:
            await _stage(job, stager)
        if not stager.count:
            raise SpecError("config.source_path: holds no file", field="config.source_path")
        try:
            await objects.publish(stage, job.item)
        except CnetError:
            await objects.unstage(stage)
            raise
        _say({"stored": job.item.data_key, "files": stager.count, "bytes": stager.size})


async def _stage(job: Job, stager: Stager) -> None:
    roots = tuple(Path(root) for root in job.roots)
    if job.method == "directory":
        for path, source in files.tree(Path(job.source or ""), roots):
            await stager.add(path, source)
        return
    single = job.item.single or ""
    if job.method == "file":
        await stager.add(
            single, _content(job.content or ""), content_type=job.content_type, sha256=job.sha256
        )
    elif job.method == "path":
        body = files.read(Path(job.source or ""), roots)
        await stager.add(single, body, content_type=job.content_type, sha256=job.sha256)
    else:
        await _stage_url(job, stager, single)


async def _stage_url(job: Job, stager: Stager, single: str) -> None:
    from cnet.storage.fetch import web  # 8 MB and 0.1 s, for this method only

    done = anyio.Event()
    with anyio.move_on_after(job.timeout_s) as limit:
        async with web.opened(
            job.source or "", allow_private=job.allow_private, max_bytes=job.max_bytes
        ) as answer:
            content_type = job.content_type or answer.content_type
            body = _until_read(answer.body, done)
            await stager.add(single, body, content_type=content_type, sha256=job.sha256)
            await done.wait()
    if limit.cancelled_caught:
        raise TransientError(
            f"config.source_url: not fetched within {job.timeout_s:g} s (storage.url_timeout_s)",
            code="timeout",
        )


async def _until_read(body: AsyncIterator[bytes], done: anyio.Event) -> AsyncIterator[bytes]:
    try:
        async for chunk in body:
            yield chunk
    finally:
        done.set()


async def _content(text: str) -> AsyncIterator[bytes]:
    content = base64.b64decode(text)
    for start in range(0, len(content), CHUNK):
        yield content[start : start + CHUNK]
