"""Asks the nodes of a service what their replicas have done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote

import anyio
import msgspec
import structlog

from cnet.agent.asking import ask
from cnet.api.services.counting import Counting
from cnet.cluster.links import Links
from cnet.errors import UnreachableError
from cnet.services.load import VersionLoad

log = structlog.get_logger(__name__)

PATIENCE_S = 2.0


class Loads:
    """Of one agent."""

    def __init__(self, node_id: str, links: Links) -> None:
        self._node_id = node_id
        self._links = links
        self.counting = Counting()

    async def measure(
        self, service: str, nodes: Iterable[str]
    ) -> Mapping[str, Mapping[str, VersionLoad]]:
        """By node and version; a node that does not answer soon is left out."""
        found: dict[str, Mapping[str, VersionLoad]] = {}

        async def look(node_id: str) -> None:
            if node_id == self._node_id:
                found[node_id] = self.counting.loads(service, anyio.current_time())
                return
            try:
                found[node_id] = await self._ask(service, node_id)
            except (UnreachableError, msgspec.ValidationError) as error:
                log.debug("load_unknown", service=service, node_id=node_id, why=str(error))

        async with anyio.create_task_group() as group:
            for node_id in {*nodes, self._node_id}:
                group.start_soon(look, node_id)
        return found

    async def wake(self, owner: str, service: str) -> None:
        """Tell the owner of a service that a request waits for it here."""
        try:
            path = f"/api/services/{quote(service, safe='')}/wake"
            await ask(self._links.app_for(owner), path, method="POST", silence_s=PATIENCE_S)
        except UnreachableError as error:
            log.debug("not_woken", service=service, owner=owner, why=str(error))

    async def _ask(self, service: str, node_id: str) -> Mapping[str, VersionLoad]:
        path = f"/api/services/{quote(service, safe='')}/load"
        answer = await ask(self._links.app_for(node_id), path, silence_s=PATIENCE_S)
        if answer.status != 200:
            raise UnreachableError(f"answers {answer.status}")
        versions = answer.json().get("versions")
        return msgspec.convert(versions, dict[str, VersionLoad])
