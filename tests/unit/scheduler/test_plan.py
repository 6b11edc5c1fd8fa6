"""Plans put a workload only where it fits, and every other node says why not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cnet.model.resources import GIB, Resources
from cnet.model.workload import WorkloadSpec
from cnet.scheduler import NodeSnapshot, place

amounts = st.builds(
    Resources,
    cpu=st.integers(0, 8_000),
    gpu=st.integers(0, 2),
    memory=st.integers(0, 16 * GIB),
    storage=st.integers(0, 16 * GIB),
)


@st.composite
def snapshots(draw: st.DrawFn) -> NodeSnapshot:
    capacity = draw(amounts)
    return NodeSnapshot(
        node_id=f"n{draw(st.integers(0, 10**6))}",
        capacity=capacity,
        available=capacity.minus_floor(draw(amounts)),
        kinds=draw(st.sets(st.sampled_from(["process", "mlmodel"]))),
    )


def spec(wanted: Resources, kind: str = "process") -> WorkloadSpec:
    return WorkloadSpec.model_validate(
        {"name": "w", "type": kind, "requirements": wanted.to_wire()}
    )


@given(wanted=amounts, nodes=st.lists(snapshots(), max_size=6, unique_by=lambda n: n.node_id))
def test_every_node_is_a_candidate_or_says_why_not(
    wanted: Resources, nodes: list[NodeSnapshot]
) -> None:
    plan = place(spec(wanted), nodes)
    by_id = {node.node_id: node for node in nodes}
    assert set(plan.candidates) | plan.rejections.keys() == by_id.keys()
    assert not set(plan.candidates) & plan.rejections.keys()
    for name in plan.candidates:
        assert wanted.fits(by_id[name].available)
        assert "process" in by_id[name].kinds
    could_ever = any(wanted.fits(node.capacity) and "process" in node.kinds for node in nodes)
    assert plan.impossible == (not could_ever)


def test_reasons_read_as_sentences() -> None:
    full = NodeSnapshot(
        node_id="nanjing",
        capacity=Resources(cpu=8_000, memory=16 * GIB),
        available=Resources(cpu=8_000, memory=GIB),
        kinds={"process"},
    )
    plan = place(spec(Resources(cpu=1_000, memory=2 * GIB + GIB // 2)), [full])
    assert plan.reasons() == ["nanjing: memory 1.5 GiB short"]
    assert not plan.impossible
    plan = place(spec(Resources(gpu=1)), [full])
    assert plan.reasons() == ["nanjing: too small: gpu 1 device short"]
    assert plan.impossible
