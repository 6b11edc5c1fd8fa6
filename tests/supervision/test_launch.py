"""Starting runs: what comes back from them, and what keeps them from starting."""

from __future__ import annotations

import json
import os
import pwd
import signal
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from cnet.errors import ConflictError, ExecutionError, SpecError
from cnet.supervision import RunExit, tail
from tests.supervision.site import Site, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops watch pidfds and sockets by themselves: both must work."""
    return "asyncio", {"use_uvloop": request.param}


async def test_exit_codes_and_signals_are_told_apart(site: Site) -> None:
    async with site.supervisor() as supervisor:
        for script, code, number in (
            ("exit 0", 0, None),
            ("exit 7", 7, None),
            ("exit 143", 143, None),
            ("kill -15 $$", None, 15),
            ("kill -9 $$", None, 9),
        ):
            spec = site.script(script)
            run = await supervisor.launch(spec)
            ended = await run.wait()
            assert (ended.exit_code, ended.signal) == (code, number), script
            assert not ended.stopped
            assert not ended.lost
            assert ended.started_at is not None
            assert ended.started_at <= ended.ended_at
            assert await supervisor.attach(spec.workload_id, spec.attempt) == ended


async def test_a_run_sees_its_own_environment_folder_and_ids(site: Site, tmp_path: Path) -> None:
    spec = replace(site.spec("sh", "-c", "env; pwd; echo oops >&2"), cwd=str(tmp_path))
    spec = replace(spec, env={**spec.env, "GREETING": "你好"})
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(spec)
        await run.wait()
        lines = tail(supervisor.log_path(spec.workload_id), 0)
    assert f"CNET_RUN_ID={spec.run_id}" in lines
    assert f"CNET_WORKLOAD_ID={spec.workload_id}" in lines
    assert "GREETING=你好" in lines
    assert str(tmp_path) in lines
    assert "oops" in lines
    assert not [line for line in lines if line.startswith("PYTHON")]


@pytest.mark.parametrize("ignored", [(), (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)])
async def test_signals_are_at_their_defaults_in_the_command(
    site: Site, ignored: tuple[signal.Signals, ...]
) -> None:
    """Also where the agent was started with some ignored, as `nohup` and a shell's `&` do."""
    spec = site.spec("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    try:
        async with site.supervisor() as supervisor:
            await (await supervisor.launch(spec)).wait()
            lines = tail(supervisor.log_path(spec.workload_id), 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    # 32 and 33 belong to glibc, whose posix_spawn (GNU make uses it) leaves them ignored, and whose
    # sigaction lets nobody put them back.
    own = 1 << 31 | 1 << 32
    assert [int(line.split()[1], 16) & ~own for line in lines] == [0, 0]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("no-such-program",), ["no-such-program", "not found in PATH"]),
        (("/no/such/file",), ["/no/such/file", "No such file"]),
        (("/etc/passwd",), ["/etc/passwd", "Permission denied"]),
        (("/",), ["'/'", "Permission denied"]),
    ],
)
async def test_what_cannot_be_executed_is_named(
    site: Site, argv: tuple[str, ...], words: list[str]
) -> None:
    spec = site.spec(*argv)
    async with site.supervisor() as supervisor:
        with pytest.raises(ExecutionError) as caught:
            await supervisor.launch(spec)
        assert caught.value.code == "exec_failed"
        for word in words:
            assert word in caught.value.message
        ended = await supervisor.attach(spec.workload_id, spec.attempt)
        assert isinstance(ended, RunExit)
        assert (ended.reason, ended.exit_code, ended.signal) == ("exec_failed", None, None)


async def test_a_missing_interpreter_and_a_missing_folder_are_named(
    site: Site, tmp_path: Path
) -> None:
    script = tmp_path / "tool"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    async with site.supervisor() as supervisor:
        with pytest.raises(ExecutionError, match="interpreter"):
            await supervisor.launch(site.spec(str(script)))
        with pytest.raises(ExecutionError, match="working directory '/no/such/folder'"):
            await supervisor.launch(replace(site.spec("true"), cwd="/no/such/folder"))


async def test_an_attempt_is_launched_once(site: Site) -> None:
    spec = site.script("exit 0")
    async with site.supervisor() as supervisor:
        await (await supervisor.launch(spec)).wait()
        with pytest.raises(ConflictError, match="launched before"):
            await supervisor.launch(spec)


async def test_what_was_never_launched_is_none(site: Site) -> None:
    async with site.supervisor() as supervisor:
        assert await supervisor.attach("nobody", 1) is None


async def test_many_at_once_all_end_and_all_are_recorded(site: Site) -> None:
    codes: dict[str, int | None] = {}

    async with site.supervisor() as supervisor:

        async def one(number: int) -> None:
            spec = site.script(f"exit {number % 250}")
            run = await supervisor.launch(spec)
            codes[str(number)] = (await run.wait()).exit_code

        async with anyio.create_task_group() as group:
            for number in range(120):
                group.start_soon(one, number)
    assert codes == {str(number): number % 250 for number in range(120)}


async def test_cancelling_a_wait_leaves_the_run_alone_and_others_still_hear(site: Site) -> None:
    spec = site.script("read line < /dev/zero; sleep 60")
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(site.spec("sleep", "60"))
        with anyio.move_on_after(0.05) as scope:
            await run.wait()
        assert scope.cancelled_caught
        heard: list[RunExit] = []

        async def listen() -> None:
            heard.append(await run.wait())

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            group.start_soon(listen)
            await run.stop()
        assert len(heard) == 2
        assert heard[0] == heard[1] == await run.wait()
        assert heard[0].stopped
    assert spec.attempt == 1


async def test_usage_counts_the_whole_tree(site: Site) -> None:
    async with site.supervisor() as supervisor:
        run = await supervisor.launch(site.script("sh -c 'while :; do :; done' & sleep 60 & wait"))
        await until(lambda: run.usage().processes == 3 and run.usage().cpu_s > 0.05)
        assert run.usage().rss_bytes > 1_000_000
        await run.stop(grace_s=0)
        await run.wait()
        assert run.usage().processes == 0


async def test_run_directory_is_private_and_the_record_tells_who(site: Site) -> None:
    async with site.supervisor() as supervisor:
        spec = site.spec("sleep", "60")
        run = await supervisor.launch(spec)
        directory = supervisor.workload_dir(spec.workload_id) / "1"
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "spec.json").stat().st_mode & 0o777 == 0o600
        record = json.loads((directory / "shim.json").read_text())
        assert (record["pid"], record["shim_pid"]) == (run.pid, run.shim_pid)
        assert os.getsid(run.pid) == run.pid
        await run.stop()
        await run.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change to another user")
async def test_run_as_another_user(site: Site) -> None:
    nobody = pwd.getpwnam("nobody")
    spec = replace(site.script("id -u; id -g; id -G; cat /proc/self/status"), run_as="nobody")
    async with site.supervisor() as supervisor:
        await (await supervisor.launch(spec)).wait()
        lines = tail(supervisor.log_path(spec.workload_id), 0)
    groups = " ".join(map(str, os.getgrouplist("nobody", nobody.pw_gid)))
    assert lines[:3] == [str(nobody.pw_uid), str(nobody.pw_gid), groups]


async def test_unusable_fields_are_named(site: Site) -> None:
    good = site.script("exit 0")
    async with site.supervisor() as supervisor:
        for field, bad in (
            ("run_as", replace(good, run_as="no-such-user")),
            ("workload_id", replace(good, workload_id="../escape")),
            ("argv", replace(good, argv=())),
            ("argv", replace(good, argv=("true", "a\0b"))),
            ("env", replace(good, env={"A=B": "c"})),
            ("grace_s", replace(good, grace_s=-1.0)),
        ):
            with pytest.raises(SpecError) as caught:
                await supervisor.launch(bad)
            assert caught.value.field == field
