"""The kinds of data keep the promises of the contract, too."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cnet.executors.base import Executor
from cnet.executors.catalog import ExecutorContext
from cnet.executors.data import DataExecutor, FetchLimits
from cnet.executors.gateway import DataGatewayExecutor
from cnet.executors.roots import DataPlaces
from cnet.storage.objects import DataObjects
from cnet.storage.opening import open_store
from cnet.testing import ExecutorContract


class TestData(ExecutorContract):
    """`data`; what takes long is a server that never answers."""

    _objects: DataObjects
    _root: Path

    @pytest.fixture(autouse=True)
    def _mute(self) -> Iterator[None]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            yield

    @asynccontextmanager
    async def _agent(self, folder: Path) -> AsyncGenerator[Executor]:
        self._root = folder / "store"
        async with open_store(self._root) as store:
            self._objects = DataObjects(store)
            await self._objects.open()
            async with super()._agent(folder) as executor:
                yield executor

    def make_executor(self, context: ExecutorContext) -> Executor:
        return DataExecutor(
            context.supervisor,
            context.logs,
            objects=self._objects,
            places=DataPlaces(root=self._root),
            limits=FetchLimits(
                allow_private_urls=True, url_timeout_s=600, max_object_bytes=2**30, max_files=10
            ),
        )

    def long_config(self, folder: Path) -> dict[str, Any]:
        return {"upload_method": "url", "source_url": self._url}

    def quick_config(self, folder: Path, exit_code: int) -> dict[str, Any] | None:
        return {"upload_method": "file", "content": "text"} if exit_code == 0 else None


class TestDataGateway(ExecutorContract):
    """`datagateway`."""

    _root: Path

    @asynccontextmanager
    async def _agent(self, folder: Path) -> AsyncGenerator[Executor]:
        self._root = folder / "store"
        async with open_store(self._root), super()._agent(folder) as executor:
            yield executor

    def make_executor(self, context: ExecutorContext) -> Executor:
        return DataGatewayExecutor(context.supervisor, context.logs, DataPlaces(root=self._root))

    def long_config(self, folder: Path) -> dict[str, Any]:
        return {"auth_token": "a-long-token"}
