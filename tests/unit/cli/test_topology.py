"""Nodes as a tree and as a table."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console
from rich.table import Table

from cnet.cli import topology

GIB = 1024**3


def node(node_id: str, node_type: str, **more: Any) -> dict[str, Any]:
    total = {"cpu": 4, "gpu": 0, "memory": 8 * GIB, "storage": 100 * GIB}
    used = dict.fromkeys(total, 0)
    return {
        "node_id": node_id,
        "node_type": node_type,
        "parent_id": None,
        "status": "active",
        "total": total,
        "used": used,
        "available": total,
        "address": "127.0.0.1:8080",
        "labels": {},
        "peers": [],
        "hops": 0,
        "workloads": 0,
        **more,
    }


def cities() -> dict[str, Any]:
    """What jiangsu sees."""
    return {
        "node_id": "jiangsu",
        "nodes": [
            node("jiangsu", "local"),
            node("nanjing", "child", parent_id="jiangsu", peers=["changzhou", "suqian"], hops=1),
            node("suqian", "peer", hops=2, status="unreachable", labels={"b": "2", "a": "1"}),
            node("changzhou", "peer", hops=2, used={"cpu": 1.5, "memory": GIB}, workloads=3),
        ],
    }


def shown(table: Table) -> list[str]:
    console = Console(file=io.StringIO(), width=300)
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_tree_has_children_below_parents_and_peers_beside() -> None:
    lines = shown(topology.tree_table(cities()))
    assert lines[0].split() == [
        *("NODE", "STATUS", "CPU", "MEMORY", "GPU", "WORKLOADS", "PEERS", "ADDRESS", "LABELS")
    ]
    assert [line.partition("  ")[0] for line in lines[1:]] == [
        "jiangsu (this agent)",
        "└── nanjing",
        "changzhou",
        "suqian",
    ]
    assert "↔ changzhou, ↔ suqian" in lines[2]
    assert "1.5 / 4" in lines[3]
    assert "1 GiB / 8 GiB" in lines[3]
    assert "unreachable" in lines[4]
    assert lines[4].endswith("a=1 b=2")


def test_deep_tree_has_guides_and_begins_above_the_own_node() -> None:
    reply = {
        "node_id": "b",
        "nodes": [
            node("b", "local", parent_id="root"),
            node("root", "parent"),
            node("b1", "child", parent_id="b"),
            node("b2", "child", parent_id="b"),
            node("b1x", "child", parent_id="b1"),
            node("z", "parent", parent_id="root"),
        ],
    }
    lines = [line.partition("  active")[0].rstrip() for line in shown(topology.tree_table(reply))]
    assert lines[1:] == [
        "root",
        "├── b (this agent)",
        "│   ├── b1",
        "│   │   └── b1x",
        "│   └── b2",
        "└── z",
    ]


def test_nodes_that_name_each_other_as_parent_are_drawn_once() -> None:
    reply = {
        "node_id": "a",
        "nodes": [node("a", "local", parent_id="b"), node("b", "parent", parent_id="a")],
    }
    assert len(shown(topology.tree_table(reply))) == 3


def test_table_is_flat_in_the_agents_order() -> None:
    lines = shown(topology.flat_table(cities()))
    assert [line.split()[0] for line in lines[1:]] == ["jiangsu", "nanjing", "suqian", "changzhou"]
    assert lines[2].split()[:4] == ["nanjing", "child", "jiangsu", "active"]
    assert "0 bytes / 100 GiB" in lines[2]
