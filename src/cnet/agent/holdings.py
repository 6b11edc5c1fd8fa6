"""Tells other nodes which data this one has, stored or in its cache: work comes to its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import nlargest

import anyio

from cnet.storage.cache import FileCache
from cnet.storage.objects import DataObjects

MOST = 64
"""Data keys that are told of: the largest."""
LOOK_S = 1.0
"""Fetches store data in processes of their own; so often it is looked whether they have."""
PAUSE = 20
"""Times as long as a look has taken, and no longer than LOOK_S, nothing is looked at again: sizes
are summed over all files."""


class Holdings:
    """One per agent."""

    def __init__(
        self, objects: DataObjects, cache: FileCache, tell: Callable[[Mapping[str, int]], None]
    ) -> None:
        self._objects = objects
        self._cache = cache
        self._tell = tell
        self._seen: object = None
        self._changed = anyio.Event()

    def changed(self) -> None:
        """This process has changed what is stored."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed = anyio.Event()
            began = anyio.current_time()
            await self._look()
            await anyio.sleep(min(LOOK_S, PAUSE * (anyio.current_time() - began)))
            with anyio.move_on_after(LOOK_S):
                await self._changed.wait()

    async def _look(self) -> None:
        seen = (self._objects.mark(), self._cache.changes)
        if seen == self._seen:
            return
        held = dict(await self._objects.largest(MOST))
        for data_key, size in self._cache.held().items():
            held.setdefault(data_key, size)
        self._tell(dict(nlargest(MOST, held.items(), key=lambda item: item[1])))
        self._seen = seen
