"""Copies of files of other nodes: brought once, whole or not at all, within a bound."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from cnet.errors import DigestError, ExecutionError, UnreachableError
from cnet.storage.cache import FileCache, Write

pytestmark = pytest.mark.anyio


def digest(content: bytes) -> str:
    """Of a file, as the cache names it."""
    return hashlib.sha256(content).hexdigest()


class Source:
    """Counts how often it is asked for its content."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked = 0
        self.go_on = anyio.Event()
        self.go_on.set()
        self.begun = anyio.Event()

    async def __call__(self, write: Write) -> None:
        self.asked += 1
        half = len(self.content) // 2
        await write(self.content[:half])
        self.begun.set()
        await self.go_on.wait()
        await write(self.content[half:])

    async def read(self, cache: FileCache) -> bytes:
        """Its content by way of a cache."""
        async with cache.hold(digest(self.content), len(self.content), self) as path:
            return path.read_bytes()


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    """One for 100 bytes."""
    made = FileCache(tmp_path / "cache", 100)
    made.open()
    return made


def names(tmp_path: Path) -> set[str]:
    """What is in its folder."""
    return {path.name for path in (tmp_path / "cache").iterdir()}


async def test_many_ask_at_once(cache: FileCache) -> None:
    source = Source(b"content")
    found: list[bytes] = []

    async def read() -> None:
        found.append(await source.read(cache))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(read)
    assert found == [b"content"] * 20
    assert source.asked == 1
    await source.read(cache)
    assert source.asked == 1


async def test_the_next_takes_over_from_one_that_is_cancelled(
    cache: FileCache, tmp_path: Path
) -> None:
    source = Source(b"content")
    source.go_on = anyio.Event()
    found: list[bytes] = []
    first = anyio.CancelScope()

    async def read(scope: anyio.CancelScope) -> None:
        with scope:
            found.append(await source.read(cache))

    async with anyio.create_task_group() as group:
        group.start_soon(read, first)
        await source.begun.wait()
        group.start_soon(read, anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        source.go_on.set()
    assert found == [b"content"]
    assert source.asked == 2
    assert names(tmp_path) == {digest(b"content")}


async def _truncated(write: Write) -> None:
    await write(b"cont")


async def _other(write: Write) -> None:
    await write(b"CONTENT")


async def _broken(write: Write) -> None:
    await write(b"cont")
    raise UnreachableError("the link broke")


@pytest.mark.parametrize(
    ("bring", "error"),
    [(_truncated, DigestError), (_other, DigestError), (_broken, UnreachableError)],
)
async def test_nothing_is_left_of_what_is_not_whole(
    cache: FileCache,
    tmp_path: Path,
    bring: Callable[[Write], Awaitable[None]],
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        async with cache.hold(digest(b"content"), 7, bring):
            pytest.fail("it was taken")
    assert names(tmp_path) == set()
    assert await Source(b"content").read(cache) == b"content"


async def test_the_longest_unused_goes(cache: FileCache, tmp_path: Path) -> None:
    sources = [Source(bytes([number]) * 40) for number in range(3)]
    for age, source in enumerate(sources[:2]):
        await source.read(cache)
        os.utime(tmp_path / "cache" / digest(source.content), (age, age))
    await sources[0].read(cache)  # used again, so the other one is the oldest
    await sources[2].read(cache)
    assert names(tmp_path) == {digest(sources[0].content), digest(sources[2].content)}


async def test_what_is_used_stays(cache: FileCache, tmp_path: Path) -> None:
    linked, held, third = (Source(bytes([number]) * 40) for number in range(3))
    await linked.read(cache)
    name = tmp_path / "cache" / digest(linked.content)
    (tmp_path / "run").hardlink_to(name)
    async with cache.hold(digest(held.content), 40, held):
        with pytest.raises(ExecutionError, match="cache_bytes") as caught:
            await third.read(cache)
        assert caught.value.code == "cache_full"
        assert names(tmp_path) == {digest(linked.content), digest(held.content)}
    (tmp_path / "run").unlink()
    os.utime(name, (0, 0))
    assert await third.read(cache) == third.content
    assert names(tmp_path) == {digest(held.content), digest(third.content)}


async def test_two_at_once_share_the_bound(cache: FileCache) -> None:
    first, second = Source(b"a" * 60), Source(b"b" * 60)
    first.go_on = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(first.read, cache)
        await first.begun.wait()
        with pytest.raises(ExecutionError, match="no room"):
            await second.read(cache)
        first.go_on.set()
    assert await second.read(cache) == second.content


async def test_larger_than_the_bound(cache: FileCache) -> None:
    with pytest.raises(ExecutionError, match="101 bytes"):
        await Source(b"x" * 101).read(cache)


async def test_leftovers_of_a_crash_go(cache: FileCache, tmp_path: Path) -> None:
    await Source(b"kept").read(cache)
    (tmp_path / "cache" / f"{digest(b'x')}.1234.part").write_bytes(b"half")
    cache.open()
    assert names(tmp_path) == {digest(b"kept")}


async def test_what_an_earlier_agent_had_counts(cache: FileCache, tmp_path: Path) -> None:
    old, new = Source(b"o" * 60), Source(b"n" * 60)
    await old.read(cache)
    later = FileCache(tmp_path / "cache", 100)
    later.open()
    await new.read(later)
    assert names(tmp_path) == {digest(new.content)}


async def test_it_knows_what_its_files_belong_to(cache: FileCache, tmp_path: Path) -> None:
    kept, gone = Source(b"k" * 30), Source(b"g" * 40)
    for source in (gone, kept):
        await source.read(cache)
    await cache.note("model", {digest(kept.content): 30, digest(gone.content): 40})
    await cache.note("other", {digest(kept.content): 30})
    assert cache.held() == {"model": 70, "other": 30}
    later = FileCache(tmp_path / "cache", 100)
    later.open()
    assert later.held() == {"model": 70, "other": 30}
    os.utime(tmp_path / "cache" / digest(gone.content), (0, 0))
    before = later.changes
    await Source(b"n" * 60).read(later)
    assert later.held() == {"model": 30, "other": 30} and later.changes > before


async def test_notes_that_cannot_be_read_are_forgotten(cache: FileCache, tmp_path: Path) -> None:
    await cache.note("model", {"0" * 64: 1})
    (tmp_path / "cache-keys.json").write_bytes(b"{half")
    cache.open()
    assert cache.held() == {}
    await Source(b"x").read(cache)
    await cache.note("model", {digest(b"x"): 1})
    assert cache.held() == {"model": 1}
