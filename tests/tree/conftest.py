"""Trees of agents: one per module where tests leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tree.trees import GIB, Tree, room


@contextmanager
def four_cities(folder: Path) -> Iterator[Tree]:
    """jiangsu (1 core) over nanjing (4), which has the peers suqian (4) and changzhou (2).

    At the end nothing may be on them.
    """
    with Tree(folder) as tree:
        tree.launch("jiangsu", resources=room(1, GIB), agent={"labels": {"city": "jiangsu"}})
        for name, cores in (("suqian", 4), ("changzhou", 2)):
            tree.launch(name, resources=room(cores), agent={"labels": {"city": name}})
        tree.launch(
            "nanjing",
            parent="jiangsu",
            peers=("suqian", "changzhou"),
            resources=room(4),
            agent={"labels": {"city": "nanjing"}},
        )
        tree.wait_healthy()
        tree.linked("jiangsu", "nanjing", "suqian", "changzhou")
        tree.linked("nanjing", "jiangsu", "suqian", "changzhou")
        for peer in ("suqian", "changzhou"):
            tree.linked(peer, "nanjing")
        yield tree
        tree.shut_down()


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """The four cities, for all tests of a module."""
    with four_cities(tmp_path_factory.mktemp("cities")) as tree:
        yield tree


@pytest.fixture
def tree(cities: Tree) -> Iterator[Tree]:
    """The four cities, with nothing on them before and after."""
    yield cities
    cities.clean()


@pytest.fixture
def grown(tmp_path: Path) -> Iterator[Tree]:
    """An empty tree, for a test that starts its own agents."""
    with Tree(tmp_path) as tree:
        yield tree
        tree.shut_down()


@pytest.fixture
def own_cities(tmp_path: Path) -> Iterator[Tree]:
    """Four cities for one test, which may do them harm but leaves all four running."""
    with four_cities(tmp_path) as tree:
        yield tree
