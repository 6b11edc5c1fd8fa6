"""Peers that all dial each other, over wires that are cut and frozen at random."""

from __future__ import annotations

import random
from itertools import combinations, permutations

import anyio
import pytest

from tests.cluster.nodes import (
    Node,
    listening,
    others_have_had_time_to_call,
    port_of,
    running,
    until,
)
from tests.cluster.wire import Wire

pytestmark = pytest.mark.anyio

NAMES = ("one", "two", "three", "four")


def is_settled(nodes: dict[str, Node]) -> bool:
    """Every pair has one link, both ends mean the same connection, and all know of all."""
    for one, two in combinations(NAMES, 2):
        near, far = nodes[one].links._links.get(two), nodes[two].links._links.get(one)
        if near is None or far is None or near.dialled == far.dialled:
            return False
    known = [nodes[one].exchange.view.get(two) for one, two in permutations(NAMES, 2)]
    return all(node is not None and node.reachable for node in known)


@pytest.mark.parametrize("seed", range(3))
async def test_every_pair_ends_up_with_one_lasting_link(seed: int) -> None:
    chance = random.Random(seed)
    listeners = {name: listening() for name in NAMES}
    async with running() as start:
        wires = {pair: Wire(port_of(listeners[pair[1]])) for pair in permutations(NAMES, 2)}
        for wire in wires.values():
            await start(wire)
        nodes = {
            name: Node(
                name,
                listener=listeners[name],
                peers=tuple(wire.address for pair, wire in wires.items() if pair[0] == name),
            )
            for name in NAMES
        }
        for node in nodes.values():
            await start(node)
        await until(lambda: is_settled(nodes))
        assert not [up for node in nodes.values() for _, up in node.routes_changed if not up]
        for _ in range(4):
            for wire in wires.values():
                chance.choice((wire.cut, wire.freeze, wire.thaw, wire.thaw))()
            await anyio.sleep(chance.random() * 0.5)  # for how long it is so
            for wire in wires.values():
                wire.thaw()
        await until(lambda: is_settled(nodes))
        links = {name: dict(node.links._links) for name, node in nodes.items()}
        await others_have_had_time_to_call(start)
        assert links == {name: node.links._links for name, node in nodes.items()}
