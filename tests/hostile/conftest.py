"""One agent and one gateway for all doors, each in a folder that it must not leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.node import Node
from tests.gateway.gateways import Gateway, keys_file, running
from tests.hostile import words
from tests.hostile.ground import Ground
from tests.support.agents import AgentProcess, start_agent

GIB = 1024**3


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("ground"))
    yield ground
    ground.require_untouched()


@pytest.fixture(scope="module")
def names(ground: Ground) -> list[str]:
    return words.names(ground.canary)


@pytest.fixture(scope="module")
def roots(ground: Ground) -> Path:
    """A folder that the agent may take files from, with a way out of it."""
    folder = ground.site / "roots"
    folder.mkdir()
    (folder / "inside.txt").write_text("inside")
    (folder / "way-out").symlink_to(ground.outside)
    (folder / "way-out.txt").symlink_to(ground.canary)
    return folder


@pytest.fixture(scope="module")
def agent(ground: Ground, roots: Path) -> Iterator[AgentProcess]:
    agent = start_agent(
        ground.site,
        resources={"cpu": 64, "gpu": 0, "memory": 64 * GIB, "storage": GIB},
        storage={"roots": [str(roots)]},
        agent={"node_id": "door"},
    )
    yield agent
    ground.require_own_names(agent.data_dir / "data")
    agent.stop()
    assert "Traceback" not in agent.log()


@pytest.fixture
def node(agent: AgentProcess, ground: Ground) -> Iterator[Node]:
    with Node(agent) as node:
        yield node
        ground.require_untouched()
        ground.require_own_names(agent.data_dir / "data")
        node.delete_all()


@pytest.fixture(scope="module")
def gateway(ground: Ground) -> Iterator[Gateway]:
    """Writable, for holders of keys."""
    folder = ground.site / "gateway"
    folder.mkdir()
    with running(folder, "--writable", "--keys-file", str(keys_file(folder))) as gateway:
        yield gateway
        ground.require_own_names(gateway.root)
        assert "Traceback" not in gateway.log.read_text()
