"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.gateway.conformance import operations_of
from tests.support import parallel
from tests.support.agents import AgentProcess, start_agent

settings.register_profile(  # any example may be slow on a loaded box
    "cnet", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("cnet")


def pytest_configure(config: pytest.Config) -> None:
    """Let programs be interrupted: a shell that runs pytest in the background forbids it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Tests start hundreds of agents: without compiled files each would compile all of CNET.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if hasattr(config, "workerinput"):
        parallel.leave_the_network()


@pytest.hookimpl(tryfirst=True)  # before xdist looks at its options
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Options that go with `-n`."""
    parallel.configure(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means here."""
    return parallel.workers()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is about operations of S3 with their names, and what belongs together."""
    if hasattr(config, "workerinput"):
        parallel.arrange(config, items)
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
