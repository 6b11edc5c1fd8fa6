"""Fixtures that several test folders share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.conformance import operations_of
from tests.support.agents import AgentProcess, start_agent


def pytest_configure() -> None:
    """Let programs be interrupted: a shell that runs pytest in the background forbids it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is about operations of S3 with their names."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent.name == "gateway":
            operations = operations_of(item.path.stem, item.originalname)
            if operations:
                item.add_marker(pytest.mark.s3(*operations))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """A fresh agent of 4 cores and 8 GiB; at the end nothing of it may be left."""
    running = start_agent(
        tmp_path,
        resources={"cpu": 4, "gpu": 0, "memory": 8 * 1024**3, "storage": 20 * 1024**3},
    )
    yield running
    running.stop()


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop the agent itself runs on."""
    return "asyncio", {"use_uvloop": True}
