"""`AgentClient`: one method per route of the agent API (contract 2), plus waiting for a state.

Values are the JSON objects of contract 3, unchanged. Nothing is retried here except the event
stream; a submit carries an id, so its caller may safely send it again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx

from cnet import DEFAULT_URL
from cnet.client.data import DataClient
from cnet.client.events import Event, EventStream
from cnet.client.lines import split_lines
from cnet.client.replicated import ServicesClient
from cnet.client.replies import field_of, json_object
from cnet.client.transport import Transport
from cnet.errors import TransientError

if TYPE_CHECKING:
    from cnet.client.execs import ExecSession

JsonObject = dict[str, Any]
Workloads = list[JsonObject]  # inside the class `list` is a method

ENDED = frozenset({"completed", "failed", "stopped"})
"""Status words of a workload that will not run again by itself."""

READY_TIMEOUT_S = 300.0
"""How long a waiting submit, stop or restart may take before the client gives up."""

_PAGE = 500


class AgentClient:
    """A connection to one agent; threads may share it. Close it, or use it in a `with` block.

    Every method raises the class of `cnet.errors` that the agent's reply stands for,
    UnreachableError when no connection could be made or it broke, and TransientError (code
    `timeout`) when the answer is late.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        timeout: float = 30.0,  # seconds
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`transport` is for tests. Raises SpecError when `url` is no http(s) URL."""
        self._http = Transport(
            url,
            token=token,
            timeout_s=timeout,
            hint="start an agent there with `cnet agent`, or name another one "
            "with --agent URL or CNET_AGENT",
            transport=transport,
        )

    @property
    def data(self) -> DataClient:
        """What the agent stores."""
        return DataClient(self._http)

    @property
    def services(self) -> ServicesClient:
        """Replicas under one name."""
        return ServicesClient(self._http)

    @property
    def url(self) -> str:
        """The agent's base URL, without a slash at the end."""
        return self._http.url

    def close(self) -> None:
        """Close all connections; streams still open end with an error."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- workloads ----------------------------------------------------------------------------

    def submit(
        self, spec: Mapping[str, Any], *, wait: bool = True, timeout: float = READY_TIMEOUT_S
    ) -> JsonObject:
        """Hand a workload to the agent and return its object.

        An `id` is added when `spec` has none. With `wait` the answer comes when the process has
        been started or the service is ready (or has failed); else at once, as `pending`. When the
        answer is lost, sending the same spec with the same id again starts nothing twice.
        """
        body = {"id": str(uuid.uuid4())} | dict(spec)
        path = "/api/workloads" if wait else "/api/workloads?wait=false"
        return json_object(self._http.request("POST", path, json=body, timeout_s=timeout))

    def get(self, workload_id: str) -> JsonObject:
        """The workload as it is now. Raises NotFoundError."""
        return self._get(_path(workload_id))

    def list(
        self, *, status: str | None = None, type: str | None = None, name: str | None = None
    ) -> Workloads:
        """All workloads that match, page by page, in the agent's order."""
        query = {"status": status, "type": type, "name": name, "limit": str(_PAGE)}
        params = {key: value for key, value in query.items() if value is not None}
        found: Workloads = []
        while True:
            page = self._get("/api/workloads", params=params)
            found += field_of(page, "workloads", list)
            cursor = page.get("next_cursor")
            if not cursor:
                return found
            params["cursor"] = str(cursor)

    def stop(
        self, workload_id: str, *, wait: bool = True, timeout: float = READY_TIMEOUT_S
    ) -> JsonObject:
        """Stop it: `{message, workload}`, with `wait` only once it is really gone.

        Raises TransitionError when it has already completed or failed.
        """
        path = _path(workload_id, "/stop" if wait else "/stop?wait=false")
        return json_object(self._http.request("POST", path, timeout_s=timeout))

    def restart(self, workload_id: str, *, timeout: float = READY_TIMEOUT_S) -> JsonObject:
        """Start it again, stopping it first where needed; returns the workload."""
        path = _path(workload_id, "/restart")
        return json_object(self._http.request("POST", path, timeout_s=timeout))

    def delete(self, workload_id: str, *, timeout: float = READY_TIMEOUT_S) -> JsonObject:
        """Stop it if it runs and forget it: `{message}`. Raises NotFoundError."""
        return json_object(self._http.request("DELETE", _path(workload_id), timeout_s=timeout))

    def logs(self, workload_id: str, *, lines: int = 100) -> JsonObject:
        """`{logs: [line], count}`, oldest first; `lines` ≤ 0 asks for all that are kept."""
        return self._get(_path(workload_id, "/logs"), params={"lines": lines})

    def follow_logs(self, workload_id: str, *, lines: int = 100) -> Iterator[bytes]:
        """The last `lines` lines and then each new one, without its line feed, as bytes.

        Ends when the workload has ended; raises UnreachableError when the agent goes away first.
        """
        params = {"lines": lines, "follow": "true"}
        headers = {"Accept": "text/plain", "Accept-Encoding": "identity"}
        with self._http.stream(
            _path(workload_id, "/logs"), read_timeout_s=None, params=params, headers=headers
        ) as reply:
            yield from split_lines(reply.iter_bytes())

    def exec(
        self, workload_id: str, command: Sequence[str], *, timeout: float = 300.0, **request: Any
    ) -> JsonObject:
        """Run a command inside it to its end: `{exit_code, stdout, stderr, cut_off}`.

        `request`: further fields of the API's, such as `env`, `user` and `stdin` (text).
        """
        body = {"command": list(command), **request}
        path = _path(workload_id, "/exec")
        return json_object(self._http.request("POST", path, json=body, timeout_s=timeout))

    def exec_session(
        self, workload_id: str, command: Sequence[str], **request: Any
    ) -> AbstractContextManager[ExecSession]:
        """The same as a conversation, with `tty`, `size` and `stdin=True` where they are wanted."""
        from cnet.client.execs import exec_session  # what few need costs 50 ms

        body = {"command": list(command), **request}
        return exec_session(self._http, _path(workload_id, "/exec"), body)

    def usage(self, workload_id: str) -> JsonObject:
        """`{cpu_s, rss_bytes, processes, at}` of the workload's whole process tree."""
        return self._get(_path(workload_id, "/usage"))

    # --- node ---------------------------------------------------------------------------------

    def resources(self) -> JsonObject:
        """The node's own NodeResources (total, available, used, …)."""
        return field_of(self._get("/api/resources"), "resources", dict)

    def stats(self) -> JsonObject:
        """`{local_resources, child_nodes_count, workloads_count, workloads_by_status, …}`."""
        return self._get("/api/resources/stats")

    def nodes(self) -> JsonObject:
        """`{node_id, nodes: […], count, parent, children, peers, total}`."""
        return self._get("/api/nodes")

    def node(self, node_id: str) -> JsonObject:
        """One of `nodes`. Raises NotFoundError."""
        return self._get(_node_path(node_id))

    def drain(self, node_id: str) -> JsonObject:
        """Let the node take no new work: `{message, node}`; what runs there runs on."""
        return json_object(self._http.request("POST", _node_path(node_id, "/drain")))

    def undrain(self, node_id: str) -> JsonObject:
        """Let the node take new work again: `{message, node}`."""
        return json_object(self._http.request("POST", _node_path(node_id, "/undrain")))

    def forget(self, node_id: str) -> JsonObject:
        """Give up a node that will never be back: `{message}`. TransitionError while reachable."""
        return json_object(self._http.request("DELETE", _node_path(node_id, "")))

    def label(self, node_id: str, labels: Mapping[str, str | None]) -> JsonObject:
        """Set labels of the node, and remove those given as None: `{message, node}`."""
        body = {"labels": dict(labels)}
        return json_object(self._http.request("PATCH", _node_path(node_id, "/labels"), json=body))

    # --- placement ----------------------------------------------------------------------------

    def plan(self, spec: Mapping[str, Any]) -> JsonObject:
        """Where a workload would go, without any effect.

        `{node, candidates, rejections: [{node_id, reasons}], impossible, preempts}`; `node` is
        None where nothing has room now.
        """
        return json_object(self._http.request("POST", "/api/plan", json=dict(spec)))

    def why(self, workload_id: str) -> JsonObject:
        """Why it is where it is, or nowhere: `{node, status, …, candidates, rejections}`."""
        return self._get(_path(workload_id, "/why"))

    # --- agent --------------------------------------------------------------------------------

    def health(self, *, timeout: float | None = None) -> JsonObject:
        """`{status, message, node_id, version}`."""
        return self._get("/api/health", timeout_s=timeout)

    # --- events -------------------------------------------------------------------------------

    def events(
        self, *, workload_id: str | None = None, after: int | None = None
    ) -> Iterator[Event]:
        """Events for ever, reconnecting where the stream broke; `after` is the last seq seen."""
        return iter(EventStream(self._http, workload_id=workload_id, after=after))

    def wait_for(
        self,
        workload_id: str,
        *,
        until: str | Collection[str] | Callable[[JsonObject], bool] = ENDED,
        timeout: float | None = None,
    ) -> JsonObject:
        """Block until the workload's status is (one of) `until`, or `until(workload)` is true.

        Driven by events; the workload is read again at each event, at each (re)connection of the
        stream, and at its pings. An agent that goes away and comes back is waited for (a minute).
        `timeout` in seconds; TransientError (code `timeout`) names the last state seen. Raises
        NotFoundError when the workload is deleted meanwhile.
        """
        words = {until} if isinstance(until, str) else until
        reached = words if callable(words) else lambda workload: workload["status"] in words
        deadline = None if timeout is None else time.monotonic() + timeout
        workload: JsonObject | None = None
        stream = EventStream(self._http, workload_id=workload_id)
        try:
            with closing(stream.items(deadline=deadline)) as items:
                for _ in items:
                    try:
                        workload = self.get(workload_id)
                    except TransientError:
                        continue  # the stream, which has more patience, is about to break as well
                    if reached(workload):
                        return workload
        except TransientError as error:
            if deadline is None or time.monotonic() < deadline or workload is None:
                raise
            raise TransientError(_still(workload, timeout), code="timeout") from error
        raise AssertionError("an event stream ends only by an error")

    def _get(self, path: str, **options: Any) -> JsonObject:
        return json_object(self._http.request("GET", path, **options))


def _path(workload_id: str, rest: str = "") -> str:
    return f"/api/workloads/{quote(workload_id, safe='')}{rest}"


def _node_path(node_id: str, rest: str = "") -> str:
    return f"/api/nodes/{quote(node_id, safe='')}{rest}"


def _still(workload: JsonObject, timeout: float | None) -> str:
    reason = workload.get("status_reason")
    state = f"{workload['status']} ({reason})" if reason else workload["status"]
    return f"workload {workload['name']!r} is still {state} after {timeout:g} s"
