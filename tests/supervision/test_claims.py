"""The order in which a run is claimed, recorded and begun, which no kill may upset."""

from __future__ import annotations

import os
import signal

import anyio
import pytest

from cnet.supervision import procfs
from cnet.supervision.channel import Channel
from tests.supervision.site import Site, until

pytestmark = pytest.mark.anyio


class Ears:
    """A Listener that only remembers."""

    def __init__(self) -> None:
        self.ready = 0
        self.pidfds: dict[str, int] = {}
        self.started: list[str] = []

    def on_ready(self) -> None:
        self.ready += 1

    def on_forked(self, key: str, pidfd: int | None) -> None:
        assert pidfd is not None
        self.pidfds[key] = pidfd

    def on_started(self, key: str) -> None:
        self.started.append(key)

    def on_refused(self, key: str, sentence: str) -> None:
        pytest.fail(f"{key} was refused: {sentence}")


async def test_the_record_stands_before_the_command_begins(site: Site) -> None:
    async with site.supervisor() as supervisor:
        for _ in range(20):
            spec = site.spec("test", "-e", "")
            record = supervisor.workload_dir(spec.workload_id) / "1" / "shim.json"
            spec = site.spec("test", "-e", str(record), workload_id=spec.workload_id)
            run = await supervisor.launch(spec)
            assert (await run.wait()).exit_code == 0


async def test_a_new_spawner_waits_for_a_shim_that_has_not_claimed_yet(site: Site) -> None:
    """Else the agent would launch again what the slow shim is about to start."""
    directory = site.root / "slow" / "1"
    directory.mkdir(parents=True)
    os.mkfifo(directory / "spec.json")  # opening it holds the shim just before its claim
    first, second = Ears(), Ears()
    channel = await Channel.open(first, root=site.root, cgroups=site.cgroups)
    await until(lambda: first.ready == 1)
    channel.send("slow/1")
    await until(lambda: "slow/1" in first.pidfds)
    os.kill(channel.pid, signal.SIGKILL)
    await channel.died.wait()
    other = await Channel.open(second, root=site.root, cgroups=site.cgroups)
    with anyio.move_on_after(0.5) as scope:
        await until(lambda: second.ready == 1)
    assert scope.cancelled_caught
    signal.pidfd_send_signal(first.pidfds["slow/1"], signal.SIGKILL)
    await until(lambda: second.ready == 1)
    os.close(first.pidfds["slow/1"])
    channel.hang_up()
    await other.close()
    assert procfs.start_time(other.pid) is None


async def test_a_key_asked_for_twice_is_run_once(site: Site) -> None:
    """The second shim finds the claim taken and goes without a word."""
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(site.spec("sleep", "600"))
        shims = len(procfs.children(supervisor.spawner_pid or 0))
        supervisor._keeper.send(run.directory.key)
        supervisor._keeper.send(run.directory.key)
        await (await supervisor.launch(site.script("exit 0"))).wait()
        await until(lambda: len(procfs.children(supervisor.spawner_pid or 0)) == shims)
        assert len(site.pids()) == 1
        await run.stop(grace_s=0)
        ended = await run.wait()
        supervisor._keeper.send(run.directory.key)
        await (await supervisor.launch(site.script("exit 0"))).wait()
        await until(lambda: procfs.children(supervisor.spawner_pid or 0) == [])
        assert site.pids() == []
        assert await supervisor.attach(run.directory.path.parent.name, 1) == ended
