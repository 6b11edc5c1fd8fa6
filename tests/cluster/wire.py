"""A TCP wire between two nodes that can be counted, frozen and cut."""

from __future__ import annotations

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskStatus


class Wire:
    """Use: `running(wire, …)`; `address` leads to the node on `port`, and with 0 to nobody."""

    def __init__(self, port: int, *, bytes_per_s: float | None = None) -> None:
        self._port = port
        self._bytes_per_s = bytes_per_s
        self._open = anyio.Event()
        self._open.set()
        self._scopes: set[anyio.CancelScope] = set()
        self._stop = anyio.Event()
        self.address = ""
        self.carried = 0
        """bytes, both ways"""
        self.connections = 0
        """made so far"""

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Until `stop`."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener, anyio.create_task_group() as group:
            self.address = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
            task_status.started()
            group.start_soon(listener.serve, self._carry)
            await self._stop.wait()
            group.cancel_scope.cancel()

    def freeze(self) -> None:
        """Nothing comes through, and nothing is closed."""
        self._open = anyio.Event()

    def thaw(self) -> None:
        """What was held back comes through."""
        self._open.set()

    def cut(self) -> None:
        """Close all connections; new ones are taken."""
        for scope in self._scopes:
            scope.cancel()

    async def stop(self) -> None:
        """Close all and end `run`."""
        self._stop.set()

    async def _carry(self, near: SocketStream) -> None:
        self.connections += 1
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                async with (
                    near,
                    await anyio.connect_tcp("127.0.0.1", self._port) as far,
                    anyio.create_task_group() as group,
                ):
                    group.start_soon(self._pump, near, far, scope)
                    group.start_soon(self._pump, far, near, scope)
            except OSError:
                return
            finally:
                self._scopes.discard(scope)

    async def _pump(self, source: ByteStream, target: ByteStream, both: anyio.CancelScope) -> None:
        try:
            async for data in source:
                await self._open.wait()
                self.carried += len(data)
                if self._bytes_per_s is not None:
                    await anyio.sleep(len(data) / self._bytes_per_s)
                await target.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        await self._open.wait()
        both.cancel()
