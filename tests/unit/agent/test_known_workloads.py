"""Whose containers may be there: the executor removes those of all others."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from cnet.agent.containers import KnownWorkloads
from cnet.model.lifecycle import Phase
from tests.unit.manager.scripted import bench

pytestmark = pytest.mark.anyio


async def test_those_that_hold_room(tmp_path: Path) -> None:
    """What is left of one that has ended, or was never started, is swept."""
    async with bench(tmp_path) as it:
        known = KnownWorkloads()
        with anyio.move_on_after(0.01):  # before that nothing may be swept
            pytest.fail(f"told too early: {await known()}")
        known.follow(it.manager)
        name = await it.submit()
        assert await known() == {name}
        it.executor.runs[f"{name}.1"].end(0)
        await it.until(name, Phase.COMPLETED)
        assert await known() == set()
        await it.manager.restart(name)
        await it.until(name, Phase.RUNNING)
        assert await known() == {name}
