"""The contract of a store: what the data workloads, the gateway and the cache see of stored bytes.

A store holds *files* (in S3's words: objects), each under a (bucket, key). Their metadata lives in
a SQLite catalogue whatever holds the bytes; the bytes live in a `StorageBackend` (local files, or
any S3-compatible store) under ids that mean nothing outside of it. Several processes of one node
use one store at a time: the agent, and every gateway.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, NamedTuple, Protocol, TypeVar

Body = AsyncIterator[bytes]
"""Chunks of any size, read once. Whatever it raises ends the put, with nothing stored."""

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a file that was put in parts."""

    number: int
    """1…10,000"""
    size: int
    """bytes"""
    md5: str
    sha256: str
    modified_at: float
    """Unix seconds"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """A stored file, as the catalogue knows it."""

    bucket: str
    key: str
    blob: str
    """names the bytes in the backend; every put makes a new one"""
    size: int
    """bytes"""
    etag: str
    """MD5 in hex; of a multipart upload the MD5 of the parts' MD5s, `-`, and their number"""
    sha256: str
    """of the whole content, in hex: its identity between nodes"""
    content_type: str
    modified_at: float
    """Unix seconds"""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """of the user (`x-amz-meta-…` without the prefix, lower case)"""
    headers: Mapping[str, str] = field(default_factory=dict)
    """cache-control, content-disposition, content-encoding, content-language, expires, as given"""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """algorithm (crc32, crc32c, crc64nvme, sha1, sha256) → base64, as S3 spells them; type in
    `checksum_type`"""
    checksum_type: str | None = None
    """FULL_OBJECT or COMPOSITE, where there are checksums"""
    parts: tuple[Part, ...] = ()
    """of a file that was put in parts; empty in listings, which do not look them up"""


class Entry(NamedTuple):
    """As much of a stored file as listings show."""

    key: str
    size: int
    """bytes"""
    etag: str
    modified_at: float
    """Unix seconds"""
    checksums: Mapping[str, str]
    """algorithm → base64"""
    checksum_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What a put says about the file besides its bytes."""

    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the bytes must turn out to be; anything else raises DigestError and stores nothing."""

    size: int | None = None
    md5: str | None = None
    """hex"""
    sha256: str | None = None
    """hex"""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """algorithm → base64; the given ones are computed, checked and kept. An empty value is computed
    and kept, but checked with nothing. Values are looked at when the body has ended, so that a body
    with trailers may fill them in while it is read (give a dict of your own)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Under which a put or delete comes about, judged in the very transaction that does it."""

    if_match: str | None = None
    """an ETag (without quotes) the present file must have, or `*`: there must be one"""
    if_none_match: bool = False
    """there must be no file of that key"""


T_File = TypeVar("T_File", FileInfo, Entry)


@dataclass(frozen=True, slots=True)
class Page(Generic[T_File]):
    """Part of a listing, in the order of the keys' UTF-8 bytes."""

    files: tuple[T_File, ...]
    prefixes: tuple[str, ...]
    """common prefixes, each with the delimiter at its end; counted with the files"""
    next_after: str | None
    """the last key or prefix shown; pass it as `after` for the next page; None at the end"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A multipart upload that is not finished."""

    upload_id: str
    bucket: str
    key: str
    attributes: Attributes
    checksum: str | None
    """algorithm asked for, if any"""
    checksum_type: str | None = None
    """FULL_OBJECT or COMPOSITE, where there is an algorithm"""
    initiated_at: float
    """Unix seconds"""


class Extent(NamedTuple):
    """A piece of an open file, for sendfile. Good until the next one is asked for."""

    descriptor: int
    offset: int
    length: int


class Store(Protocol):
    """Files by (bucket, key), wholly there or not at all, with bounded memory for any size.

    Methods raise: NotFoundError (code `no_such_bucket`, `no_such_key`); SpecError (field `bucket`
    or `key`) for a name that is not taken; ConflictError with code `precondition_failed`;
    ForbiddenError (`read_only`) where a gateway must not change a key; DigestError;
    StorageFullError when the disk or the quota (`quota_exceeded`) is full. A put that is cancelled
    or fails leaves nothing behind.
    """

    async def put(
        self,
        bucket: str,
        key: str,
        body: Body,
        attributes: Attributes = ...,
        *,
        expected: Expected = ...,
        condition: Condition = ...,
    ) -> FileInfo:
        """Store a file in place of what the key had; durable on return."""
        ...

    async def stat(self, bucket: str, key: str) -> FileInfo:
        """What the catalogue knows."""
        ...

    def open(
        self, file: FileInfo, start: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[Body]:
        """The bytes of exactly that version, from `start` on; NotFoundError if it is gone."""
        ...

    def at_hand(self, file: FileInfo, start: int, length: int) -> bytes | None:
        """A small piece that needs no waiting, since it is in memory; None where it is not.

        The range must lie inside of the file.
        """
        ...

    def local_path(self, file: FileInfo) -> str | None:
        """Where the bytes are on this machine; None where they are elsewhere, or in several files
        (a file that was put in parts is never copied together: use `extents`).

        Open it at once: a later overwrite or delete unlinks it (an open descriptor stays good).
        """
        ...

    def extents(
        self, file: FileInfo, start: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[Iterator[Extent]] | None:
        """What `open` gives as pieces of open files, for sendfile; None for a remote backend."""
        ...

    async def list(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        limit: int = 1000,
        past_group: bool = True,
    ) -> Page[FileInfo]:
        """Files whose key starts with `prefix` and sorts behind `after`.

        A common prefix that `after` starts with has been shown (a marker, the next page); with
        `past_group` False (start-after) it is shown once more if it holds a key behind `after`.
        """
        ...

    async def entries(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        limit: int = 1000,
        past_group: bool = True,
    ) -> Page[Entry]:
        """The same page of entries, in a fourth of the time."""
        ...

    async def delete(self, bucket: str, key: str, *, condition: Condition = ...) -> bool:
        """Durable on return; False when there was none."""
        ...

    async def delete_many(self, bucket: str, keys: Sequence[str]) -> Sequence[str]:
        """All in one transaction; returns those that were there."""
        ...

    async def delete_prefix(self, bucket: str, prefix: str) -> int:
        """Every file below a prefix, in bounded steps; returns their number."""
        ...

    async def copy(
        self,
        source: FileInfo,
        bucket: str,
        key: str,
        attributes: Attributes | None = None,
        *,
        condition: Condition = ...,
    ) -> FileInfo:
        """A copy of exactly that version; `attributes` None: the source's."""
        ...

    async def create_bucket(self, bucket: str) -> bool:
        """False when it is there already."""
        ...

    async def delete_bucket(self, bucket: str) -> None:
        """ConflictError (`bucket_not_empty`) while it holds files or uploads."""
        ...

    async def buckets(self) -> Sequence[tuple[str, float]]:
        """(name, created at in Unix seconds), by name."""
        ...

    async def create_upload(
        self,
        bucket: str,
        key: str,
        attributes: Attributes = ...,
        *,
        checksum: str | None = None,
        checksum_type: str | None = None,
    ) -> str:
        """Begin a multipart upload; returns its id."""
        ...

    async def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """NotFoundError (`no_such_upload`)."""
        ...

    async def put_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        body: Body,
        *,
        expected: Expected = ...,
    ) -> tuple[Part, Mapping[str, str]]:
        """Store or replace a part; also its checksums."""
        ...

    async def parts(
        self, bucket: str, key: str, upload_id: str, *, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[Part, Mapping[str, str]]]:
        """Parts so far, by number."""
        ...

    async def uploads(
        self, bucket: str, *, prefix: str = "", after: tuple[str, str] = ("", ""), limit: int = 1000
    ) -> Sequence[Upload]:
        """Unfinished uploads by (key, upload id), behind `after`."""
        ...

    async def complete_upload(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[tuple[int, str]],
        *,
        expected: Expected = ...,
        condition: Condition = ...,
    ) -> FileInfo:
        """Make the file out of (number, etag) in order. Asked again with the same parts after it
        was done, it answers the same. SpecError with code `invalid_part`, `invalid_part_order` or
        `part_too_small` (all but the last must have 5 MiB)."""
        ...

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """Forget an upload and its parts."""
        ...

    async def used(self) -> int:
        """Bytes held by files and parts."""
        ...


class Draft(Protocol):
    """A blob that is being made. Leaving its context without `keep` removes it."""

    @property
    def blob(self) -> str:
        """Its id."""
        ...

    async def write(self, data: bytes) -> None:
        """Append. Raises StorageFullError."""
        ...

    async def seal(self) -> None:
        """Durable and readable under its id on return. Raises StorageFullError."""
        ...

    def keep(self) -> None:
        """The catalogue knows of it now. Called in any thread."""
        ...


class StorageBackend(Protocol):
    """Where the bytes are. A blob is written once and never changed.

    The suite `tests/contracts/storage.py` runs over a store with each backend.
    """

    def create(self, blob: str) -> AbstractAsyncContextManager[Draft]:
        """A new blob; until the context is left no sweep of any process touches it."""
        ...

    def join(self, blob: str, parts: Sequence[str]) -> AbstractAsyncContextManager[Draft]:
        """A new blob out of others, in order, sealed already; the others stay.

        Does not copy bytes where it need not. NotFoundError where one is gone.
        """
        ...

    def read(
        self, blob: str, start: int, length: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Bytes that the blob has, in chunks of at most 1 MiB. NotFoundError.

        Once the context is entered, `remove` takes no byte away from it.
        """
        ...

    def extents(
        self, blob: str, start: int, length: int
    ) -> AbstractAsyncContextManager[Iterator[Extent]] | None:
        """The same as pieces of open files; None where the bytes are not on this machine."""
        ...

    def at_hand(self, blob: str, start: int, length: int) -> bytes | None:
        """A piece that the blob has, if it is in this machine's memory; None: ask `read`."""
        ...

    async def remove(self, blobs: Sequence[str]) -> list[str]:
        """Returns those that are gone; another is being read, and has to be removed later."""
        ...

    async def check(self) -> None:
        """Ask for something. Raises ConfigError when that is refused, UnreachableError."""
        ...

    def free(self) -> int | None:
        """Bytes that can be written before the disk is full; None where nobody knows."""
        ...

    async def sweep(self, known: Callable[[Collection[str]], set[str]]) -> int:
        """Remove what dead writers left: blobs nobody makes that are not `known`; their number.

        `known` may be called from a thread; it answers which of some ids the catalogue has.
        """
        ...

    def path(self, blob: str) -> str | None:
        """Of a blob that is one local file."""
        ...
