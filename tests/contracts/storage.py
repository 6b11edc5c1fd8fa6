"""What every store keeps, whatever holds its bytes. Subclass it with a fixture `store`.

The store must take parts of 5 bytes (`min_part_bytes=5`).
"""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import AsyncIterator

import anyio
import pytest

from cnet.errors import ConflictError, DigestError, NotFoundError, SpecError, StorageFullError
from cnet.storage import NodeStore
from cnet.storage.base import Attributes, Condition, Expected, FileInfo

BUCKET = "cnet"
PICTURE = Attributes(
    content_type="image/png", metadata={"colour": "grün"}, headers={"cache-control": "no-store"}
)


async def body(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def content(
    store: NodeStore, file: FileInfo, start: int = 0, length: int | None = None
) -> bytes:
    async with store.open(file, start, length) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def keys(store: NodeStore, bucket: str = BUCKET) -> list[str]:
    return [file.key for file in (await store.list(bucket)).files]


class StoreContract:
    """Tests of one store that is empty but for its default bucket."""

    # --- files ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 1, 40_000, 1_048_576, 3_000_001])
    async def test_round_trip(self, store: NodeStore, size: int) -> None:
        data = os.urandom(size)
        put = await store.put(BUCKET, "a/b", body(data[:7], data[7:]), PICTURE)
        found = await store.stat(BUCKET, "a/b")
        assert found == put
        assert (found.size, found.content_type) == (size, "image/png")
        assert found.metadata == {"colour": "grün"}
        assert found.headers == {"cache-control": "no-store"}
        assert found.etag == hashlib.md5(data).hexdigest()
        assert found.sha256 == hashlib.sha256(data).hexdigest()
        assert await content(store, found) == data
        assert await store.used() == size

    async def test_ranges(self, store: NodeStore) -> None:
        data = os.urandom(2_500_000)
        file = await store.put(BUCKET, "k", body(data))
        for start, length in [(0, 10), (1_048_570, 20), (2_499_999, 5), (2_500_000, 1), (7, None)]:
            end = None if length is None else start + length
            assert await content(store, file, start, length) == data[start:end]
            rest = len(data[start:end])
            assert store.at_hand(file, start, rest) in (data[start:end], None)
        assert await content(store, file, 3_000_000) == b""

    async def test_overwrite_is_another_file(self, store: NodeStore) -> None:
        old = await store.put(BUCKET, "k", body(b"old"), PICTURE)
        new = await store.put(BUCKET, "k", body(b"newer"))
        assert old.blob != new.blob
        found = await store.stat(BUCKET, "k")
        assert (found.metadata, found.content_type) == ({}, "application/octet-stream")
        assert await content(store, found) == b"newer"
        assert await store.used() == 5
        with pytest.raises(NotFoundError):
            await content(store, old)

    async def test_a_reader_keeps_what_it_opened(self, store: NodeStore) -> None:
        data = os.urandom(3_000_000)
        file = await store.put(BUCKET, "k", body(data))
        async with store.open(file) as chunks:
            first = await anext(chunks)
            await store.delete(BUCKET, "k")
            assert first + b"".join([chunk async for chunk in chunks]) == data
        with pytest.raises(NotFoundError):
            await store.stat(BUCKET, "k")

    async def test_delete(self, store: NodeStore) -> None:
        await store.put(BUCKET, "k", body(b"x"))
        assert await store.delete(BUCKET, "k")
        assert not await store.delete(BUCKET, "k")
        assert await keys(store) == []
        assert await store.used() == 0

    async def test_delete_many_and_below_a_prefix(self, store: NodeStore) -> None:
        for key in ("a", "a/1", "a/2", "a0", "b"):
            await store.put(BUCKET, key, body(b"1"))
        assert list(await store.delete_many(BUCKET, ["b", "none", "b"])) == ["b"]
        assert await store.delete_prefix(BUCKET, "a/") == 2
        assert await keys(store) == ["a", "a0"]

    async def test_missing(self, store: NodeStore) -> None:
        with pytest.raises(NotFoundError) as missing:
            await store.stat(BUCKET, "none")
        assert missing.value.code == "no_such_key"
        with pytest.raises(NotFoundError) as no_bucket:
            await store.put("nowhere", "k", body(b""))
        assert no_bucket.value.code == "no_such_bucket"
        for ask in (store.list("nowhere"), store.delete("nowhere", "k"), store.uploads("nowhere")):
            with pytest.raises(NotFoundError):
                await ask

    # --- what must be the case -----------------------------------------------------------------

    @pytest.mark.parametrize(
        ("expected", "field"),
        [
            (Expected(size=4), "size"),
            (Expected(size=2), "size"),
            (Expected(md5="0" * 32), "md5"),
            (Expected(sha256="0" * 64), "sha256"),
            (Expected(checksums={"crc32": "AAAAAA=="}), "checksum_crc32"),
            (Expected(checksums={"crc64nvme": "AAAAAAAAAAA="}), "checksum_crc64nvme"),
        ],
    )
    async def test_wrong_bytes_are_not_stored(
        self, store: NodeStore, expected: Expected, field: str
    ) -> None:
        await store.put(BUCKET, "k", body(b"kept"))
        with pytest.raises(DigestError) as refused:
            await store.put(BUCKET, "k", body(b"123"), expected=expected)
        assert refused.value.field == field
        assert await content(store, await store.stat(BUCKET, "k")) == b"kept"
        assert await store.used() == 4

    async def test_right_bytes_with_checksums(self, store: NodeStore) -> None:
        crc = base64.b64encode(zlib.crc32(b"123").to_bytes(4, "big")).decode()
        expected = Expected(
            size=3,
            md5=hashlib.md5(b"123").hexdigest().upper(),
            sha256=hashlib.sha256(b"123").hexdigest(),
            checksums={"crc32": crc, "sha256": ""},
        )
        file = await store.put(BUCKET, "k", body(b"123"), expected=expected)
        sha256 = base64.b64encode(hashlib.sha256(b"123").digest()).decode()
        assert file.checksums == {"crc32": crc, "sha256": sha256}
        assert (await store.stat(BUCKET, "k")).checksums == file.checksums

    async def test_a_trailer_may_come_with_the_body(self, store: NodeStore) -> None:
        announced = {"crc32": ""}

        async def with_trailer() -> AsyncIterator[bytes]:
            yield b"123"
            announced["crc32"] = "AAAAAA=="

        with pytest.raises(DigestError):
            await store.put(BUCKET, "k", with_trailer(), expected=Expected(checksums=announced))
        assert await keys(store) == []

    async def test_conditions(self, store: NodeStore) -> None:
        free, taken = Condition(if_none_match=True), Condition(if_match="*")
        with pytest.raises(NotFoundError):
            await store.put(BUCKET, "k", body(b"1"), condition=taken)
        file = await store.put(BUCKET, "k", body(b"1"), condition=free)
        with pytest.raises(ConflictError) as refused:
            await store.put(BUCKET, "k", body(b"2"), condition=free)
        assert refused.value.code == "precondition_failed"
        await store.put(BUCKET, "k", body(b"2"), condition=Condition(if_match=file.etag))
        for attempt in (
            store.put(BUCKET, "k", body(b"3"), condition=Condition(if_match=file.etag)),
            store.delete(BUCKET, "k", condition=Condition(if_match=file.etag)),
        ):
            with pytest.raises(ConflictError):
                await attempt
        assert await content(store, await store.stat(BUCKET, "k")) == b"2"
        assert await store.delete(BUCKET, "k", condition=taken)

    async def test_one_of_many_wins_a_new_key(self, store: NodeStore) -> None:
        won: list[str] = []

        async def put(name: str) -> None:
            try:
                await store.put(
                    BUCKET, "k", body(name.encode()), condition=Condition(if_none_match=True)
                )
            except ConflictError:
                return
            won.append(name)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(put, f"{number}")
        assert len(won) == 1
        assert (await content(store, await store.stat(BUCKET, "k"))).decode() == won[0]

    async def test_a_body_that_breaks_off(self, store: NodeStore) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield os.urandom(2_000_000)
            raise ConnectionError("gone")

        with pytest.raises(ConnectionError):
            await store.put(BUCKET, "k", broken())
        assert (await keys(store), await store.used()) == ([], 0)

    async def test_a_cancelled_put(self, store: NodeStore) -> None:
        async def endless() -> AsyncIterator[bytes]:
            yield os.urandom(2_000_000)
            scope.cancel()
            await anyio.sleep_forever()

        with anyio.CancelScope() as scope:
            await store.put(BUCKET, "k", endless())
        assert scope.cancelled_caught
        assert (await keys(store), await store.used()) == ([], 0)
        assert await store.sweep() == 0

    # --- room ----------------------------------------------------------------------------------

    async def test_quota(self, store: NodeStore) -> None:
        await store.set_quota(3_000_000)
        await store.put(BUCKET, "a", body(bytes(2_000_000)))
        for expected in (Expected(), Expected(size=2_000_000)):
            with pytest.raises(StorageFullError) as full:
                await store.put(BUCKET, "b", body(bytes(2_000_000)), expected=expected)
            assert full.value.code == "quota_exceeded"
        assert (await keys(store), await store.used()) == (["a"], 2_000_000)
        await store.put(BUCKET, "a", body(bytes(2_900_000)))  # in place of what it had
        with pytest.raises(StorageFullError):
            await store.copy(await store.stat(BUCKET, "a"), BUCKET, "b")
        await store.delete(BUCKET, "a")
        await store.put(BUCKET, "b", body(bytes(3_000_000)))
        await store.set_quota(None)
        await store.put(BUCKET, "c", body(bytes(3_000_000)))

    async def test_quota_holds_for_those_at_once(self, store: NodeStore) -> None:
        await store.set_quota(10_000)
        refused = 0

        async def put(number: int) -> None:
            nonlocal refused
            try:
                await store.put(BUCKET, f"{number}", body(bytes(1000)))
            except StorageFullError:
                refused += 1

        async with anyio.create_task_group() as tasks:
            for number in range(15):
                tasks.start_soon(put, number)
        assert await store.used() == 10_000
        assert refused == 5

    # --- copies --------------------------------------------------------------------------------

    async def test_copy(self, store: NodeStore) -> None:
        source = await store.put(BUCKET, "a", body(b"abc"), PICTURE)
        await store.create_bucket("other")
        await store.copy(source, "other", "b")
        changed = await store.copy(source, BUCKET, "c", Attributes(content_type="text/x"))
        await store.delete(BUCKET, "a")
        same = await store.stat("other", "b")
        assert (same.etag, same.metadata) == (source.etag, source.metadata)
        assert await content(store, same) == b"abc"
        assert (changed.content_type, changed.metadata) == ("text/x", {})
        with pytest.raises(NotFoundError):
            await store.copy(source, BUCKET, "d")
        assert await store.used() == 6

    async def test_copy_onto_itself(self, store: NodeStore) -> None:
        source = await store.put(BUCKET, "a", body(b"abc"))
        await store.copy(source, BUCKET, "a", PICTURE)
        found = await store.stat(BUCKET, "a")
        assert found.metadata == PICTURE.metadata
        assert await content(store, found) == b"abc"

    # --- buckets -------------------------------------------------------------------------------

    async def test_buckets(self, store: NodeStore) -> None:
        assert await store.create_bucket("zoo")
        assert not await store.create_bucket("zoo")
        assert [name for name, _ in await store.buckets()] == [BUCKET, "zoo"]
        await store.put("zoo", "k", body(b"1"))
        with pytest.raises(ConflictError) as refused:
            await store.delete_bucket("zoo")
        assert refused.value.code == "bucket_not_empty"
        await store.delete("zoo", "k")
        upload = await store.create_upload("zoo", "k")
        with pytest.raises(ConflictError):
            await store.delete_bucket("zoo")
        await store.abort_upload("zoo", "k", upload)
        await store.delete_bucket("zoo")
        with pytest.raises(NotFoundError):
            await store.delete_bucket("zoo")

    # --- in parts ------------------------------------------------------------------------------

    async def test_upload_in_parts(self, store: NodeStore) -> None:
        upload = await store.create_upload(BUCKET, "big", PICTURE)
        data = [os.urandom(1_500_000), os.urandom(700_000), b"end"]
        named: list[tuple[int, str]] = []
        for number, chunk in zip((9, 2, 40), data, strict=True):
            part, _ = await store.put_part(BUCKET, "big", upload, number, body(chunk))
            named.append((number, part.md5))
        named.sort()
        whole = data[1] + data[0] + data[2]
        assert await keys(store) == []
        assert [part.number for part, _ in await store.parts(BUCKET, "big", upload)] == [2, 9, 40]
        file = await store.complete_upload(BUCKET, "big", upload, named)
        assert await store.stat(BUCKET, "big") == file
        assert (file.size, file.metadata) == (len(whole), PICTURE.metadata)
        assert file.sha256 == hashlib.sha256(whole).hexdigest()
        digests = b"".join(bytes.fromhex(md5) for _, md5 in named)
        assert file.etag == f"{hashlib.md5(digests).hexdigest()}-3"
        assert [part.size for part in file.parts] == [700_000, 1_500_000, 3]
        assert await content(store, file) == whole
        for start, length in [(699_990, 20), (699_999, 1), (700_000, 1), (0, 2_200_003), (9, 0)]:
            assert await content(store, file, start, length) == whole[start : start + length]
        assert await store.used() == len(whole)
        assert await store.complete_upload(BUCKET, "big", upload, named) == file
        assert list(await store.uploads(BUCKET)) == []
        copied = await store.copy(file, BUCKET, "copy")
        await store.delete(BUCKET, "big")
        assert copied.parts == file.parts
        assert await content(store, await store.stat(BUCKET, "copy")) == whole
        with pytest.raises(NotFoundError):
            await store.complete_upload(BUCKET, "big", upload, named)

    async def test_a_file_in_parts_stays_while_it_is_read(self, store: NodeStore) -> None:
        file = await put_in_parts(store, "k", [b"12345", b"67890", b"x"])
        async with store.open(file) as chunks:
            first = await anext(chunks)
            await store.put(BUCKET, "k", body(b"new"))
            assert first + b"".join([chunk async for chunk in chunks]) == b"1234567890x"
        with pytest.raises(NotFoundError):
            await content(store, file)
        assert await store.sweep() == 0

    async def test_completed_twice_at_once(self, store: NodeStore) -> None:
        upload = await store.create_upload(BUCKET, "k")
        parts = [
            (number, (await store.put_part(BUCKET, "k", upload, number, body(data)))[0].md5)
            for number, data in enumerate((b"12345", os.urandom(1_500_000)), start=1)
        ]
        made: list[str] = []

        async def complete() -> None:
            made.append((await store.complete_upload(BUCKET, "k", upload, parts)).blob)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(complete)
        assert made == [(await store.stat(BUCKET, "k")).blob] * 4

    async def test_parts_that_are_refused(self, store: NodeStore) -> None:
        upload = await store.create_upload(BUCKET, "k")
        made = [
            (number, (await store.put_part(BUCKET, "k", upload, number, body(data)))[0].md5)
            for number, data in enumerate((b"12345", b"1", b"12345"), start=1)
        ]
        for parts, code in [
            ([], "invalid_part"),
            ([(4, made[0][1])], "invalid_part"),
            ([(1, made[1][1])], "invalid_part"),
            ([made[2], made[0]], "invalid_part_order"),
            ([made[0], made[0]], "invalid_part_order"),
            (made, "part_too_small"),
        ]:
            with pytest.raises(SpecError) as refused:
                await store.complete_upload(BUCKET, "k", upload, parts)
            assert refused.value.code == code
        for number in (0, -1, 10_001):
            with pytest.raises(SpecError):
                await store.put_part(BUCKET, "k", upload, number, body(b""))
        await store.complete_upload(BUCKET, "k", upload, [made[0], made[1]])
        assert await store.used() == 6  # the third is gone

    async def test_a_part_is_replaced(self, store: NodeStore) -> None:
        upload = await store.create_upload(BUCKET, "k")
        await store.put_part(BUCKET, "k", upload, 1, body(b"first"))
        part, _ = await store.put_part(BUCKET, "k", upload, 1, body(b"2nd"))
        assert await store.used() == 3
        file = await store.complete_upload(BUCKET, "k", upload, [(1, f'"{part.md5}"')])
        assert await content(store, file) == b"2nd"

    async def test_uploads_are_found_by_their_key_only(self, store: NodeStore) -> None:
        upload = await store.create_upload(BUCKET, "k")
        for key, name in (("other", upload), ("k", "0" * 32), ("k", "\udcff")):
            with pytest.raises(NotFoundError) as missing:
                await store.put_part(BUCKET, key, name, 1, body(b"1"))
            assert missing.value.code == "no_such_upload"
        await store.abort_upload(BUCKET, "k", upload)
        with pytest.raises(NotFoundError):
            await store.put_part(BUCKET, "k", upload, 1, body(b"1"))

    async def test_an_upload_is_aborted_under_a_part(self, store: NodeStore) -> None:
        upload = await store.create_upload(BUCKET, "k")
        await store.put_part(BUCKET, "k", upload, 1, body(b"12345"))

        async def late() -> AsyncIterator[bytes]:
            yield b"1"
            await store.abort_upload(BUCKET, "k", upload)

        with pytest.raises(NotFoundError):
            await store.put_part(BUCKET, "k", upload, 2, late())
        assert await store.used() == 0

    async def test_lists_of_uploads_and_parts(self, store: NodeStore) -> None:
        made = [(key, await store.create_upload(BUCKET, key)) for key in ("a", "b", "b", "c/1")]
        made.sort()
        found = [(u.key, u.upload_id) for u in await store.uploads(BUCKET)]
        assert found == made
        behind = await store.uploads(BUCKET, after=made[1], limit=1)
        assert [(u.key, u.upload_id) for u in behind] == [made[2]]
        assert [u.key for u in await store.uploads(BUCKET, prefix="c")] == ["c/1"]
        for number in range(1, 6):
            await store.put_part(BUCKET, "a", made[0][1], number, body(b"1"))
        some = await store.parts(BUCKET, "a", made[0][1], after=2, limit=2)
        assert [part.number for part, _ in some] == [3, 4]
        assert await store.abort_uploads(older_than_s=3600) == 0
        assert await store.abort_uploads(older_than_s=-1) == 4
        assert await store.used() == 0

    @pytest.mark.parametrize("name", ["crc32", "crc32c", "crc64nvme"])
    async def test_checksum_of_the_whole(self, store: NodeStore, name: str) -> None:
        data = [os.urandom(9), os.urandom(5), os.urandom(1)]
        whole = await store.put(
            BUCKET, "whole", body(*data), expected=Expected(checksums={name: ""})
        )
        file = await put_in_parts(store, "k", data, checksum=name, checksum_type="FULL_OBJECT")
        assert file.checksums == whole.checksums
        assert file.checksum_type == "FULL_OBJECT"

    async def test_composite_checksum(self, store: NodeStore) -> None:
        data = [b"12345", b"x"]
        digests = b"".join(hashlib.sha256(part).digest() for part in data)
        value = base64.b64encode(hashlib.sha256(digests).digest()).decode() + "-2"
        file = await put_in_parts(store, "k", data, checksum="sha256")
        assert file.checksums == {"sha256": value}
        assert file.checksum_type == "COMPOSITE"
        with pytest.raises(DigestError):
            await put_in_parts(store, "k", [b"12345", b"y"], checksum="sha256", announced=value)
        assert (await store.stat(BUCKET, "k")).etag == file.etag
        await put_in_parts(store, "k", data, checksum="sha256", announced=value.removesuffix("-2"))

    async def test_wrong_kinds_of_checksum(self, store: NodeStore) -> None:
        for name, kind in (("md4", None), ("sha1", "FULL_OBJECT"), ("crc64nvme", "COMPOSITE")):
            with pytest.raises(SpecError):
                await store.create_upload(BUCKET, "k", checksum=name, checksum_type=kind)

    async def test_conditions_of_an_upload(self, store: NodeStore) -> None:
        upload = await store.create_upload(BUCKET, "k")
        part, _ = await store.put_part(BUCKET, "k", upload, 1, body(b"part"))
        await store.put(BUCKET, "k", body(b"meanwhile"))
        with pytest.raises(ConflictError):
            await store.complete_upload(
                BUCKET, "k", upload, [(1, part.md5)], condition=Condition(if_none_match=True)
            )
        with pytest.raises(DigestError):
            await store.complete_upload(
                BUCKET, "k", upload, [(1, part.md5)], expected=Expected(size=5)
            )
        assert len(await store.parts(BUCKET, "k", upload)) == 1


async def put_in_parts(
    store: NodeStore,
    key: str,
    data: list[bytes],
    *,
    checksum: str | None = None,
    checksum_type: str | None = None,
    announced: str = "",
) -> FileInfo:
    upload = await store.create_upload(BUCKET, key, checksum=checksum, checksum_type=checksum_type)
    parts = []
    for number, chunk in enumerate(data, start=1):
        part, _ = await store.put_part(BUCKET, key, upload, number, body(chunk))
        parts.append((number, part.md5))
    expected = Expected(checksums={checksum: announced} if checksum else {})
    return await store.complete_upload(BUCKET, key, upload, parts, expected=expected)
