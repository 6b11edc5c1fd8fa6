"""A request that was begun outside of a task is told how its first wait ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from cnet.gateway.transport import _begun

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Waiting:
    """Waits for a future, then for the loop; says how both ended."""

    def __init__(self) -> None:
        self.future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.seen: list[str] = []
        self.rest = _begun(self._run())

    async def _run(self) -> None:
        try:
            self.seen.append(await self.future)
        except ValueError as error:
            self.seen.append(f"failed: {error}")
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        await asyncio.sleep(0)
        self.seen.append("went on")

    def task(self) -> asyncio.Task[None]:
        assert self.rest is not None

        async def whole(rest: Coroutine[Any, Any, None]) -> None:
            await rest

        return asyncio.get_running_loop().create_task(whole(self.rest))


async def test_a_result() -> None:
    waiting = Waiting()
    task = waiting.task()
    waiting.future.set_result("done")
    await task
    assert waiting.seen == ["done", "went on"]


async def test_an_error_is_raised_where_it_was_waited_for() -> None:
    waiting = Waiting()
    task = waiting.task()
    waiting.future.set_exception(ValueError("no"))
    await task
    assert waiting.seen == ["failed: no", "went on"]


async def test_a_cancellation_is_one() -> None:
    waiting = Waiting()
    task = waiting.task()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiting.seen == ["cancelled"]
