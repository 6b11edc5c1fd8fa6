"""The nodes an agent knows, drawn as a tree inside a table, or flat.

Parent and child by branches; peers by name, since a peer stands below nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from cnet.cli import tables
from cnet.client import JsonObject

_STATUS_STYLES = {"active": "green", "draining": "yellow", "unreachable": "bold red"}
_AMOUNTS = ("cpu", "memory", "gpu")


def tree_table(reply: JsonObject) -> Table:
    """The nodes of a `GET /api/nodes` reply: trees by parent, the one with the own node first."""
    table = tables.plain_table(
        *("NODE", "STATUS", "CPU", "MEMORY", "GPU", "WORKLOADS", "PEERS", "ADDRESS", "LABELS"),
        right=("WORKLOADS",),
    )
    for guide, node in _branches(reply["nodes"], own=reply["node_id"]):
        name = Text.assemble((guide, "dim"), _name(node, own=reply["node_id"]))
        table.add_row(name, *_common(node), *_place(node))
    return table


def flat_table(reply: JsonObject) -> Table:
    """The same, one plain line per node in the agent's order, with its type and storage."""
    table = tables.plain_table(
        *("NODE", "TYPE", "PARENT", "STATUS", "CPU", "MEMORY", "GPU", "STORAGE", "WORKLOADS"),
        *("PEERS", "ADDRESS", "LABELS"),
        right=("WORKLOADS",),
    )
    for node in reply["nodes"]:
        status, *amounts, workloads = _common(node)
        table.add_row(
            _name(node, own=reply["node_id"]),
            tables.cell(node["node_type"]),
            tables.cell(node.get("parent_id")),
            status,
            *amounts,
            tables.cell(_share(node, "storage")),
            workloads,
            *_place(node),
        )
    return table


def node_status(status: str) -> Text:
    """A node's status word in its colour."""
    return tables.cell(status, style=_STATUS_STYLES.get(status, ""))


def _branches(nodes: Sequence[JsonObject], *, own: str) -> Iterator[tuple[str, JsonObject]]:
    """Each node once, with the lines that lead to it."""
    by_id = {node["node_id"]: node for node in nodes}
    below: dict[str | None, list[str]] = {}
    for node_id, node in by_id.items():
        above = node.get("parent_id")
        below.setdefault(above if above in by_id and above != node_id else None, []).append(node_id)
    drawn: set[str] = set()

    def draw(node_id: str, lead: str, guide: str) -> Iterator[tuple[str, JsonObject]]:
        if node_id in drawn:
            return  # what two agents say may contradict each other for a moment
        drawn.add(node_id)
        yield lead + guide, by_id[node_id]
        deeper = lead + {"": "", "├── ": "│   ", "└── ": "    "}[guide]
        children = sorted(below.get(node_id, ()))
        for child in children:
            yield from draw(child, deeper, "└── " if child == children[-1] else "├── ")

    roots = sorted(below.get(None, ()))
    trunk = _root_of(own, by_id)
    for root in [trunk, *(each for each in roots if each != trunk), *sorted(by_id)]:
        yield from draw(root, "", "")


def _root_of(own: str, by_id: dict[str, JsonObject]) -> str:
    at, passed = own, {own}
    while (above := by_id[at].get("parent_id")) in by_id and above not in passed:
        passed.add(above)
        at = above
    return at


def _name(node: JsonObject, *, own: str) -> Text:
    if node["node_id"] != own:
        return tables.cell(node["node_id"])
    return tables.cell(f"{node['node_id']} (this agent)", style="bold")


def _common(node: JsonObject) -> list[Text]:
    return [
        node_status(node["status"]),
        *(tables.cell(_share(node, name)) for name in _AMOUNTS),
        tables.cell(node.get("workloads", "")),
    ]


def _place(node: JsonObject) -> list[Text]:
    labels = node.get("labels") or {}
    return [
        tables.cell(", ".join(f"↔ {peer}" for peer in node.get("peers") or ())),
        tables.cell(node.get("address")),
        tables.cell(" ".join(f"{key}={value}" for key, value in sorted(labels.items()))),
    ]


def _share(node: JsonObject, resource: str) -> str:
    used, total = node["used"].get(resource, 0), node["total"].get(resource, 0)
    return f"{tables.format_amount(resource, used)} / {tables.format_amount(resource, total)}"
