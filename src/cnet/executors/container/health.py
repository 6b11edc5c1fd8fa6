"""Whether a container is well: by its own health check, or the one of its image.

The agent asks, not the engine: that would wait one interval before it asks for the first time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import anyio

from cnet.errors import ExecutionError, TransitionError
from cnet.executors.base import Task
from cnet.executors.container.config import ContainerConfig, HealthCheck
from cnet.executors.container.engine import Engine
from cnet.executors.container.exec import ContainerExec
from cnet.executors.container.records import RunRecords
from cnet.executors.execs import ExecRequest, TerminalSize
from cnet.model.workload import HealthSpec

NS_PER_S = 1_000_000_000
REFUSES_AT_ONCE_S = 0.3
"""A proxy of the engine takes connections before the program does; it drops them by then."""
SAID_CHARACTERS = 300
WELL_UNTIL = 400  # HTTP
MAX_S = 86_400.0
"""Of a request; whoever asks has less patience."""


def check_of_image(image: Mapping[str, Any]) -> HealthCheck | None:
    """The HEALTHCHECK that it was built with."""
    config = image.get("Config") or {}
    given = config.get("Healthcheck") or {}
    kind, *words = given.get("Test") or ["NONE"]
    if kind == "CMD-SHELL":
        words = [*(config.get("Shell") or ["/bin/sh", "-c"]), *words]
    if kind not in {"CMD", "CMD-SHELL"} or not words:
        return None
    seconds = {
        field: given[name] / NS_PER_S
        for field, name in (
            ("interval", "Interval"),
            ("timeout", "Timeout"),
            ("start_period", "StartPeriod"),
        )
        if given.get(name)
    }
    return HealthCheck(test=words, retries=given.get("Retries") or None, **seconds)


def watched(check: HealthCheck, usual: HealthSpec) -> HealthSpec:
    """How often and how long, where the check itself does not say as `usual`."""
    own = {
        "ready_timeout_s": check.start_period,
        "interval_s": check.interval,
        "timeout_s": check.timeout,
        "failures": check.retries,
    }
    return usual.model_copy(update={name: value for name, value in own.items() if value})


class Prober:
    """Asks one container."""

    def __init__(
        self, engine: Engine, details: Mapping[str, Any], records: RunRecords, busy: set[str]
    ) -> None:
        """`details`: as the engine tells of it now; `records` and `busy` as for `ContainerExec`."""
        self._engine = engine
        self._details = details
        self._records = records
        self._busy = busy

    async def ask(self, check: HealthCheck, task: Task, *, direct: bool) -> None:
        """Return when it is well, else raise ExecutionError that says why not.

        `direct`: its own address can be reached from here.
        """
        if check.test is not None:
            await self._run(check.test)
            return
        port = check.port or check.tcp
        if port is None:
            raise ExecutionError("config.healthcheck: no port is named, and none is published")
        host, outside = self._address(port, task, direct=direct)
        if check.http is None:
            await _connect(host, outside)
        else:
            await _get(f"http://{_in_url(host)}:{outside}{check.http}")

    async def _run(self, command: list[str]) -> None:
        said = _Said()
        request = ExecRequest.model_construct(
            command=command,
            env={},
            working_dir=None,
            user=None,
            tty=False,
            stdin=False,
            size=TerminalSize(),
        )
        run = ContainerExec(self._engine, self._details["Id"], self._records, request, self._busy)
        try:
            code = await run.run(said)
        except TransitionError as error:
            raise ExecutionError(error.message) from error
        if code:
            text = " ".join(said.output.decode(errors="replace").split())[-SAID_CHARACTERS:]
            raise ExecutionError(
                f"{command[0]!r} exits with {code}" + (f": {text}" if text else "")
            )

    def _address(self, port: int, task: Task, *, direct: bool) -> tuple[str, int]:
        settings = self._details["NetworkSettings"]
        networks = (settings.get("Networks") or {}).values()
        own = settings.get("IPAddress") or next(
            (each["IPAddress"] for each in networks if each.get("IPAddress")), ""
        )
        if own and direct:
            return own, port
        config: ContainerConfig = task.config
        if config.network == "host":
            return "127.0.0.1", port
        for wanted, outside in zip(config.ports, task.ports, strict=True):
            if (wanted.container_port, wanted.protocol) == (port, "tcp"):
                host = wanted.host_ip
                return ("127.0.0.1" if host in {"0.0.0.0", "::"} else host), outside  # noqa: S104
        raise ExecutionError(f"port {port} cannot be reached from the node; publish it")


class _Said:
    """A console for a command whose output is of interest when it fails."""

    def __init__(self) -> None:
        self.output = b""

    async def started(self) -> None:
        return

    async def receive(self) -> bytes | TerminalSize | None:
        await anyio.sleep(math.inf)
        return None

    async def send(self, data: bytes, *, error: bool = False) -> None:
        self.output = (self.output + data)[-SAID_CHARACTERS * 4 :]


async def _connect(host: str, port: int) -> None:
    try:
        async with await anyio.connect_tcp(host, port) as stream:
            with anyio.move_on_after(REFUSES_AT_ONCE_S):
                await stream.receive(1)
    except (OSError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
        raise ExecutionError(f"nothing answers at {host}:{port}") from error


async def _get(url: str) -> None:
    import httpx  # 6 MB, which an agent without services need not hold

    transport = httpx.AsyncHTTPTransport(verify=False, limits=httpx.Limits(max_connections=1))
    try:
        async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=MAX_S) as client:
            answer = await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ExecutionError(f"{url}: {type(error).__name__}") from error
    if answer.status_code >= WELL_UNTIL:
        raise ExecutionError(f"{url} answers {answer.status_code}")


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
