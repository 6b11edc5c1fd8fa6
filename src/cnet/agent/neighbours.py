"""Data on the nodes that this agent knows: who has them, and reading them over the links."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import anyio
import structlog

from cnet.agent.asking import SILENCE_S, Answer, Write, ask
from cnet.api.context import SEARCH_HEADER, SEARCH_NONE
from cnet.cluster.exchange import Exchange
from cnet.cluster.links import Links
from cnet.errors import NotFoundError, UnreachableError
from cnet.executors.data_refs import DataRef
from cnet.executors.remote import ChangedError, Found, Listing, RemoteFile, RemoteFiles

log = structlog.get_logger(__name__)

FRESH_S = 3.0
"""So long an answer about who has a key is believed."""
PATIENCE_S = 5.0
"""Of a question that any agent answers from memory."""
AT_ONCE = 32
PAGE = 1_000
_ANSWERS = {HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}
"""To whether an agent has something; the last one stores nothing at all."""
_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0)
"""Before the rest of a file is asked for again, as long as nothing more of it comes."""


@dataclass(slots=True)
class _Search:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    found: Found | None = None
    began: float = 0.0
    until: float = 0.0


class Neighbours:
    """Implements `RemoteData`."""

    def __init__(self, links: Links, exchange: Exchange) -> None:
        self._links = links
        self._exchange = exchange
        self._searches: dict[tuple[str, str | None], _Search] = {}

    # --- who has it ----------------------------------------------------------------------------

    async def find(self, data_key: str, *, owner: str | None = None) -> Found:
        """See RemoteData. Whoever asks at the same time, or soon after, gets the same answer."""
        self._drop_old()
        search = self._searches.setdefault((data_key, owner), _Search())
        asked = anyio.current_time()
        async with search.lock:
            # Who waited for a search that began later takes its answer; a no is kept no longer.
            fresh = search.began >= asked or anyio.current_time() < search.until
            if search.found is None or not fresh:
                search.began = anyio.current_time()
                search.found = await self._search(data_key, owner)
                search.until = search.began + (FRESH_S if search.found.node_id else 0.0)
            return search.found

    def _drop_old(self) -> None:
        now = anyio.current_time()
        for key, search in list(self._searches.items()):
            if search.until <= now and not search.lock.locked():
                del self._searches[key]

    async def _search(self, data_key: str, owner: str | None) -> Found:
        own = self._links.node_id
        # The own agent may know by a workload of its own; the owner looks around, too.
        first = [own] if owner in {None, own} else [own, str(owner)]
        silent: set[str] = set()
        for node_id in first:
            if await self._has(node_id, data_key, silent, search=node_id != own):
                return Found(node_id=node_id, passes_on=node_id != own)
        holder = await self._first_of(self._known() - set(first), data_key, silent)
        if holder is not None:
            return Found(node_id=holder)
        for node_id, role in self._exchange.links().items():
            # It knows more of the tree; and asks the one above it, which never asks down this way.
            if role == "parent" and await self._has(node_id, data_key, silent, search=True):
                return Found(node_id=node_id, passes_on=True)
        return Found(node_id=None, silent=tuple(silent))

    def _known(self) -> set[str]:
        """Nodes that may have data."""
        return {node.node_id for node in self._exchange.view.nodes() if node.state.kinds}

    async def _first_of(
        self, node_ids: Iterable[str], data_key: str, silent: set[str]
    ) -> str | None:
        """The first that says yes."""
        found: list[str] = []
        limiter = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as group:

            async def look(node_id: str) -> None:
                async with limiter:
                    if await self._has(node_id, data_key, silent, search=False):
                        found.append(node_id)
                        group.cancel_scope.cancel()

            for node_id in sorted(node_ids):
                group.start_soon(look, node_id)
        return found[0] if found else None

    async def _has(self, node_id: str, data_key: str, silent: set[str], *, search: bool) -> bool:
        try:
            answer = await ask(
                self._links.app_for(node_id),
                f"/api/data/{data_key}",
                query="limit=1",
                headers={} if search else {SEARCH_HEADER: SEARCH_NONE},
                silence_s=PATIENCE_S,
            )
        except UnreachableError:
            silent.add(node_id)
            return False
        if answer.status not in _ANSWERS:
            own = node_id == self._links.node_id
            silent.add("the node of the workload that stored it" if own else node_id)
        return answer.status == HTTPStatus.OK

    async def page(self, *, after: str, limit: int) -> Listing:
        """See RemoteData."""
        found: list[dict[str, Any]] = []
        silent: list[str] = []
        more = False
        limiter = anyio.CapacityLimiter(AT_ONCE)

        async def look(node_id: str) -> None:
            nonlocal more
            query = urlencode({"limit": limit, "cursor": after})
            try:
                async with limiter:
                    answer = await self._ask(node_id, "/api/data", query=query)
                page = answer.json()
            except (UnreachableError, NotFoundError, ChangedError):
                silent.append(node_id)
                return
            found.extend(page["data"])
            more = more or page["next_cursor"] is not None

        async with anyio.create_task_group() as group:
            for node_id in self._known() | {self._links.node_id}:
                group.start_soon(look, node_id)
        found.sort(key=lambda each: (each["data_key"], each["node_id"]))
        keys = sorted({each["data_key"] for each in found})
        if len(keys) > limit:
            more, last = True, keys[limit - 1]
            found = [each for each in found if each["data_key"] <= last]
        return Listing(data=found, more=more, silent=sorted(silent))

    # --- what it is ----------------------------------------------------------------------------

    async def files(self, node_id: str, ref: DataRef) -> RemoteFiles:
        """See RemoteData."""
        if ref.path:
            with suppress(NotFoundError):
                return RemoteFiles(files=[await self._file(node_id, ref)], is_tree=False)
        prefix = f"{ref.path}/" if ref.path else ""
        files: list[RemoteFile] = []
        after: str | None = prefix
        is_tree = True
        while after is not None:
            query = urlencode({"limit": PAGE, "cursor": after})
            answer = await self._ask(node_id, f"/api/data/{ref.data_key}", query=query)
            page = answer.json()
            is_tree = bool(prefix) or page["directory_path"] is not None
            listed = [each for each in page["file_list"] if each["path"].startswith(prefix)]
            files += [_listed(node_id, ref, each) for each in listed]
            complete = len(listed) < len(page["file_list"])
            after = None if complete else page["next_cursor"]
        return RemoteFiles(files=files, is_tree=is_tree)

    async def _file(self, node_id: str, ref: DataRef) -> RemoteFile:
        path = f"/api/data/{ref.data_key}/{ref.path}"
        headers = (await self._ask(node_id, path, method="HEAD")).headers
        digest = headers["repr-digest"].removeprefix("sha-256=:").removesuffix(":")
        return RemoteFile(
            node_id=node_id,
            data_key=ref.data_key,
            path=ref.path,
            size=int(headers["content-length"]),
            sha256=base64.b64decode(digest).hex(),
            etag=headers["etag"].strip('"'),
        )

    async def read(self, file: RemoteFile, write: Write) -> None:
        """See RemoteData. When the way breaks in the middle, it goes on from there."""
        came = 0

        async def note(data: bytes) -> None:
            nonlocal came
            await write(data)
            came += len(data)

        pauses = iter(_PAUSES_S)
        while True:
            before = came
            headers = {"if-match": f'"{file.etag}"'}
            if came:
                headers["range"] = f"bytes={came}-"
                log.info("data_resumed", data_key=file.data_key, path=file.path, at=came)
            try:
                path = f"/api/data/{file.data_key}/{file.path}"
                await self._ask(file.node_id, path, headers=headers, write=note)
            except UnreachableError:
                if came > before:
                    pauses = iter(_PAUSES_S)
                pause_s = next(pauses, None)
                if not came or pause_s is None:
                    raise
                await anyio.sleep(pause_s)
            else:
                return
            if came == file.size:
                return

    async def _ask(
        self,
        node_id: str,
        path: str,
        *,
        method: str = "GET",
        query: str = "",
        headers: dict[str, str] | None = None,
        write: Write | None = None,
    ) -> Answer:
        """Raises NotFoundError, ChangedError, UnreachableError, and what `write` raises."""
        answer = await ask(
            self._links.app_for(node_id),
            path,
            method=method,
            query=query,
            headers=headers,
            write=write,
            silence_s=SILENCE_S,
        )
        if answer.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return answer
        said = answer.json() if answer.body else {}
        why = f"{node_id} answers {answer.status}: {said.get('details', said.get('error', path))}"
        if answer.status == HTTPStatus.PRECONDITION_FAILED:
            raise ChangedError(why)
        if answer.status == HTTPStatus.NOT_FOUND:
            if write is not None or said.get("error") == "no_such_data":
                self._forget(path.removeprefix("/api/data/").partition("/")[0])
                raise ChangedError(why)
            raise NotFoundError(why, code=str(said.get("error", "no_such_file")))
        raise UnreachableError(why)

    def _forget(self, data_key: str) -> None:
        """Whoever looks again, asks again."""
        for key, search in self._searches.items():
            if key[0] == data_key:
                search.until = 0.0


def _listed(node_id: str, ref: DataRef, file: dict[str, Any]) -> RemoteFile:
    return RemoteFile(
        node_id=node_id,
        data_key=ref.data_key,
        path=file["path"],
        size=file["size"],
        sha256=file["sha256"],
        etag=file["hash"],
    )
