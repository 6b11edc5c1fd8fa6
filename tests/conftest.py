"""Fixtures that several test folders share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents import AgentProcess, start_agent


def pytest_configure() -> None:
    """Let programs be interrupted: a shell that runs pytest in the background forbids it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
