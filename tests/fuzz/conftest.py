"""The agent under fire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.agents import AgentProcess, start_agent


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """Its workloads find no program by name, whatever a generator makes up as a command."""
    agent = start_agent(
        tmp_path_factory.mktemp("fuzz"),
        environ={"PATH": "/nonexistent"},
        resources={"cpu": 4, "gpu": 2, "memory": 1 << 33, "storage": 1 << 33},
        logging={"level": "warn", "format": "text"},
        workload_logs={"max_bytes": 4096, "files": 1},
    )
    yield agent
    agent.stop()
