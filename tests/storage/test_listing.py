"""Random operations against a dictionary; every listing against a naive one."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnet.errors import SpecError
from cnet.storage import NodeStore, open_store
from cnet.storage.base import Entry, FileInfo, Page
from cnet.storage.listing import Listing, list_files
from tests.contracts.storage import body, content

# Short keys that share prefixes; the last ones sort differently in UTF-16 and in UTF-8.
LETTERS = ["a", "b", "/", "//", "..", " ", "é", "\uffed", "\U0001f600"]
texts = st.lists(st.sampled_from(LETTERS), max_size=5).map("".join)
keys = texts.filter(bool)
_numbers = itertools.count()


class Opened:
    """A store in an event loop of its own, and a fresh bucket for each example."""

    def __init__(self, portal: BlockingPortal, store: NodeStore) -> None:
        self.portal = portal
        self.store = store

    def fresh_bucket(self) -> str:
        name = f"example-{next(_numbers)}"
        self.portal.call(self.store.create_bucket, name)
        return name

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.portal.call(lambda: self.store.put(bucket, key, body(data)))

    def read(self, bucket: str, key: str) -> bytes:
        async def read() -> bytes:
            return await content(self.store, await self.store.stat(bucket, key))

        return self.portal.call(read)

    def page(
        self, bucket: str, prefix: str, delimiter: str, after: str, limit: int, past_group: bool
    ) -> Page[FileInfo]:
        """Of files; one of entries must be the same."""
        asked: dict[str, Any] = {
            "prefix": prefix,
            "delimiter": delimiter,
            "after": after,
            "limit": limit,
            "past_group": past_group,
        }
        page = self.portal.call(lambda: self.store.list(bucket, **asked))
        entries = self.portal.call(lambda: self.store.entries(bucket, **asked))
        assert (entries.prefixes, entries.next_after) == (page.prefixes, page.next_after)
        assert entries.files == tuple(
            Entry(f.key, f.size, f.etag, f.modified_at, f.checksums, f.checksum_type)
            for f in page.files
        )
        return page


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    root = tmp_path_factory.mktemp("store")
    with (
        start_blocking_portal(backend_options={"use_uvloop": True}) as portal,
        portal.wrap_async_context_manager(open_store(root)) as store,
    ):
        yield Opened(portal, store)


def naive(
    present: list[str], prefix: str, delimiter: str, after: str, past_group: bool
) -> list[tuple[str, bool]]:
    """(key or common prefix, whether it is a prefix), in order, without paging."""
    shown: dict[str, bool] = {}
    for key in sorted(present, key=str.encode):
        if not key.startswith(prefix) or (after and key.encode() <= after.encode()):
            continue
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            group = prefix + rest[: rest.index(delimiter) + len(delimiter)]
            if not (past_group and after.startswith(group)):
                shown[group] = True
        else:
            shown[key] = False
    return sorted(shown.items(), key=lambda item: item[0].encode())


def shown_by(page: Page[FileInfo]) -> list[tuple[str, bool]]:
    shown = [(file.key, False) for file in page.files] + [(name, True) for name in page.prefixes]
    return sorted(shown, key=lambda item: item[0].encode())


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    present=st.sets(keys, max_size=25),
    asked=st.lists(
        st.tuples(texts, st.sampled_from(["", "/", "a", "//", "é"]), texts, st.booleans()),
        min_size=1,
        max_size=8,
    ),
    limit=st.integers(1, 7),
)
def test_listings(
    opened: Opened, present: set[str], asked: list[tuple[str, str, str, bool]], limit: int
) -> None:
    bucket = opened.fresh_bucket()
    for key in present:
        opened.put(bucket, key, key.encode())
    for prefix, delimiter, after, past_group in asked:
        wanted = naive(list(present), prefix, delimiter, after, past_group)
        whole = opened.page(bucket, prefix, delimiter, after, 1000, past_group)
        assert shown_by(whole) == wanted
        assert whole.next_after is None
        paged: list[tuple[str, bool]] = []
        page = opened.page(bucket, prefix, delimiter, after, limit, past_group)
        while True:
            found = shown_by(page)
            paged += found
            if page.next_after is None:
                assert len(found) <= limit
                break
            assert len(found) == limit
            assert len(paged) < len(wanted), "paging shows something twice"
            page = opened.page(bucket, prefix, delimiter, page.next_after, limit, True)
        assert paged == wanted


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "delete", "copy", "prefix", "many"]), keys, keys),
        max_size=25,
    )
)
def test_operations(opened: Opened, steps: list[tuple[str, str, str]]) -> None:
    bucket, store = opened.fresh_bucket(), opened.store
    model: dict[str, bytes] = {}
    call = opened.portal.call
    before = call(store.used)
    for number, (step, key, other) in enumerate(steps):
        if step == "put":
            data = f"{number}".encode() * 3
            opened.put(bucket, key, data)
            model[key] = data
        elif step == "delete":
            assert call(store.delete, bucket, key) == (key in model)
            model.pop(key, None)
        elif step == "copy" and key in model:
            source = call(store.stat, bucket, key)
            call(store.copy, source, bucket, other)
            model[other] = model[key]
        elif step == "prefix":
            gone = [name for name in model if name.startswith(key)]
            assert call(store.delete_prefix, bucket, key) == len(gone)
            model = {name: data for name, data in model.items() if name not in gone}
        elif step == "many":
            there = {name for name in (key, other) if name in model}
            assert set(call(store.delete_many, bucket, [key, other])) == there
            model = {name: data for name, data in model.items() if name not in there}
    page = opened.page(bucket, "", "", "", 1000, True)
    assert [file.key for file in page.files] == sorted(model, key=str.encode)
    assert {key: opened.read(bucket, key) for key in model} == model
    assert call(store.used) - before == sum(map(len, model.values()))


def test_a_common_prefix_costs_one_seek(opened: Opened) -> None:
    """A page of groups reads as many rows as it shows, however much lies below each."""
    bucket = opened.fresh_bucket()

    def fill(connection: sqlite3.Connection) -> None:
        (number,) = connection.execute(
            "SELECT id FROM buckets WHERE name = ?", (bucket,)
        ).fetchone()
        connection.executemany(
            "INSERT INTO files (bucket, key, blob, size, etag, sha256, content_type, modified_at) "
            "VALUES (?, ?, ?, 0, '', '', '', 0)",
            [
                (number, f"{group}/{key:05}".encode(), f"{bucket}-{group}-{key}")
                for group in range(20)
                for key in range(2000)
            ],
        )

    opened.portal.call(opened.store.catalog.write, fill)
    rows = 0

    def counted(connection: sqlite3.Connection) -> Page[FileInfo]:
        connection.row_factory = lambda _, row: (_count(), row)[1]
        try:
            return list_files(
                connection,
                Listing(
                    bucket=bucket,
                    prefix=b"",
                    delimiter=b"/",
                    after=b"",
                    limit=1000,
                    past_group=True,
                ),
            )
        finally:
            connection.row_factory = None

    def _count() -> None:
        nonlocal rows
        rows += 1

    page = opened.portal.call(opened.store.catalog.read, counted)
    assert len(page.prefixes) == 20
    assert rows <= 22
    opened.portal.call(opened.store.catalog.write, lambda db: _forget(db, bucket))


def _forget(connection: sqlite3.Connection, bucket: str) -> None:
    connection.execute(
        "DELETE FROM files WHERE bucket = (SELECT id FROM buckets WHERE name = ?)", (bucket,)
    )


def test_limits_of_pages(opened: Opened) -> None:
    bucket = opened.fresh_bucket()
    opened.put(bucket, "a", b"")
    for limit in (0, -1):
        assert opened.page(bucket, "", "", "", limit, True) == Page((), (), None)
    with pytest.raises(SpecError):
        opened.page(bucket, "\ud800", "", "", 1, True)
