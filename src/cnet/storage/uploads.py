"""Files that arrive in parts: every part is a blob, and the file is joined out of them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
import orjson

from cnet._support.clock import now
from cnet.errors import ConflictError, NotFoundError, SpecError
from cnet.storage import queries, upload_queries
from cnet.storage.base import Attributes, Body, Condition, Expected, FileInfo, Part, Upload
from cnet.storage.core import Core, encode, new_blob
from cnet.storage.digests import COMPOSITE, Digests, check_type, combined, compare, composite
from cnet.storage.names import check_key

MIN_PART_BYTES: Final = 5 * 1024 * 1024
MAX_PARTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Stored:
    part: Part
    checksums: Mapping[str, str]
    blob: str


class Uploads:
    """The multipart half of a store."""

    def __init__(self, core: Core, min_part_bytes: int) -> None:
        self._core = core
        self._min_part_bytes = min_part_bytes

    async def create(
        self,
        bucket: str,
        key: str,
        attributes: Attributes,
        checksum: str | None,
        checksum_type: str | None,
    ) -> str:
        """See Store.create_upload."""
        self._core.check_target(bucket, key, queries.ALWAYS)
        upload = Upload(
            upload_id=uuid.uuid4().hex,
            bucket=bucket,
            key=key,
            attributes=attributes,
            checksum=checksum,
            checksum_type=None if checksum is None else check_type(checksum, checksum_type),
            initiated_at=now(),
        )
        await self._core.catalog.write(
            partial(upload_queries.add_upload, upload=upload), needs_room=True
        )
        return upload.upload_id

    def find(self, bucket: str, key: str, upload_id: str) -> Upload:
        """Raises SpecError, NotFoundError."""
        number, encoded = self._core.bucket_id(bucket), check_key(key)
        upload = self._core.catalog.look(
            partial(
                upload_queries.find_upload,
                bucket=number,
                bucket_name=bucket,
                upload_id=_clean(upload_id),
            )
        )
        if upload is None or upload.key.encode() != encoded:
            raise upload_queries.no_upload(upload_id)
        return upload

    async def put_part(
        self, upload: Upload, number: int, body: Body, expected: Expected
    ) -> tuple[Part, Mapping[str, str]]:
        """See Store.put_part."""
        if not 1 <= number <= MAX_PARTS:
            raise SpecError(
                f"part_number: must be 1 to {MAX_PARTS}, not {number}",
                field="part_number",
                code="invalid_part_number",
            )
        wanted = dict.fromkeys(expected.checksums)
        if upload.checksum is not None:
            wanted[upload.checksum] = None
        digests = Digests(wanted)
        core = self._core
        async with core.backend.create(new_blob()) as draft:
            await core.receiver.receive(body, draft, digests, expected)
            part = Part(number, digests.size, digests.md5, digests.sha256, now())
            checksums = digests.checksums()
            await core.commit(
                draft,
                partial(
                    upload_queries.put_part,
                    upload_id=upload.upload_id,
                    part=part,
                    checksums=checksums,
                    blob=draft.blob,
                ),
            )
        return part, checksums

    async def parts(
        self, upload: Upload, after: int, limit: int
    ) -> list[tuple[Part, Mapping[str, str]]]:
        """See Store.parts."""
        rows = await self._core.catalog.read(
            partial(
                upload_queries.parts, upload_id=upload.upload_id, after=after, limit=max(limit, 0)
            )
        )
        return [(part, checksums) for part, checksums, _ in rows]

    async def all(
        self, bucket: str, prefix: str, after: tuple[str, str], limit: int
    ) -> list[Upload]:
        """See Store.uploads."""
        return await self._core.catalog.read(
            partial(
                upload_queries.uploads,
                bucket_name=self._core.check_bucket(bucket),
                prefix=encode("prefix", prefix),
                after=(encode("after", after[0]), _clean(after[1])),
                limit=max(limit, 0),
            )
        )

    async def abort(self, upload: Upload) -> None:
        """See Store.abort_upload."""
        with anyio.CancelScope(shield=True):
            freed = await self._core.catalog.write(
                partial(upload_queries.drop_upload, upload_id=upload.upload_id)
            )
            await self._core.collect(freed)

    async def abort_old(self, older_than_s: float) -> int:
        """Forget uploads that were begun long ago; returns their number."""
        old = await self._core.catalog.read(
            partial(upload_queries.begun_before, moment=now() - older_than_s)
        )
        for upload_id in old:
            freed = await self._core.catalog.write(
                partial(upload_queries.drop_upload, upload_id=upload_id)
            )
            await self._core.collect(freed)
        return len(old)

    # --- completing ----------------------------------------------------------------------------

    async def complete(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[tuple[int, str]],
        expected: Expected,
        condition: Condition,
    ) -> FileInfo:
        """See Store.complete_upload."""
        asked = hashlib.sha256(orjson.dumps(list(parts))).hexdigest()
        try:
            upload = self.find(bucket, key, upload_id)
            return await self._complete(upload, parts, asked, expected, condition)
        except NotFoundError as error:
            if error.code == "no_such_bucket":
                raise
            done = await self._done(bucket, key, upload_id, asked)
            if done is not None:
                return done
            if error.code == upload_queries.NO_SUCH_UPLOAD or condition.if_match is not None:
                raise
            raise ConflictError("a part was replaced while the upload was completed") from error

    async def _complete(
        self,
        upload: Upload,
        asked: Sequence[tuple[int, str]],
        asked_digest: str,
        expected: Expected,
        condition: Condition,
    ) -> FileInfo:
        core = self._core
        core.check_target(upload.bucket, upload.key, condition)
        chosen = await self._choose(upload, asked)
        size = sum(stored.part.size for stored in chosen)
        compare("size", expected.size, size)
        checksums = _checksums(upload, chosen)
        _check_announced(expected, checksums)
        async with core.backend.join(new_blob(), [stored.blob for stored in chosen]) as draft:
            sha256 = await self._sha256(draft.blob, size)
            compare("sha256", expected.sha256, sha256)
            file = FileInfo(
                bucket=upload.bucket,
                key=upload.key,
                blob=draft.blob,
                size=size,
                etag=_etag([stored.part for stored in chosen]),
                sha256=sha256,
                content_type=upload.attributes.content_type,
                modified_at=now(),
                metadata=upload.attributes.metadata,
                headers=upload.attributes.headers,
                checksums=checksums,
                checksum_type=upload.checksum_type if checksums else None,
                parts=tuple(
                    replace(stored.part, number=number)
                    for number, stored in enumerate(chosen, start=1)
                ),
            )
            finish = upload_queries.Completion(
                upload_id=upload.upload_id,
                blobs=tuple((stored.part.number, stored.blob) for stored in chosen),
                asked=asked_digest,
                file=file,
                condition=condition,
                guarded=core.guarded,
            )
            await core.commit(draft, partial(upload_queries.complete_upload, done=finish))
        return file

    async def _choose(self, upload: Upload, asked: Sequence[tuple[int, str]]) -> list[_Stored]:
        """The parts that were named, in order. Raises SpecError."""
        if not asked:
            raise SpecError("parts: at least one is needed", field="parts", code="invalid_part")
        rows = await self._core.catalog.read(
            partial(upload_queries.parts, upload_id=upload.upload_id, after=0, limit=MAX_PARTS)
        )
        present = {row[0].number: _Stored(*row) for row in rows}
        chosen: list[_Stored] = []
        for number, etag in asked:
            if chosen and number <= chosen[-1].part.number:
                raise SpecError(
                    f"parts: {number} stands behind {chosen[-1].part.number}; numbers must go up",
                    field="parts",
                    code="invalid_part_order",
                )
            stored = present.get(number)
            if stored is None or stored.part.md5 != etag.strip('"').lower():
                raise SpecError(
                    f"parts: there is no part {number} with ETag {etag[:100]!r}",
                    field="parts",
                    code="invalid_part",
                )
            chosen.append(stored)
        for stored in chosen[:-1]:
            if stored.part.size < self._min_part_bytes:
                raise SpecError(
                    f"parts: part {stored.part.number} has {stored.part.size} bytes; all but the "
                    f"last must have {self._min_part_bytes}",
                    field="parts",
                    code="part_too_small",
                )
        return chosen

    async def _sha256(self, blob: str, size: int) -> str:
        """Of a joined file: the only way to know it is to read it once."""
        digest = hashlib.sha256()
        async with self._core.backend.read(blob, 0, size) as body:
            async for chunk in body:
                await anyio.to_thread.run_sync(digest.update, chunk)
        return digest.hexdigest()

    async def _done(self, bucket: str, key: str, upload_id: str, asked: str) -> FileInfo | None:
        """What an upload became that was completed before with the same parts."""
        file = self._core.find(bucket, key)
        if file is None:
            return None
        was = await self._core.catalog.read(
            partial(upload_queries.completed, upload_id=_clean(upload_id))
        )
        if was != (file.blob, asked):
            return None
        parts = await self._core.catalog.read(partial(queries.layout, blob=file.blob))
        return replace(file, parts=parts)


def _etag(parts: Sequence[Part]) -> str:
    joined = b"".join(bytes.fromhex(part.md5) for part in parts)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"


def _checksums(upload: Upload, parts: Sequence[_Stored]) -> dict[str, str]:
    """The checksum of the whole out of those of the parts."""
    name = upload.checksum
    if name is None:
        return {}
    if upload.checksum_type == COMPOSITE:
        return {name: composite(name, [stored.checksums[name] for stored in parts])}
    return {name: combined(name, [(stored.checksums[name], stored.part.size) for stored in parts])}


def _check_announced(expected: Expected, checksums: Mapping[str, str]) -> None:
    """Raises DigestError. A composite checksum may be announced with or without its number."""
    for name, announced in expected.checksums.items():
        if not announced:
            continue
        found = checksums.get(name)
        if found is None:
            raise SpecError(f"{name}: the upload was not begun with this checksum", field=name)
        compare(f"checksum_{name}", announced.partition("-")[0], found.partition("-")[0])
        if "-" in announced:
            compare(f"checksum_{name}", announced, found)


def _clean(upload_id: str) -> str:
    """Text that can be looked for: what is no Unicode is no id either."""
    return upload_id.encode("ascii", "replace").decode()
