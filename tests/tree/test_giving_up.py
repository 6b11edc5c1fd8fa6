"""`parent.escalate`: what a leaf cannot hold goes up and across, and without it never."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.node import process_spec, refused
from tests.support.agents import alive
from tests.tree.trees import Tree, room


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """jiangsu (2 cores) over nanjing (1, escalates), suqian (1) and changzhou (4)."""
    with Tree(tmp_path_factory.mktemp("leaves")) as tree:
        tree.start("jiangsu", resources=room(2))
        tree.start(
            "nanjing", parent="jiangsu", resources=room(1), **{"parent": {"escalate": True}}
        ) if False else _start_escalating(tree)
        tree.start("suqian", parent="jiangsu", resources=room(1))
        tree.start("changzhou", parent="jiangsu", resources=room(4))
        tree.linked("jiangsu", "nanjing", "suqian", "changzhou")
        tree.linked("nanjing", "jiangsu", "suqian", "changzhou")
        tree.linked("suqian", "jiangsu")
        yield tree
        tree.shut_down()
