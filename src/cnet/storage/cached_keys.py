"""Which data the files of a cache belong to, remembered across restarts as well as may be."""

from __future__ import annotations

from collections.abc import Container, Mapping
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from cnet._support.files import write_atomic

MOST_KEYS = 256
MOST_FILES = 1_000
"""Of one key; what is beyond is not counted."""

_decoder = msgspec.json.Decoder(dict[str, dict[str, int]])


class CachedKeys:
    """Data key → SHA-256 and size of files that were brought for it, the last used keys last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, dict[str, int]] = {}
        self._saving = anyio.Lock()

    def load(self) -> None:
        """Take up what was saved; what cannot be read is forgotten: it is only a hint. Blocking."""
        try:
            self._keys = _decoder.decode(self._path.read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            self._keys = {}

    def note(self, data_key: str, files: Mapping[str, int]) -> bool:
        """Whether there was anything new in it."""
        before = self._keys.pop(data_key, {})
        known = dict([*before.items(), *files.items()][-MOST_FILES:])
        self._keys[data_key] = known
        while len(self._keys) > MOST_KEYS:
            del self._keys[next(iter(self._keys))]
        return known != before

    async def save(self) -> None:
        """Not synced: a power cut may take it. Raises OSError."""
        async with self._saving:
            data = msgspec.json.encode(self._keys)
            write = partial(write_atomic, self._path, data, durable=False)
            await anyio.to_thread.run_sync(write)

    def held(self, present: Container[str]) -> dict[str, int]:
        """Data key → bytes of its files that are present."""
        held = {
            data_key: sum(size for sha256, size in files.items() if sha256 in present)
            for data_key, files in self._keys.items()
        }
        return {data_key: size for data_key, size in held.items() if size}
