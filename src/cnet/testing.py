"""The contract suite for executor plug-ins: subclass it in your tests, and pytest runs it.

    class TestMyExecutor(ExecutorContract):
        def make_executor(self, context):
            return MyExecutor(context.supervisor, context.logs)

        def long_config(self, folder):
            return {"command": "sleep", "args": ["60"]}

        def quick_config(self, folder, exit_code):
            return {"command": "sh", "args": ["-c", f"exit {exit_code}"]}

A development tool: it needs pytest with the anyio plug-in, which the agent does not. It checks the
promises of `cnet.executors.base` against real runs below pytest's `tmp_path` and must never reach
into an executor's inside. "Restart" means another supervisor on the same directory, as after a
crash of the agent; nothing may be lost by it. For failures that explain themselves, say
`pytest.register_assert_rewrite("cnet.testing")` in a conftest before the first import.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from pydantic import BaseModel, ValidationError

from cnet._support import clock
from cnet._support.ports import free_ports
from cnet.errors import ExecutionError
from cnet.executors.base import (
    EnforcesLease,
    Executor,
    KeepsLogs,
    PublishesPorts,
    Run,
    ServesEndpoint,
    Task,
    WorksBeside,
)
from cnet.executors.catalog import ExecutorContext
from cnet.executors.commands import LogLimits
from cnet.model.workload import WorkloadSpec
from cnet.supervision import RunExit, Supervisor, lease_now

__all__ = ["ExecutorContract"]

READY_S = 30.0
END_S = 20.0


@pytest.mark.anyio
class ExecutorContract:
    """What every executor promises. Override the first two methods, and what else applies."""

    def make_executor(self, context: ExecutorContext) -> Executor:
        """The executor under test, as an entry point of `cnet.executors` makes it."""
        raise NotImplementedError

    def long_config(self, folder: Path) -> dict[str, Any]:
        """`config` of a workload that runs for a minute at least, or serves."""
        raise NotImplementedError

    def quick_config(self, folder: Path, exit_code: int) -> dict[str, Any] | None:
        """`config` of one that ends at once with `exit_code`; None if none of the kind does."""
        return None

    def unstartable_config(self, folder: Path) -> dict[str, Any] | None:
        """`config` that is accepted and then cannot be started; None if there is none."""
        return None

    # --- description ---------------------------------------------------------------------------

    async def test_it_has_a_kind_and_a_config_model(self, tmp_path: Path) -> None:
        async with self._agent(tmp_path) as executor:
            assert executor.kind and executor.kind == executor.kind.strip()
            assert issubclass(executor.config_model, BaseModel)
            executor.config_model.model_validate(self.long_config(tmp_path))

    async def test_unknown_fields_are_refused(self, tmp_path: Path) -> None:
        async with self._agent(tmp_path) as executor:
            config = self.long_config(tmp_path) | {"no_such_field_": 1}
            with pytest.raises(ValidationError):
                executor.config_model.model_validate(config)

    async def test_prepare_changes_nothing(self, tmp_path: Path) -> None:
        config = self.long_config(tmp_path)
        async with self._agent(tmp_path) as executor:
            task = self._task(executor, config)
            before = sorted(tmp_path.rglob("*"))
            for _ in range(2):
                await executor.prepare(task.config)
            assert sorted(tmp_path.rglob("*")) == before
            assert await executor.attach(task) is None

    # --- runs ----------------------------------------------------------------------------------

    async def test_a_run_has_a_pid_a_start_and_a_usage(self, tmp_path: Path) -> None:
        async with self._long_run(tmp_path) as (_, _, run):
            assert run.pid is None or Path(f"/proc/{run.pid}").exists()
            assert abs(run.started_at - clock.now()) < 3600
            assert all(isinstance(how, str) for how in run.limits.values())
            used = await anyio.to_thread.run_sync(run.usage)
            with anyio.fail_after(END_S):
                while not used.rss_bytes:  # the kernel counts pages in batches
                    await anyio.sleep(0.01)
                    used = await anyio.to_thread.run_sync(run.usage)
            assert used.processes >= 1 and used.cpu_s >= 0

    async def test_several_may_wait_and_learn_the_same(self, tmp_path: Path) -> None:
        async with self._long_run(tmp_path) as (_, _, run):
            ends: list[RunExit] = []

            async def wait() -> None:
                ends.append(await run.wait())

            with anyio.fail_after(END_S):
                async with anyio.create_task_group() as group:
                    for _ in range(3):
                        group.start_soon(wait)
                    await run.stop(grace_s=0.5)
                ends.append(await run.wait())
            assert len(set(ends)) == 1 and len(ends) == 4
            assert ends[0].stopped and not ends[0].lost

    async def test_cancelling_a_wait_leaves_the_run_alone(self, tmp_path: Path) -> None:
        async with self._long_run(tmp_path) as (executor, task, run):
            with anyio.move_on_after(0.05) as scope:
                await run.wait()
            assert scope.cancelled_caught
            found = await executor.attach(task)
            assert not isinstance(found, RunExit) and found is not None

    async def test_stop_is_harmless_when_repeated_and_after_the_end(self, tmp_path: Path) -> None:
        async with self._long_run(tmp_path) as (_, _, run):
            with anyio.fail_after(END_S):
                await run.stop(grace_s=5)
                await run.stop(grace_s=0.2)
                ended = await run.wait()
                await run.stop()
                await run.stop(grace_s=0)
                assert await run.wait() == ended
            assert run.pid is None or not Path(f"/proc/{run.pid}").exists()

    @pytest.mark.parametrize("exit_code", [0, 7])
    async def test_the_exit_code_is_told(self, tmp_path: Path, exit_code: int) -> None:
        config = self._quick(tmp_path, exit_code)
        async with self._agent(tmp_path) as executor:
            task = await self._prepared(executor, config)
            with anyio.fail_after(END_S):
                ended = await (await executor.start(task)).wait()
            assert (ended.exit_code, ended.signal) == (exit_code, None)
            assert not ended.stopped and not ended.lost and ended.reason is None
            assert await executor.attach(task) == ended
            await executor.remove(task.workload_id)

    async def test_a_start_that_fails_leaves_nothing(self, tmp_path: Path) -> None:
        config = self.unstartable_config(tmp_path)
        if config is None:
            pytest.skip("everything of this kind that is accepted can be started")
        async with self._agent(tmp_path) as executor:
            task = await self._prepared(executor, config)
            with pytest.raises(ExecutionError):
                await executor.start(task)
            found = await executor.attach(task)
            assert found is None or isinstance(found, RunExit)
            await executor.remove(task.workload_id)

    # --- restarts of the agent -----------------------------------------------------------------

    async def test_what_was_never_started_is_not_found(self, tmp_path: Path) -> None:
        config = self.long_config(tmp_path)
        async with self._agent(tmp_path) as executor:
            task = self._task(executor, config)
            assert await executor.attach(task) is None
        async with self._agent(tmp_path) as executor:
            assert await executor.attach(task) is None

    async def test_a_run_is_found_again_after_a_restart(self, tmp_path: Path) -> None:
        async with self._agent(tmp_path) as executor:
            task = await self._prepared(executor, self.long_config(tmp_path))
            first = await executor.start(task)
            pid, started_at = first.pid, first.started_at
        async with self._agent(tmp_path) as executor, self._ending(executor, task):
            found = await executor.attach(task)
            assert found is not None and not isinstance(found, RunExit)
            assert (found.pid, found.started_at) == (pid, started_at)
            with anyio.move_on_after(0.05) as scope:
                await found.wait()
            assert scope.cancelled_caught

    async def test_a_stop_outlives_the_agent_that_asked(self, tmp_path: Path) -> None:
        async with self._agent(tmp_path) as executor:
            task = await self._prepared(executor, self.long_config(tmp_path))
            await (await executor.start(task)).stop(grace_s=0.2)
        async with self._agent(tmp_path) as executor:
            ended = await self._end_of(executor, task)
            assert ended.stopped and not ended.lost
            await executor.remove(task.workload_id)

    async def test_an_end_is_found_again_after_a_restart(self, tmp_path: Path) -> None:
        config = self._quick(tmp_path, 7)
        async with self._agent(tmp_path) as executor:
            task = await self._prepared(executor, config)
            await executor.start(task)
        async with self._agent(tmp_path) as executor:
            ended = await self._end_of(executor, task)
            assert (ended.exit_code, ended.lost) == (7, False)
        async with self._agent(tmp_path) as executor:
            assert await executor.attach(task) == ended
            await executor.remove(task.workload_id)

    async def test_attempts_are_apart(self, tmp_path: Path) -> None:
        async with self._long_run(tmp_path) as (executor, task, _):
            assert await executor.attach(replace(task, attempt=task.attempt + 1)) is None

    # --- clearing up ---------------------------------------------------------------------------

    async def test_remove_leaves_no_trace_and_may_be_repeated(self, tmp_path: Path) -> None:
        async with self._agent(tmp_path) as executor:
            config = self.long_config(tmp_path)
            before = sorted(tmp_path.rglob("*"))
            task = await self._prepared(executor, config)
            run = await executor.start(task)
            with anyio.fail_after(END_S):
                await run.stop(grace_s=0.2)
                await run.wait()
            for _ in range(2):
                await executor.remove(task.workload_id)
            assert await executor.attach(task) is None
            mine = [path for path in tmp_path.rglob("*") if task.workload_id in str(path)]
            assert mine == [], f"left: {mine}; before: {before}"
            await executor.remove(str(uuid.uuid4()))

    # --- abilities -----------------------------------------------------------------------------

    async def test_a_log_is_kept_per_workload(self, tmp_path: Path) -> None:
        async with self._agent(tmp_path) as executor:
            if not isinstance(executor, KeepsLogs):
                pytest.skip("keeps no logs")
            one, other = str(uuid.uuid4()), str(uuid.uuid4())
            assert executor.log_path(one) == executor.log_path(one) != executor.log_path(other)
            assert not executor.log_path(one).exists()

    async def test_a_lease_ends_the_run_unless_it_is_renewed(self, tmp_path: Path) -> None:
        async with self._agent(tmp_path) as executor:
            task = self._leased(executor, tmp_path, lease_s=3.0)
            async with self._ending(executor, task):
                begun = lease_now()
                run = await executor.start(task)
                run.renew(begun + 3.5)
                run.renew(begun + 0.5)
                with anyio.fail_after(END_S):
                    ended = await run.wait()
                assert lease_now() >= begun + 3.5, "a renewal was not heeded, or shortened it"
                assert (ended.reason, ended.lost) == ("lease_expired", False)

    async def test_a_lease_ends_the_run_without_the_agent(self, tmp_path: Path) -> None:
        async with self._agent(tmp_path) as executor:
            task = self._leased(executor, tmp_path, lease_s=1.0)
            run = await executor.start(task)
        with anyio.fail_after(END_S):
            while run.pid and Path(f"/proc/{run.pid}").exists():  # noqa: ASYNC110  not ours to tell
                await anyio.sleep(0.01)
        async with self._agent(tmp_path) as executor:
            ended = await self._end_of(executor, task)
            assert (ended.reason, ended.stopped, ended.lost) == ("lease_expired", False, False)
            await executor.remove(task.workload_id)

    async def test_a_lease_that_is_over_lets_nothing_start(self, tmp_path: Path) -> None:
        async with self._agent(tmp_path) as executor:
            task = self._leased(executor, tmp_path, lease_s=-1.0)
            with pytest.raises(ExecutionError):
                await executor.start(task)
            found = await executor.attach(task)
            assert found is None or isinstance(found, RunExit)
            await executor.remove(task.workload_id)

    async def test_an_endpoint_names_the_port_it_was_given(self, tmp_path: Path) -> None:
        async with self._agent(tmp_path) as executor:
            serving = _serving(executor)
            task = self._task(executor, self.long_config(tmp_path))
            assert 0 <= serving.wanted_port(task.config) <= 65535
            assert serving.host(task.config)
            assert serving.endpoint(task).startswith("http")
            assert f":{task.port}" in serving.endpoint(task)

    async def test_probe_tells_its_own_run_from_a_stranger(self, tmp_path: Path) -> None:
        async with self._long_run(tmp_path) as (executor, task, run):
            serving = _serving(executor)
            await _until_ready(serving, task)
            with pytest.raises(ExecutionError):  # another run's task, the same port
                await serving.probe(replace(task, attempt=task.attempt + 1), 5)
            with anyio.fail_after(END_S):
                await run.stop(grace_s=5)
                await run.wait()
            with pytest.raises(ExecutionError):  # nobody there
                await serving.probe(task, 5)

    async def test_probe_is_not_kept_waiting(self, tmp_path: Path) -> None:
        """One that accepts and never answers fails the probe in the time it was given."""
        async with self._agent(tmp_path) as executor:
            serving = _serving(executor)
            task = self._task(executor, self.long_config(tmp_path))
            host = serving.host(task.config)
            async with _mute_listeners(host, task.port or 0):
                with anyio.fail_after(5), pytest.raises(ExecutionError):
                    await serving.probe(task, 0.2)

    # --- tools ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def _agent(self, folder: Path) -> AsyncGenerator[Executor]:
        """An executor with a supervisor at work; leaving it is the end of the agent."""
        supervisor = Supervisor(folder / "runs")
        logs = LogLimits(max_bytes=1 << 20, files=2)
        failure: BaseException | None = None
        async with anyio.create_task_group() as group:
            await group.start(supervisor.run)
            try:
                executor = self.make_executor(ExecutorContext(supervisor=supervisor, logs=logs))
                if isinstance(executor, WorksBeside):
                    await group.start(executor.run_beside)
                yield executor
            except BaseException as error:  # noqa: BLE001  raised below: the group would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    @asynccontextmanager
    async def _long_run(self, folder: Path) -> AsyncIterator[tuple[Executor, Task, Run]]:
        async with self._agent(folder) as executor:
            task = await self._prepared(executor, self.long_config(folder))
            async with self._ending(executor, task):
                yield executor, task, await executor.start(task)

    @asynccontextmanager
    async def _ending(self, executor: Executor, task: Task) -> AsyncIterator[None]:
        """Whatever happens inside, the run is ended and removed afterwards."""
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                run = await executor.attach(task)
                if run is not None and not isinstance(run, RunExit):
                    await run.stop(grace_s=0)
                    await run.wait()
                await executor.remove(task.workload_id)

    def _quick(self, folder: Path, exit_code: int) -> dict[str, Any]:
        config = self.quick_config(folder, exit_code)
        if config is None:
            pytest.skip("nothing of this kind ends by itself")
        return config

    def _task(self, executor: Executor, config: dict[str, Any]) -> Task:
        parsed = executor.config_model.model_validate(config)
        port = None
        ports: tuple[int, ...] = ()
        if isinstance(executor, PublishesPorts):
            wanted = executor.wanted_ports(parsed)
            ports = tuple(each.port or free_ports(1, each.host)[0] for each in wanted)
        if isinstance(executor, ServesEndpoint):
            port = executor.wanted_port(parsed) or free_ports(1, executor.host(parsed))[0]
        return Task(
            workload_id=str(uuid.uuid4()),
            attempt=1,
            spec=WorkloadSpec(name="contract", type=executor.kind, config=config),
            config=parsed,
            node_id="contract",
            port=port,
            ports=ports,
        )

    def _leased(self, executor: Executor, folder: Path, *, lease_s: float) -> Task:
        if not isinstance(executor, EnforcesLease):
            pytest.skip("enforces no leases")
        task = self._task(executor, self.long_config(folder))
        return replace(task, lease_until=lease_now() + lease_s)

    async def _prepared(self, executor: Executor, config: dict[str, Any]) -> Task:
        task = self._task(executor, config)
        await executor.prepare(task.config)
        return task

    async def _end_of(self, executor: Executor, task: Task) -> RunExit:
        with anyio.fail_after(END_S):
            found = await executor.attach(task)
            assert found is not None, "a run that was started was not found"
            return found if isinstance(found, RunExit) else await found.wait()


def _serving(executor: Executor) -> ServesEndpoint:
    if not isinstance(executor, ServesEndpoint):
        pytest.skip("serves no endpoint")
    return executor


async def _until_ready(serving: ServesEndpoint, task: Task) -> None:
    with anyio.fail_after(READY_S):
        while True:
            try:
                return await serving.probe(task, 5)
            except ExecutionError:
                await anyio.sleep(0.02)


@asynccontextmanager
async def _mute_listeners(host: str, port: int) -> AsyncIterator[None]:
    """Accept on every address of `host` and never answer."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    listeners = [socket.create_server(address[:2], family=family) for family, *_, address in found]
    try:
        yield
    finally:
        for listener in listeners:
            listener.close()
