"""Nodes and specs for the tests of the scheduler, by hand and at random."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import strategies as st

from cnet.model.node import KnownNode, NodeState, NodeType
from cnet.model.resources import GIB, Resources
from cnet.model.workload import Strategy, WorkloadSpec

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
CAPACITY = Resources(cpu=8_000, gpu=1, memory=16 * GIB, storage=100 * GIB)


def node(
    node_id: str,
    *,
    node_type: NodeType = "child",
    hops: int = 1,
    capacity: Resources = CAPACITY,
    available: Resources | None = None,
    reachable: bool = True,
    since: float = 0.0,
    candidate: bool = True,
    linked: bool = True,
    **state: Any,
) -> KnownNode:
    """A child with 8 cores, 1 GPU and 16 GiB, all free, unless told otherwise."""
    described: dict[str, Any] = {"incarnation": 1, "seq": 1, "kinds": ("process",), **state}
    return KnownNode(
        state=NodeState(
            node_id=node_id,
            capacity=capacity,
            available=capacity if available is None else available,
            **described,
        ),
        node_type=node_type,
        hops=hops,
        reachable=reachable,
        since=since,
        candidate=candidate,
        linked=linked,
    )


def spec(wanted: Resources | None = None, kind: str = "process", **more: Any) -> WorkloadSpec:
    """A workload that asks for `wanted`."""
    return WorkloadSpec.model_validate(
        {
            "name": "w",
            "type": kind,
            "requirements": (wanted or Resources()).to_wire(),
            **more,
        }
    )


amounts = st.builds(
    Resources,
    cpu=st.integers(0, 8).map(lambda cores: cores * 1_000),
    gpu=st.integers(0, 2),
    memory=st.integers(0, 8).map(lambda size: size * 2 * GIB),
    storage=st.integers(0, 2).map(lambda size: size * GIB),
)
"""Coarse, so that nodes are often equal and ties matter."""

odd_amounts = st.builds(
    Resources,
    cpu=st.integers(0, 9_000),
    gpu=st.integers(0, 2),
    memory=st.integers(0, 17 * GIB),
    storage=st.integers(0, 3 * GIB),
)

_KEYS = st.sampled_from(["app", "zone", "a=b"])
_VALUES = st.sampled_from(["x", "y", "b=x"])
_LABELS = st.dictionaries(_KEYS, _VALUES, max_size=3)
_WORKLOAD_LABELS = st.dictionaries(
    st.tuples(_KEYS, _VALUES).map("=".join), st.integers(0, 3), max_size=4
)
_DATA_KEYS = st.sampled_from(["weights", "pictures", "tables"])
_DATA = st.dictionaries(_DATA_KEYS, st.integers(0, 3), max_size=2)
_INPUTS = st.dictionaries(
    _DATA_KEYS.flatmap(lambda key: st.sampled_from([f"data://{key}", f"data://{key}/some/path"])),
    st.just("here"),
    max_size=2,
)


@st.composite
def known_nodes(draw: st.DrawFn, node_id: str = "") -> KnownNode:
    """Any node, usable more often than not."""
    capacity = draw(amounts | odd_amounts)
    usually = st.sampled_from([True, True, True, True, False])
    return node(
        node_id or f"n{draw(st.integers(0, 999))}",
        node_type=draw(st.sampled_from(get_args(NodeType))),
        hops=draw(st.integers(0, 3)),
        capacity=capacity,
        available=draw(st.just(capacity) | amounts.map(capacity.minus_floor)),
        reachable=draw(usually),
        candidate=draw(usually),
        linked=draw(usually),
        draining=not draw(usually),
        kinds=draw(st.sampled_from([("process",), ("process", "mlmodel"), ("mlmodel",), ()])),
        labels=draw(_LABELS),
        workloads=draw(st.integers(0, 5)),
        workload_labels=draw(_WORKLOAD_LABELS),
        data=draw(_DATA),
        preemptible=draw(
            st.dictionaries(st.integers(-2, 2), amounts, max_size=2).map(
                lambda held: tuple(sorted(held.items()))
            )
        ),
    )


_PAIRS = st.dictionaries(_KEYS, _VALUES | st.just("*"), min_size=1, max_size=2)
_TERMS = st.builds(
    lambda of, pairs, required, weight: {of: pairs, "required": required, "weight": weight},
    st.sampled_from(["node_labels", "workload_labels"]),
    _PAIRS,
    st.booleans(),
    st.integers(1, 3),
)


@st.composite
def specs(draw: st.DrawFn) -> WorkloadSpec:
    """Any workload; half of them without constraints."""
    plain = draw(st.booleans())
    terms = st.just([]) if plain else st.lists(_TERMS, max_size=2)
    return spec(
        draw(amounts | odd_amounts),
        draw(st.sampled_from(["process", "mlmodel"])),
        config={"inputs": draw(_INPUTS)},
        labels=draw(_LABELS),
        affinity=draw(terms),
        anti_affinity=draw(terms),
        priority=draw(st.integers(-2, 3)),
        node=None if plain else draw(st.none() | st.just("n1")),
    )
