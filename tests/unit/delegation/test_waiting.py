"""Who waits for room is tried again by news that may help, and by no other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cnet.delegation.messages import Assign, Refuse
from cnet.model.lifecycle import Phase
from cnet.model.resources import Resources
from tests.unit.delegation.world import Node, Task
from tests.unit.scheduler.nodes import node, spec

FAR = ("suqian", "changzhou", "xuzhou")


def cores(number: int) -> Resources:
    return Resources(cpu=number * 1_000)


class Owner(Node):
    """Notes who is looked for a place for."""

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[str] = []
        choose = self.coordinator.choose

        def noting(job: Task) -> str | None:
            self.tried.append(job.id)
            return choose(job)

        self.coordinator.choose = noting  # type: ignore[method-assign]
        self._seq = count(1)

    def tell(self, node_id: str, free: int, **about: Any) -> int:
        """News of a node; returns the number of its state."""
        seq = next(self._seq)
        known = node(node_id, capacity=cores(8), available=cores(free), seq=seq, **about)
        self.coordinator.node_changed(node_id, known)
        self.turn()
        return seq

    def submit(self, job_id: str, wanted: int, **fields: Any) -> Task:
        job = Task(job_id, spec(cores(wanted), **fields))
        self.known[job_id] = job
        self.coordinator.place(job)
        self.turn()
        self.sync()
        return job

    def retried(self) -> list[str]:
        """Who was looked for a place for since the last question."""
        tried, self.tried = self.tried, []
        return tried

    def waiting(self) -> Iterable[Task]:
        return (
            job
            for job in self.known.values()
            if job.status.phase == Phase.PENDING and job.status.host is None
        )


def test_news_that_cannot_help_costs_no_attempt() -> None:
    owner = Owner()
    owner.tell("suqian", 1)
    owner.submit("big", 4)
    owner.submit("huge", 6)
    assert owner.retried() == ["big", "huge"]
    owner.tell("suqian", 2)
    owner.tell("suqian", 0)
    owner.tell("suqian", 3)
    owner.tell("changzhou", 8, draining=True)
    assert owner.retried() == []
    owner.tell("suqian", 5)
    assert owner.retried() == ["big"]
    assert owner.known["big"].status.host == "suqian"
    assert owner.known["huge"].status.reason == "no_capacity"


def test_a_hundred_of_one_shape_cost_one_attempt() -> None:
    owner = Owner()
    owner.tell("suqian", 1)
    for number in range(100):
        owner.submit(f"w{number}", 2)
    assert owner.retried() == ["w0"]
    assert all(job.status.reason == "no_capacity" for job in owner.known.values())
    owner.tell("suqian", 4)
    assert owner.retried() == ["w0", "w1", "w2"]


def test_news_of_what_may_be_ended_helps_who_may_end_it() -> None:
    owner = Owner()
    owner.tell("suqian", 0)
    owner.submit("low", 2)
    owner.submit("high", 2, priority=5)
    owner.retried()
    owner.tell("suqian", 0, preemptible=((5, cores(4)),))
    assert owner.retried() == []
    owner.tell("suqian", 0, preemptible=((0, cores(4)),))
    assert owner.retried() == ["high"]
    assert owner.known["high"].status.host == "suqian"
    assert owner.known["low"].status.host is None


def test_who_is_refused_by_a_node_holds_up_nobody_else() -> None:
    owner = Owner()
    owner.tell("suqian", 0)
    first = owner.submit("first", 4)
    owner.submit("second", 4)
    seq = owner.tell("suqian", 4)
    assert first.status.host == "suqian"
    owner.retried()
    refusal = Refuse(
        id="first", k=1, reason="port 9000 is taken", lasting=False, node_version=(1, seq)
    )
    owner.hear(refusal, "suqian")
    assert owner.known["second"].status.host == "suqian"
    assert first.status.host is None
    assert "port 9000 is taken" in str(first.status.detail)


def test_a_node_that_refused_is_asked_again_when_it_looks_different() -> None:
    owner = Owner()
    seq = owner.tell("suqian", 4)
    job = owner.submit("w", 4)
    # Meanwhile somebody else's job came there, and ended: the owner will never see that.
    owner.hear(
        Refuse(id="w", k=1, reason="cpu short", lasting=False, node_version=(1, seq + 1)), "suqian"
    )
    assert job.status.host is None
    owner.retried()
    next(owner._seq)
    owner.tell("suqian", 4)
    assert owner.retried() == ["w"]
    assert job.status.host == "suqian"


def test_nobody_is_asked_again_who_will_never_take_it() -> None:
    owner = Owner()
    owner.tell("suqian", 4)
    job = owner.submit("w", 4)
    owner.hear(Refuse(id="w", k=1, reason="no file", lasting=True, node_version=(1, 1)), "suqian")
    owner.retried()
    owner.tell("suqian", 4)
    owner.tell("suqian", 4)
    assert owner.retried() == []
    owner.tell("suqian", 4, incarnation=2)
    assert owner.retried() == ["w"]
    assert job.status.host == "suqian"


def test_why_it_waits_is_told_anew() -> None:
    owner = Owner()
    owner.tell("suqian", 1)
    job = owner.submit("w", 4)
    assert job.status.detail == "suqian: cpu 3 cores short"
    owner.tell("suqian", 2)
    owner.coordinator.tick()
    assert job.status.detail == "suqian: cpu 2 cores short"


class News(RuleBasedStateMachine):
    """Whatever comes in whatever order: nobody waits who would find a place if he were tried."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = Owner()
        self.numbers = count()
        self.seqs: dict[str, int] = {}

    @rule(
        node_id=st.sampled_from(FAR),
        free=st.integers(0, 8),
        draining=st.booleans(),
        reachable=st.booleans(),
        preemptible=st.integers(0, 2),
        label=st.sampled_from(["x", "y"]),
    )
    def tell(
        self,
        node_id: str,
        free: int,
        draining: bool,
        reachable: bool,
        preemptible: int,
        label: str,
    ) -> None:
        self.seqs[node_id] = self.owner.tell(
            node_id,
            free,
            draining=draining,
            reachable=reachable,
            labels={"zone": label},
            preemptible=((0, cores(preemptible)),) if preemptible else (),
        )

    @rule(node_id=st.sampled_from(FAR))
    def forget(self, node_id: str) -> None:
        self.owner.coordinator.node_changed(node_id, None)
        self.owner.turn()

    @rule(wanted=st.integers(1, 4), priority=st.integers(0, 1), zone=st.sampled_from(["", "x"]))
    def submit(self, wanted: int, priority: int, zone: str) -> None:
        affinity = [{"node_labels": {"zone": zone}}] if zone else []
        name = f"w{next(self.numbers)}"
        self.owner.submit(name, wanted, priority=priority, affinity=affinity)

    def given(self) -> list[Task]:
        """Jobs that nodes have been asked to run and have not answered."""
        return [job for job in self.owner.known.values() if job.status.host is not None]

    @precondition(lambda self: self.given())
    @rule(data=st.data(), ahead=st.integers(-1, 2), lasting=st.booleans())
    def refuse(self, data: st.DataObject, ahead: int, lasting: bool) -> None:
        job = data.draw(st.sampled_from(self.given()))
        host = str(job.status.host)
        version = (1, max(0, self.seqs.get(host, 0) + ahead))
        refusal = Refuse(
            id=job.id,
            k=job.status.assignment,
            reason="not now",
            lasting=lasting,
            node_version=version,
        )
        self.owner.hear(refusal, host)
        self.owner.sync()

    @precondition(lambda self: any(True for _ in self.owner.waiting()))
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.owner.waiting())))
        self.owner.coordinator.discard(job)
        job.status = replace(job.status, phase=Phase.STOPPED)

    @rule()
    def tick(self) -> None:
        self.owner.coordinator.tick()
        self.owner.turn()

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        for job in self.owner.waiting():
            assert self.owner.coordinator.choose(job) is None
            assert job.status.reason == "no_capacity"

    def teardown(self) -> None:
        assert all(isinstance(message, Assign) for message in self.owner.sent)


TestNews = News.TestCase
