"""What is done for a service: rules by example, and invariants over any order of accidents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cnet.services import changes
from cnet.services.deciding import LOST_S, SETTLE_S
from cnet.services.record import ServiceRollback, ServiceScale, ServiceTraffic
from tests.unit.services.world import World, service, update


def ready(record_fields: dict[str, Any]) -> World:
    world = World(service(**record_fields))
    world.settle()
    return world


def test_a_new_service_gets_its_replicas() -> None:
    world = World(service(replicas=3))
    world.look()
    assert len(world.in_state("starting", "v1")) == 3
    world.all_become("ready")
    world.look()
    assert len(world.routed()) == 3


def test_a_replica_that_ends_is_replaced_and_one_that_fails_is_kept_to_be_looked_at() -> None:
    world = ready({"replicas": 2})
    first, second = world.in_state("ready")
    world.become(first.workload_id, "ended")
    world.look()
    assert world.replicas[first.workload_id].state == "ending"
    assert len(world.in_state("starting")) == 1
    world.settle()
    world.become(second.workload_id, "ended", failed=True)
    for other in world.in_state("ready"):
        world.become(other.workload_id, "ended", failed=True)
    world.look()
    assert not world.in_state("starting"), "not at once"
    assert len(world.in_state("ended")) == 1, "the last one"
    world.settle()
    assert len(world.in_state("ready")) == 2 and not world.in_state("ended")


def test_fewer_replicas_are_drained_before_they_are_deleted() -> None:
    world = ready({"replicas": 3})
    world.record = changes.scaled(world.record, ServiceScale(replicas=1), now=0)
    world.look()
    assert len(world.routed()) == 1 and len(world.in_state("ready")) == 3
    world.now += SETTLE_S / 2
    world.look()
    assert len(world.in_state("ready")) == 3
    world.now += SETTLE_S
    world.look()
    assert len(world.in_state("ready")) == 1 == len(world.routed())


def test_an_update_waits_for_each_new_replica() -> None:
    world = ready({"replicas": 2})
    world.record = update(world.record)
    world.look()
    assert (len(world.routed()), len(world.in_state("starting", "v2"))) == (2, 1)
    world.look()
    assert len(world.replicas) == 3, "one beyond those wanted"
    world.all_become("ready")
    world.look()
    assert len(world.routed()) == 2, "as one is there an old one goes off the route"
    world.settle()
    assert len(world.in_state("ready", "v2")) == 2 == len(world.replicas)
    assert world.record.rollout is None
    assert [version.weight for version in world.record.versions] == [None, 100]


def test_a_failed_update_is_rolled_back_with_its_reason() -> None:
    world = ready({"replicas": 3})
    world.record = update(world.record)
    world.look()
    world.all_become("ready")
    world.look()
    (failing,) = world.in_state("starting", "v2")
    world.become(failing.workload_id, "ended", failed=True)
    world.look()
    assert world.record.rollout is None
    assert world.record.version("v2").failure == "a replica of v2 failed: it says so"
    assert len(world.routed()) >= 3
    world.settle()
    assert len(world.in_state("ready", "v1")) == 3


def test_a_failed_update_may_wait_for_a_user() -> None:
    world = ready({"replicas": 2, "update": {"on_failure": "hold"}})
    world.record = update(world.record)
    world.look()
    (failing,) = world.in_state("starting", "v2")
    world.become(failing.workload_id, "ended", failed=True)
    world.look()
    assert world.record.rollout is not None and "it says so" in str(world.record.rollout.held)
    world.now += 10_000
    world.look()
    assert len(world.routed()) == 2 and not world.in_state("starting")
    world.record = changes.rolled_back(world.record, ServiceRollback(), now=0)
    world.settle()
    assert len(world.in_state("ready", "v1")) == 2


def test_an_update_without_room_is_rolled_back_in_time() -> None:
    world = ready({"replicas": 1, "update": {"progress_timeout_s": 60}})
    world.record = update(world.record)
    world.look()
    world.all_become("waiting")
    world.now += 59
    world.look()
    assert world.record.rollout is not None
    world.now += 2
    world.look()
    assert world.record.rollout is None and world.record.version("v2").failure
    assert len(world.routed()) == 1


def test_without_surge_an_old_one_makes_room() -> None:
    world = ready({"replicas": 2, "update": {"max_surge": 0, "max_unavailable": 1}})
    world.record = update(world.record)
    world.look()
    assert len(world.routed()) == 1 == len(world.in_state("starting", "v2")), "it waits for room"
    world.settle()
    assert len(world.in_state("ready", "v2")) == 2 == len(world.replicas)


def test_versions_beside_each_other_share_by_weight() -> None:
    world = ready({"replicas": 3})
    world.record = update(world.record, weight=10, replicas=1)
    world.settle()
    assert world.route is not None
    assert [(each.version, each.weight, len(each.replicas)) for each in world.route.versions] == [
        ("v1", 9000, 3),
        ("v2", 1000, 1),
    ]
    world.record = changes.shared(world.record, ServiceTraffic(weights={"v2": 1}), now=0)
    world.look()
    assert len(world.in_state("starting", "v2")) == 1, "one at a time, as in an update"
    world.settle()
    assert len(world.in_state("ready", "v2")) == 3 == len(world.replicas)


def test_a_replica_out_of_reach_is_replaced_after_a_while_and_one_too_many_goes() -> None:
    world = ready({"replicas": 1})
    (one,) = world.in_state("ready")
    world.become(one.workload_id, "unreachable")
    world.look()
    assert len(world.replicas) == 1
    world.now += LOST_S
    world.look()
    assert len(world.in_state("starting")) == 1
    world.all_become("ready")
    world.become(one.workload_id, "ready")
    world.settle()
    assert len(world.in_state("ready")) == 1 == len(world.replicas)


def test_none_are_wanted_and_then_some() -> None:
    world = ready({"replicas": 2})
    world.record = changes.scaled(world.record, ServiceScale(replicas=0), now=0)
    world.settle()
    assert not world.replicas
    world.record = changes.scaled(world.record, ServiceScale(replicas=1), now=0)
    world.settle()
    assert len(world.in_state("ready")) == 1


def test_a_deleted_service_leaves_nothing() -> None:
    world = ready({"replicas": 3})
    world.record = changes.deleted(world.record, now=0)
    world.look()
    assert not world.routed()
    world.settle()
    assert not world.replicas and world.gone


class Accidents(RuleBasedStateMachine):
    """Users, failing replicas, lost nodes and killed agents in any order."""

    @initialize(
        replicas=st.integers(0, 4),
        surge=st.integers(0, 2),
        missing=st.integers(0, 2),
        on_failure=st.sampled_from(["rollback", "hold"]),
    )
    def begin(self, replicas: int, surge: int, missing: int, on_failure: str) -> None:
        policy = {"max_surge": surge or not missing, "max_unavailable": missing}
        self.world = World(service(replicas=replicas, update={**policy, "on_failure": on_failure}))
        self.undisturbed = True

    def pick(self, data: st.DataObject, *states: Any) -> str | None:
        found = sorted(
            one.workload_id for one in self.world.replicas.values() if one.state in states
        )
        return data.draw(st.sampled_from(found)) if found else None

    @rule(steps=st.one_of(st.just(1_000_000), st.integers(0, 6)), after=st.floats(0, 20))
    def look(self, steps: int, after: float) -> None:
        self.world.now += after
        before = len(self.world.routed()) if self.world.route else None
        record = self.world.record
        self.world.look(killed_after=steps)
        if before is not None and not self.world.record.deleted and steps > 2:
            policy = self.world.record.update
            goal = self.world.record
            if goal.rollout is not None:
                wanted = goal.wanted(goal.version(goal.rollout.target))
            else:
                wanted = sum(goal.wanted(version) for version in goal.serving())
            assert len(self.world.routed()) >= min(before, wanted - policy.max_unavailable), record

    @rule(data=st.data())
    def one_gets_ready(self, data: st.DataObject) -> None:
        if found := self.pick(data, "starting", "waiting", "unreachable"):
            self.world.become(found, "ready")

    @rule(data=st.data(), failed=st.booleans())
    def one_ends(self, data: st.DataObject, failed: bool) -> None:
        if found := self.pick(data, "starting", "ready", "unreachable"):
            self.world.become(found, "ended", failed=failed)

    @rule(data=st.data(), state=st.sampled_from(["unreachable", "waiting", "starting"]))
    def one_is_away(self, data: st.DataObject, state: Any) -> None:
        if found := self.pick(data, "ready"):
            self.world.become(found, state)

    @rule()
    def what_ends_is_gone(self) -> None:
        self.world.forget_ending()

    @precondition(lambda self: not self.world.record.deleted)
    @rule(count=st.integers(0, 4))
    def scale(self, count: int) -> None:
        self.world.record = changes.scaled(
            self.world.record, ServiceScale(replicas=count), now=self.world.now
        )

    @precondition(lambda self: not self.world.record.deleted)
    @rule()
    def replace(self) -> None:
        self.world.record = update(self.world.record)

    @precondition(lambda self: not self.world.record.deleted and not self.world.record.rollout)
    @rule(weight=st.integers(0, 100))
    def canary(self, weight: int) -> None:
        self.world.record = update(self.world.record, weight=weight)

    @precondition(lambda self: not self.world.record.deleted)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        names = [version.name for version in self.world.record.versions]
        chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        weights = ServiceTraffic(weights=dict.fromkeys(chosen, 1))
        self.world.record = changes.shared(self.world.record, weights, now=self.world.now)

    @rule()
    def delete(self) -> None:
        self.world.record = changes.deleted(self.world.record, now=self.world.now)

    @invariant()
    def there_are_not_too_many(self) -> None:
        if not hasattr(self, "world"):
            return
        states = ("starting", "waiting")
        new = [one for one in self.world.replicas.values() if one.state in states]
        assert len(new) <= 40

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.memory = type(world.memory)()
        if world.record.rollout is not None and world.record.rollout.held:
            world.record = changes.rolled_back(world.record, ServiceRollback(), now=world.now)
        world.settle()
        if world.record.deleted:
            assert not world.replicas and world.gone
            return
        assert world.record.rollout is None
        for version in world.record.versions:
            wanted = 0 if version.weight is None else world.record.wanted(version)
            assert len(world.in_state("ready", version.name)) == wanted
        shown = [one.revision for one in world.in_state("ended") if one.failed]
        assert len(shown) == len(set(shown)), "at most one that failed of each version"
        assert len(world.in_state("ready")) + len(shown) == len(world.replicas)


Accidents.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAccidents = pytest.mark.filterwarnings("error")(Accidents.TestCase)
