"""Services of an agent: replicas under one name (routes `/api/services`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from cnet.client.replies import field_of, json_object
from cnet.client.transport import Transport

JsonObject = dict[str, Any]
Objects = list[JsonObject]  # inside the class `list` is a method

SETTLE_TIMEOUT_S = 300.0


class ServicesClient:
    """Part of an `AgentClient`; raises what that raises.

    With `wait` an answer comes when what was asked has come true, or cannot soon.
    """

    def __init__(self, http: Transport) -> None:
        self._http = http

    def create(self, spec: Mapping[str, Any], *, wait: bool = True) -> JsonObject:
        """Make a service. ConflictError when the name is taken by something else."""
        return self._send("POST", "", spec, wait)

    def list(self) -> Objects:
        """All that the agent knows of; those of other agents not in full."""
        found: Objects = field_of(
            json_object(self._http.request("GET", "/api/services")), "services", list
        )
        return found

    def get(self, name: str) -> JsonObject:
        """One, as its owner knows it. Raises NotFoundError."""
        return json_object(self._http.request("GET", _path(name)))

    def update(self, name: str, changes: Mapping[str, Any], *, wait: bool = True) -> JsonObject:
        """A new version (`template`), or other settings."""
        return self._send("PUT", _path(name), changes, wait)

    def scale(self, name: str, wish: Mapping[str, Any], *, wait: bool = True) -> JsonObject:
        """`{replicas, version}` or `{autoscale}`."""
        return self._send("PUT", _path(name, "/scale"), wish, wait)

    def traffic(self, name: str, weights: Mapping[str, int], *, wait: bool = True) -> JsonObject:
        """Version → share of the requests."""
        return self._send("PUT", _path(name, "/traffic"), {"weights": dict(weights)}, wait)

    def rollback(self, name: str, *, version: str | None = None, wait: bool = True) -> JsonObject:
        """To the version before, or to the one named."""
        return self._send("POST", _path(name, "/rollback"), {"version": version}, wait)

    def delete(self, name: str, *, wait: bool = True) -> JsonObject:
        """With its replicas: `{message}`. Raises NotFoundError."""
        return self._send("DELETE", _path(name), None, wait)

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, wait: bool
    ) -> JsonObject:
        options = {} if body is None else {"json": dict(body)}
        path = (path or "/api/services") + ("" if wait else "?wait=false")
        return json_object(self._http.request(method, path, timeout_s=SETTLE_TIMEOUT_S, **options))


def _path(name: str, rest: str = "") -> str:
    return f"/api/services/{quote(name, safe='')}{rest}"
