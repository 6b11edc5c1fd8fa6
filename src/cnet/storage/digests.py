"""MD5, SHA-256 and the checksums S3 knows, computed together while bytes stream by.

MD5 is the slowest of those that are always computed, so big chunks give it a thread of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Final

from cnet.errors import DigestError, SpecError

FULL_OBJECT: Final = "FULL_OBJECT"
COMPOSITE: Final = "COMPOSITE"

SIZES: Final[Mapping[str, int]] = {
    "crc32": 4,
    "crc32c": 4,
    "crc64nvme": 8,
    "sha1": 20,
    "sha256": 32,
}
"""Algorithm → bytes of its value."""

TYPES: Final[Mapping[str, Sequence[str]]] = {
    "crc32": (COMPOSITE, FULL_OBJECT),
    "crc32c": (COMPOSITE, FULL_OBJECT),
    "crc64nvme": (FULL_OBJECT,),
    "sha1": (COMPOSITE,),
    "sha256": (COMPOSITE,),
}
"""Checksum types a multipart upload may ask for; the first is the default."""

INLINE_BYTES = 32 * 1024
"""Up to here hashing costs less than handing it to a thread."""


def check_algorithm(name: str) -> str:
    """The name, if it is one S3 knows; else SpecError."""
    if name not in SIZES:
        raise SpecError(
            f"checksum: {name!r} is not known; allowed are {', '.join(SIZES)}", field="checksum"
        )
    return name


def check_type(algorithm: str, kind: str | None) -> str:
    """The checksum type of a multipart upload, with its default; else SpecError."""
    allowed = TYPES[check_algorithm(algorithm)]
    if kind is None:
        return allowed[0]
    if kind not in allowed:
        raise SpecError(
            f"checksum_type: {kind!r} is not allowed with {algorithm}; "
            f"allowed is {' or '.join(allowed)}",
            field="checksum_type",
        )
    return kind


def decode(algorithm: str, value: str) -> bytes:
    """The raw value of a base64 checksum; SpecError where it is none of that algorithm."""
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != SIZES[check_algorithm(algorithm)]:
        raise SpecError(
            f"{algorithm}: must be {SIZES[algorithm]} bytes in base64, not {value[:100]!r}",
            field=algorithm,
            code="invalid_checksum",
        )
    return raw


class Digests:
    """Running digests of one stream: always MD5 and SHA-256, and the checksums asked for."""

    def __init__(self, checksums: Iterable[str] = ()) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._checksums: dict[str, _Crc | _Sha1 | None] = {}
        for name in checksums:
            check_algorithm(name)
            # SHA-256 is computed anyway
            self._checksums[name] = (
                None if name == "sha256" else _Sha1() if name == "sha1" else _Crc(name)
            )

    def update(self, data: bytes | bytearray | memoryview, pool: ThreadPoolExecutor | None) -> None:
        """Take the next bytes; with a pool MD5 runs beside the others."""
        self.size += len(data)
        md5 = None if pool is None else pool.submit(self._md5.update, data)
        try:
            self._sha256.update(data)
            for running in self._checksums.values():
                if running is not None:
                    running.update(data)
        finally:
            if md5 is None:
                self._md5.update(data)
            else:
                md5.result()

    @property
    def md5(self) -> str:
        """In hex."""
        return self._md5.hexdigest()

    @property
    def sha256(self) -> str:
        """In hex."""
        return self._sha256.hexdigest()

    def checksums(self) -> dict[str, str]:
        """Those asked for, in base64."""
        return {
            name: base64.b64encode(
                self._sha256.digest() if running is None else running.digest()
            ).decode()
            for name, running in self._checksums.items()
        }

    def check(
        self,
        *,
        size: int | None,
        md5: str | None,
        sha256: str | None,
        checksums: Mapping[str, str],
    ) -> None:
        """Raises DigestError where what was announced is not what came."""
        compare("size", size, self.size)
        compare("md5", None if md5 is None else md5.lower(), self.md5)
        compare("sha256", None if sha256 is None else sha256.lower(), self.sha256)
        found = self.checksums()
        for name, value in checksums.items():
            if value:
                decode(name, value)
                # The SHA-256 of what was signed is another thing than a checksum by SHA-256.
                compare(f"checksum_{name}", value, found[name])


def compare(field: str, announced: int | str | None, found: int | str) -> None:
    """Raises DigestError when something was announced and is not what was found."""
    if announced is not None and announced != found:
        raise DigestError(f"{field}: announced was {announced}, what came has {found}", field=field)


def composite(algorithm: str, values: Sequence[str]) -> str:
    """The checksum of the parts' checksums, as S3 spells it (`base64-number`)."""
    digests = Digests([algorithm])
    digests.update(b"".join(decode(algorithm, value) for value in values), None)
    return f"{digests.checksums()[algorithm]}-{len(values)}"


def combined(algorithm: str, values: Sequence[tuple[str, int]]) -> str:
    """The CRC of the whole out of (CRC, size) of its parts."""
    join: Callable[[int, int, int], int] = getattr(_native(), f"combine_{algorithm}")
    total = 0
    for value, size in values:
        total = join(total, int.from_bytes(decode(algorithm, value), "big"), size)
    return base64.b64encode(total.to_bytes(SIZES[algorithm], "big")).decode()


class _Crc:
    def __init__(self, name: str) -> None:
        self._size = SIZES[name]
        self._value = 0
        self._next: Callable[[bytes | bytearray | memoryview, int], int] = (
            zlib.crc32 if name == "crc32" else getattr(_native(), name)
        )

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._value = self._next(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


class _Sha1:
    def __init__(self) -> None:
        self._hash = hashlib.sha1(usedforsecurity=False)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._hash.update(data)

    def digest(self) -> bytes:
        return self._hash.digest()


def _native() -> ModuleType:
    # 0.1 s and 8 MB that most agents never need
    import awscrt.checksums

    module: ModuleType = awscrt.checksums
    return module
