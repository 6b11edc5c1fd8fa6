"""Access keys of the gateways: a small file that only its owner may read.

    {"AKEXAMPLE": {"secret": "…", "buckets": ["cnet"], "read_only": true, "created_at": 1.0}}

`buckets` absent or null means all; a bare string in place of the object is the secret.
"""

from __future__ import annotations

import json
import re
import secrets
import stat
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cnet._support.files import FileLock, write_atomic
from cnet.errors import ConfigError, ConflictError, NotFoundError
from cnet.storage.names import check_bucket

_ID = re.compile(r"[A-Za-z0-9._-]{3,128}")
_SECRET = re.compile(r"[\x21-\x7e]{8,1024}")
_MAX_BYTES = 1 << 20
_FIELDS = frozenset({"secret", "buckets", "read_only", "created_at"})
_LOOK_AGAIN_S = 0.5
MAX_KEYS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A key, and what its holder may do."""

    key_id: str
    secret: str
    buckets: frozenset[str] | None = None
    """None: all"""
    read_only: bool = False
    created_at: float | None = None
    """Unix seconds"""

    def __repr__(self) -> str:
        return f"AccessKey({self.key_id})"  # a secret has no place in a log


def read_keys(path: Path) -> dict[str, AccessKey]:
    """The keys in a file; ConfigError for one that is absent, malformed, or open to others."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError(f"{path}: others may read this file; it must have mode 0600")
        text = path.read_bytes()
        if len(text) > _MAX_BYTES:
            raise ConfigError(f"{path}: more than {_MAX_BYTES} bytes")
        content = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{path}: neither JSON nor YAML") from None  # the cause quotes secrets
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold an object of access keys")
    return {str(name): _key(path, str(name), entry) for name, entry in content.items()}


def create_key(
    path: Path, *, buckets: Sequence[str] | None = None, read_only: bool = False
) -> AccessKey:
    """Add a new key to the file, which is made where there is none."""
    with _Locked(path):
        keys = read_keys(path) if path.exists() else {}
        if len(keys) >= MAX_KEYS:
            raise ConflictError(f"there are {len(keys)} access keys; revoke some before")
        key = AccessKey(
            key_id="CN" + secrets.token_hex(9).upper(),
            secret=secrets.token_urlsafe(30),
            buckets=None if buckets is None else frozenset(map(check_bucket, buckets)),
            read_only=read_only,
            created_at=time.time(),
        )
        _write(path, {**keys, key.key_id: key})
    return key


def remove_key(path: Path, key_id: str) -> None:
    """Take a key out of the file; gateways stop taking it within a second."""
    with _Locked(path):
        keys = read_keys(path) if path.exists() else {}
        if keys.pop(key_id, None) is None:
            raise NotFoundError(f"there is no access key {key_id}")
        _write(path, keys)


class KeyFile:
    """The keys in a file that may be changed while it is in use.

    A `required` file must be there and right when this begins; one that is not may come later.
    """

    def __init__(self, path: Path, *, required: bool = True) -> None:
        self._path = path
        self._seen = self._look()
        self._keys = read_keys(path) if required or self._seen is not None else {}
        self._next_look = time.monotonic() + _LOOK_AGAIN_S
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key_id: str) -> AccessKey | None:
        """The key of that id, at most half a second old. A file gone bad means: no keys."""
        if time.monotonic() >= self._next_look:
            self._refresh()
        return self._keys.get(key_id)

    def _refresh(self) -> None:
        with self._lock:
            self._next_look = time.monotonic() + _LOOK_AGAIN_S
            seen = self._look()
            if seen == self._seen:
                return
            try:
                self._keys = read_keys(self._path)
            except ConfigError:
                self._keys = {}
            self._seen = seen

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_mode


class _Locked:
    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))

    def __enter__(self) -> None:
        if (holder := self._lock.acquire()) is not None:
            raise ConflictError(f"process {holder} is changing the access keys; try again")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _key(path: Path, name: str, entry: Any) -> AccessKey:
    fields = {"secret": entry} if isinstance(entry, str) else entry
    where = f"{path}: access key {name!r}"
    if not _ID.fullmatch(name):
        raise ConfigError(f"{where}: its id must be 3 to 128 of A-Z, a-z, 0-9, `.`, `_` and `-`")
    if not isinstance(fields, dict) or not fields.keys() <= _FIELDS:
        raise ConfigError(f"{where}: takes {', '.join(sorted(_FIELDS))} only")
    secret, buckets = fields.get("secret"), fields.get("buckets")
    if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
        raise ConfigError(f"{where}: `secret` must be 8 to 1,024 ASCII characters without space")
    if buckets is not None and not (
        isinstance(buckets, list) and all(isinstance(bucket, str) for bucket in buckets)
    ):
        raise ConfigError(f"{where}: `buckets` must be a list of names, or absent for all")
    read_only = fields.get("read_only", False)
    if not isinstance(read_only, bool):
        raise ConfigError(f"{where}: `read_only` must be true or false")
    created_at = fields.get("created_at")
    return AccessKey(
        key_id=name,
        secret=secret,
        buckets=None if buckets is None else frozenset(buckets),
        read_only=read_only,
        created_at=float(created_at) if isinstance(created_at, int | float) else None,
    )


def _write(path: Path, keys: dict[str, AccessKey]) -> None:
    content = {
        key.key_id: {
            "secret": key.secret,
            "buckets": None if key.buckets is None else sorted(key.buckets),
            "read_only": key.read_only,
            "created_at": key.created_at,
        }
        for key in keys.values()
    }
    write_atomic(path, json.dumps(content, indent=1).encode() + b"\n")
