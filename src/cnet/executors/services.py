"""Service kinds: a long-running program that answers HTTP on a port of this node.

One supervisor for all of them; a kind adds a configuration and a command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cnet.errors import ExecutionError, SpecError
from cnet.executors.base import Task
from cnet.executors.commands import CommandExecutor

if TYPE_CHECKING:
    import httpx

RUN_HEADER = "x-cnet-run"
"""Every answer of a service program carries its run id; a stranger on the port has none."""


class ServiceConfig(BaseModel):
    """Fields that every service kind takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    service_port: int = Field(0, ge=0, le=65535, description="0 or absent: a free one")
    service_host: str = Field("localhost", min_length=1, max_length=253)

    @model_validator(mode="before")
    @classmethod
    def _older_name_of_the_port(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "port" not in data:
            return data
        data = dict(data)
        port = data.pop("port")
        if data.setdefault("service_port", port) != port:
            raise ValueError("port and service_port differ; give one of them")
        return data


class ServiceExecutor(CommandExecutor):
    """Probes `/health`; the run id in the answer tells our program from a stranger."""

    _client: httpx.AsyncClient | None = None

    async def prepare(self, config: Any) -> None:
        """The host must be a name or an address that can be looked up here."""
        host: str = config.service_host
        try:
            await anyio.getaddrinfo(host, None)
        except (OSError, ValueError) as error:  # ValueError: too long a label, a NUL
            raise SpecError(
                f"config.service_host: {host!r} is no address of this node ({error})",
                field="config.service_host",
            ) from error

    def wanted_port(self, config: ServiceConfig) -> int:
        """What the user asked for."""
        return config.service_port

    def host(self, config: ServiceConfig) -> str:
        """The address to listen on."""
        return config.service_host

    def endpoint(self, task: Task) -> str:
        """Where clients on this node reach it."""
        return f"http://{_in_url(task.config.service_host)}:{task.port}"

    async def probe(self, task: Task, timeout_s: float) -> None:
        """One `GET /health` on a fresh connection, bounded by `timeout_s` seconds in all."""
        import httpx  # 6 MB, which an agent without services need not hold

        if self._client is None:
            # A fresh connection for every probe: a kept one would say nothing about accepting.
            transport = httpx.AsyncHTTPTransport(
                verify=False, limits=httpx.Limits(max_keepalive_connections=0)
            )
            self._client = httpx.AsyncClient(transport=transport, trust_env=False)
        url = f"{self.endpoint(task)}/health"
        try:
            with anyio.fail_after(timeout_s):
                answer = await self._client.get(url, timeout=timeout_s)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise ExecutionError(f"{url}: {type(error).__name__}") from error
        if answer.headers.get(RUN_HEADER) != task.run_id:
            raise ExecutionError(f"{url} is answered by somebody else", code="port_taken")
        if answer.status_code != httpx.codes.OK:
            raise ExecutionError(f"{url} answers {answer.status_code}")


def _in_url(host: str) -> str:
    host = "localhost" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104
    return f"[{host}]" if ":" in host else host
