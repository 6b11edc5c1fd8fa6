"""Which process listens at an address."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from cnet.executors.container.connecting import Address
from cnet.executors.container.incarnation import incarnation
from cnet.executors.container.records import RunRecords
from cnet.supervision.procfs import start_time

pytestmark = pytest.mark.anyio


async def test_of_a_socket_it_is_the_process_that_listens() -> None:
    with TemporaryDirectory() as folder:
        path = f"{folder}/s"
        async with await anyio.create_unix_listener(path):
            found = await incarnation(Address(f"unix://{path}"), 5)
    assert found == f"{os.getpid()}.{start_time(os.getpid())}"


@pytest.mark.parametrize("url", ["unix:///no/such/socket", "tcp://127.0.0.1:9"])
async def test_elsewhere_it_cannot_be_told(url: str) -> None:
    assert await incarnation(Address(url), 5) is None


def test_it_is_put_down_before_a_start(tmp_path: Path) -> None:
    folder = RunRecords(tmp_path, "w", 1)
    assert folder.engine() is None
    folder.create()
    folder.note_engine("1.2")
    assert folder.engine() == "1.2"
    folder.note_engine(None)
    assert folder.engine() is None
