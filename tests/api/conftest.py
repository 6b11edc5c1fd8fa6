"""One agent per module, clean for each test: what a test leaves is deleted and counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.node import Node
from tests.support.agents import AgentProcess, start_agent

GIB = 1024**3


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """4 cores, 2 GPUs, 8 GiB; logs of workloads are rotated at 8 KiB."""
    agent = start_agent(
        tmp_path_factory.mktemp("agent"),
        resources={"cpu": 4, "gpu": 2, "memory": 8 * GIB, "storage": 20 * GIB},
        workload_logs={"max_bytes": 8192, "files": 3},
        agent={"node_id": "nanjing", "labels": {"city": "nanjing"}},
    )
    yield agent
    agent.stop()


@pytest.fixture
def node(shared_agent: AgentProcess) -> Iterator[Node]:
    """The module's agent over plain HTTP; afterwards nothing may be held."""
    with Node(shared_agent) as node:
        yield node
        node.delete_all()
        assert node.used() == {"cpu": 0, "gpu": 0, "memory": 0, "storage": 0}
