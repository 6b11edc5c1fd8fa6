"""An engine that goes away at the moment of a submit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnet.errors import UnreachableError
from cnet.model.lifecycle import Phase
from cnet.model.node import KnownNode, NodeState
from cnet.model.resources import Resources
from cnet.model.workload import WorkloadSpec
from tests.unit.manager.scripted import Bench, ScriptedExecutor, bench

pytestmark = pytest.mark.anyio

SPEC = WorkloadSpec.model_validate({"name": "w", "type": "scripted", "requirements": {"cpu": 1}})


class AwayExecutor(ScriptedExecutor):
    """Needs an engine, which may go while a request is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.absence: str | None = None
        self.goes_at_prepare = False
        self._changed: Callable[[], None] = lambda: None

    def tell(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def become(self, absence: str | None) -> None:
        self.absence = absence
        self._changed()

    async def prepare(self, config: Any) -> None:
        if self.goes_at_prepare:
            raise UnreachableError("it has just gone", code="engine_unreachable")


def other_node_knows_the_kind(it: Bench) -> None:
    """One without room."""
    state = NodeState(
        node_id="other",
        incarnation=1,
        seq=1,
        capacity=Resources(cpu=4000),
        available=Resources(),
        kinds=("scripted",),
    )
    it.manager.coordinator.node_changed("other", KnownNode(state=state, node_type="peer", hops=1))


@pytest.mark.parametrize("known", [True, False], ids=["known", "noticed at the submit"])
async def test_where_no_other_has_one_a_submit_is_refused(tmp_path: Path, known: bool) -> None:
    executor = AwayExecutor()
    async with bench(tmp_path, executor=executor) as it:
        executor.goes_at_prepare = not known
        if known:
            executor.become("gone")
        with pytest.raises(UnreachableError) as refused:
            await it.manager.submit(SPEC)
        assert refused.value.code == "engine_unreachable"
        assert not list(it.manager.workloads())


async def test_what_waits_for_another_node_runs_here_when_the_engine_is_back(
    tmp_path: Path,
) -> None:
    executor = AwayExecutor()
    async with bench(tmp_path, executor=executor) as it:
        other_node_knows_the_kind(it)
        executor.become("gone")
        workload, _ = await it.manager.submit(SPEC)
        assert workload.status.phase == Phase.PENDING
        executor.become(None)
        await it.until(workload.id, Phase.RUNNING)
        assert workload.status.host is None
