"""Blobs as objects of any S3-compatible store; the catalogue stays with the node.

No lock reaches there, so the sweep spares whatever is younger than a day. Parts of an upload are
copied together through this node; uploads that broke off are left to the store's own clean-up
(S3: a lifecycle rule for incomplete multipart uploads).
"""

from __future__ import annotations

import atexit
import re
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import obstore
import structlog
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.exceptions import NotFoundError as NoObjectError
from obstore.store import S3Store

from cnet.errors import CnetError, ConfigError, NotFoundError, TooLargeError, UnreachableError
from cnet.storage.base import Draft, Extent
from cnet.storage.cleaning import ID
from cnet.storage.place import Keys, Place, read_credentials
from cnet.storage.reading import CHUNK_BYTES

if TYPE_CHECKING:  # these exist for type checkers only
    from obstore import AsyncWritableFile, BytesStream
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config, S3Credential

SPARED_FOR: Final = timedelta(days=1)
PART_BYTES: Final = 16 * 1024 * 1024
PARTS_AT_ONCE: Final = 3
"""So much memory an upload takes, in parts."""
MAX_BYTES: Final = 10_000 * PART_BYTES
"""Of one object: it may have 10,000 parts."""
REMOVED_AT_ONCE: Final = 16
READ_AGAIN_EVERY: Final = timedelta(minutes=5)
UNREACHABLE: Final = "storage_unreachable"
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9.]{1,60})</Code>")
_FIELDS: Final = {
    "NoSuchBucket": "bucket",
    "InvalidBucketName": "bucket",
    "InvalidAccessKeyId": "credentials_file",
    "SignatureDoesNotMatch": "credentials_file",
    "AccessDenied": "credentials_file",
    "InvalidToken": "credentials_file",
    "ExpiredToken": "credentials_file",
    "AuthorizationHeaderMalformed": "region",
    "PermanentRedirect": "endpoint",
}
"""What is wrong in the settings when the store answers so."""
_STATUS: Final = re.compile(r"status code: (\d{3} [A-Za-z ]{1,40})")

_ORIGIN: Final = re.compile(r"https?://[^/\s]+")
_METADATA: Final = "://169.254."
"""Where the machine's role is asked for."""

log = structlog.get_logger(__name__)

# A thread of obstore's that is just about to hand over a result ends the whole process by SIGABRT
# if it meets an interpreter that is being taken down (pyo3-async-runtimes, issue 40).
atexit.register(time.sleep, 0.05)


class ObjectBackend:
    """Implements StorageBackend over an `obstore` store, which may have a prefix of its own."""

    def __init__(self, objects: ObjectStore, *, spared_for: timedelta = SPARED_FOR) -> None:
        self._objects = objects
        self._spared_for = spared_for

    @asynccontextmanager
    async def create(self, blob: str) -> AsyncIterator[Draft]:
        """See StorageBackend."""
        draft = _ObjectDraft(self._objects, blob)
        try:
            yield draft
        finally:
            with anyio.CancelScope(shield=True):
                await draft.close()

    @asynccontextmanager
    async def join(self, blob: str, parts: Sequence[str]) -> AsyncIterator[Draft]:
        """See StorageBackend."""
        async with self.create(blob) as draft:
            for part in parts:
                async with self.whole(part) as content:
                    async for chunk in content:
                        await draft.write(chunk)
            await draft.seal()
            yield draft

    @asynccontextmanager
    async def whole(self, blob: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """All of a blob. NotFoundError."""
        with _far(blob):
            found = await obstore.get_async(self._objects, _path(blob))
        yield _pieces(blob, found.stream(min_chunk_size=CHUNK_BYTES))

    @asynccontextmanager
    async def read(self, blob: str, start: int, length: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """See StorageBackend."""
        if length == 0:
            with _far(blob):
                await obstore.head_async(self._objects, _path(blob))
            yield _nothing()
            return
        with _far(blob):
            found = await obstore.get_async(
                self._objects, _path(blob), options={"range": (start, start + length)}
            )
        yield _pieces(blob, found.stream(min_chunk_size=CHUNK_BYTES))

    def extents(
        self, blob: str, start: int, length: int
    ) -> AbstractAsyncContextManager[Iterator[Extent]] | None:
        """None: nothing of it is on this machine."""

    def at_hand(self, blob: str, start: int, length: int) -> bytes | None:
        """None: nothing of it is on this machine."""

    async def remove(self, blobs: Sequence[str]) -> list[str]:
        """See StorageBackend."""
        rest = iter(blobs)
        gone: list[str] = []
        failures: list[CnetError] = []

        async def work() -> None:
            for blob in rest:
                try:
                    await _delete(self._objects, blob)
                except CnetError as error:
                    failures.append(error)
                    return
                gone.append(blob)

        async with anyio.create_task_group() as group:
            for _ in range(min(REMOVED_AT_ONCE, len(blobs))):
                group.start_soon(work)
        if failures and not gone:
            raise failures[0]
        return gone

    def free(self) -> int | None:
        """None: nobody knows."""

    async def sweep(self, known: Callable[[Collection[str]], set[str]]) -> int:
        """See StorageBackend."""
        before = datetime.now(UTC) - self._spared_for
        removed = 0
        with _far("sweep"):
            async for page in obstore.list(self._objects):
                old = [
                    blob
                    for meta in page
                    if meta["last_modified"] < before and (blob := _blob(meta["path"]))
                ]
                unknown = set(old) - await anyio.to_thread.run_sync(known, old)
                removed += len(await self.remove(sorted(unknown)))
        return removed

    def path(self, blob: str) -> str | None:
        """None: nothing of it is on this machine."""

    async def check(self) -> None:
        """Ask the store for something. Raises ConfigError when it refuses, UnreachableError."""
        try:
            with _far("list"):
                async for _ in obstore.list(self._objects, chunk_size=1):
                    break
        except UnreachableError as error:
            cause = error.__cause__
            said = _CODE.search(str(cause))
            if said is not None and said[1] in _FIELDS:
                raise ConfigError(f"storage.s3.{_FIELDS[said[1]]}: {error.message}") from error
            refused = isinstance(cause, PermissionDeniedError | UnauthenticatedError)
            if refused or _METADATA in str(cause):
                raise ConfigError(f"storage.s3.credentials_file: {error.message}") from error
            raise


class _ObjectDraft:
    def __init__(self, objects: ObjectStore, blob: str) -> None:
        self.blob = blob
        self._objects = objects
        self._writer: AsyncWritableFile = obstore.open_writer_async(
            objects, _path(blob), buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
        )
        self._size = 0
        self._kept = False
        self._sealing = False

    async def write(self, data: bytes) -> None:
        """See Draft."""
        self._size += len(data)
        if self._size > MAX_BYTES:
            raise TooLargeError(
                f"content: larger than {MAX_BYTES} bytes, the most that is put into one object of "
                "the object store"
            )
        with _far(self.blob):
            await self._writer.write(data)

    async def seal(self) -> None:
        """See Draft."""
        self._sealing = True
        with _far(self.blob):
            await self._writer.close()

    def keep(self) -> None:
        """See Draft."""
        self._kept = True

    async def close(self) -> None:
        """Remove it if it is there and is not kept; what cannot be removed, a sweep will."""
        if not self._sealing or self._kept:
            return
        try:
            await _delete(self._objects, self.blob)
        except UnreachableError as error:
            log.warning("object_left", blob=self.blob, why=error.message)


async def _delete(objects: ObjectStore, blob: str) -> None:
    try:
        with _far(blob):
            await obstore.delete_async(objects, _path(blob))
    except NotFoundError:
        return


async def _pieces(blob: str, stream: BytesStream) -> AsyncIterator[bytes]:
    with _far(blob):
        async for chunk in stream:
            data = bytes(chunk)  # it gives a buffer of its own
            for start in range(0, len(data), CHUNK_BYTES):
                yield data[start : start + CHUNK_BYTES]


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _path(blob: str) -> str:
    return f"{blob[:2]}/{blob}"


def _blob(path: str) -> str:
    """The inverse of `_path`; empty for what is no blob."""
    blob = path.rpartition("/")[2]
    return blob if ID.fullmatch(blob) and path == _path(blob) else ""


def open_objects(place: Place, folder: str) -> ObjectStore:
    """What is below a folder of a place, for `ObjectBackend`. Raises ConfigError."""
    endpoint = place.endpoint or f"https://s3.{place.region}.amazonaws.com"
    if not place.path_style:
        endpoint = endpoint.replace("://", f"://{place.bucket}.", 1)
    config: S3Config = {
        "region": place.region,
        "endpoint": endpoint,
        "aws_endpoint_url_s3": endpoint,  # else a variable of the environment would have its way
        "virtual_hosted_style_request": not place.path_style,
    }
    client: ClientConfig = {
        "allow_http": place.allow_http,
        "connect_timeout": "5s",
        "read_timeout": "60s",
        "timeout": "7days",  # of a whole request: a large file may take its time
    }
    retry: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}
    signed = place.credentials_file is not None or place.keys is not None
    try:
        return S3Store(
            place.bucket,
            prefix=f"{place.prefix}/{folder}" if place.prefix else folder,
            config=config,
            client_options=client,
            retry_config=retry,
            credential_provider=_Credentials(place) if signed else None,
        )
    except (BaseError, ValueError) as error:
        raise ConfigError(f"storage.s3: {_said(error)}") from error


class _Credentials:
    """Asked by obstore whenever what it has expires: so a file may change while it is in use."""

    def __init__(self, place: Place) -> None:
        self._file = place.credentials_file
        self._keys = place.keys
        self._read()

    def __call__(self) -> S3Credential:
        keys = self._read()
        return {
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "token": keys.session_token,
            "expires_at": None if self._file is None else datetime.now(UTC) + READ_AGAIN_EVERY,
        }

    def _read(self) -> Keys:
        if self._file is not None:
            return read_credentials(Path(self._file))
        if self._keys is None:
            raise ConfigError("storage.s3.credentials_file: there are no credentials")
        return self._keys


@contextmanager
def _far(blob: str) -> Iterator[None]:
    """What the far store's errors are here."""
    try:
        yield
    except (NoObjectError, FileNotFoundError) as error:
        if "NoSuchBucket" in str(error):
            raise _unreachable(error) from error
        raise NotFoundError(
            f"the bytes {blob} are not there any more", code="no_such_key"
        ) from None
    except (BaseError, OSError) as error:
        raise _unreachable(error) from error


def _unreachable(error: Exception) -> UnreachableError:
    return UnreachableError(
        f"the object store that holds the data: {_said(error)}", code=UNREACHABLE
    )


def _said(error: Exception) -> str:
    """One line, without what the store repeats of the request in its answer."""
    text = str(error)
    if _METADATA in text:
        return "there are no credentials: no file, none in the environment, and no role here"
    said = [found[1] for found in (_STATUS.search(text), _CODE.search(text)) if found]
    if said:
        return f"answers {' '.join(said)}"
    line = " ".join(text.partition("Debug source")[0].split())
    asked = _ORIGIN.search(line)
    reason = line.rpartition(" - ")[2][:200]
    return reason if asked is None else f"{asked[0]}: {reason}"
