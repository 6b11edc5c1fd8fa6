"""Clients that submit containers, also while the engine is away."""

from __future__ import annotations

from typing import Any

from tools.chaos import clients
from tools.chaos.model import Subject, new_id
from tools.chaos.sorts import SERVES, choose
from tools.container_kills import sorts


class Client(clients.Client):
    """As the clients of processes; 202 and 503 are answers of an agent without its engine."""

    done = frozenset({200, 202})
    refusals = clients.Client.refusals | {"engine_unreachable"}

    def __init__(self, *arguments: Any, image: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._image = image
        self._port_owed = False
        """a service is to be deleted when the engine is back, and has its port until then"""

    def _new_subject(self) -> Subject:
        workload_id = new_id(self._rng, self._mark)
        serves = self._may_serve()
        sort = sorts.SERVICE if serves else choose(self._rng, sorts.SORTS)
        body = sorts.body(
            sort,
            workload_id,
            rng=self._rng,
            image=self._image,
            folder=str(self._folder),
            port=self._port if serves else None,
        )
        return Subject(workload_id, sort, body)

    def _port_held(self, subject: Subject) -> None:
        if not self._port_owed:
            super()._port_held(subject)

    def _send(
        self, subject: Subject, method: str, path: str, body: object
    ) -> tuple[int, dict[str, Any]]:
        status, answer = super()._send(subject, method, path, body)
        if subject.sort.name == SERVES:
            if method == "DELETE":
                self._port_owed = status == 202
            elif status == 201:
                self._port_owed = False
        return status, answer
