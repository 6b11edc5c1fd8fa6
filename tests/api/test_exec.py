"""Commands inside processes: within their limits, in their surroundings, and ended with them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnet.supervision.procfs import read_bytes
from tests.support.agents import AgentProcess, start_agent, wait_until
from tests.support.execs import answer, ask, converse, heard, living, opened, use_terminal

MIB = 1024**2


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    running = start_agent(tmp_path_factory.mktemp("agent"))
    try:
        yield running
    except BaseException:
        running.discard()
        raise
    running.stop()


@pytest.fixture
def running(agent: AgentProcess, tmp_path: Path) -> Iterator[dict[str, Any]]:
    config = {
        "command": "sleep",
        "args": ["600"],
        "env": {"COLOUR": "blue"},
        "secret_env": {"KEY": "hidden"},
        "working_dir": str(tmp_path),
    }
    made = agent.client.submit(
        {
            "name": "p",
            "type": "process",
            "config": config,
            "requirements": {"memory": 64 * MIB},
            "stop_grace_s": 0,
        }
    )
    assert made["status"] == "running", made
    yield made
    agent.client.delete(made["id"])


def test_it_has_what_the_process_has(
    agent: AgentProcess, running: dict[str, Any], tmp_path: Path
) -> None:
    script = "echo $COLOUR $KEY $A; pwd; cat; echo no >&2; exit 3"
    said = answer(agent, running, command=["sh", "-c", script], env={"A": "b c"}, stdin="given")
    assert said["stdout"] == f"blue hidden b c\n{tmp_path}\ngiven"
    assert (said["stderr"], said["exit_code"]) == ("no\n", 3)
    elsewhere = answer(agent, running, command="pwd", working_dir="/")
    assert elsewhere["stdout"] == "/\n"
    killed = answer(agent, running, command=["sh", "-c", "kill -9 $$"])
    assert killed["exit_code"] == 137


def test_it_is_in_the_control_groups_of_the_run(
    agent: AgentProcess, running: dict[str, Any]
) -> None:
    if running["limits"]["memory"] == "rlimit_data":
        pytest.skip("no control groups are permitted here")
    of_run = read_bytes(f"/proc/{running['pid']}/cgroup").decode()
    assert answer(agent, running, command="cat /proc/self/cgroup")["stdout"] == of_run
    eater = "a = bytearray(200 << 20)"
    assert answer(agent, running, command=["python3", "-c", eater])["exit_code"] == 137


def test_another_user_and_one_that_is_none(agent: AgentProcess, running: dict[str, Any]) -> None:
    unknown = ask(agent, running, command="id", user="nobody-of-that-name")
    assert (unknown.status_code, unknown.json()["field"]) == (422, "user")
    if os.geteuid() == 0:
        assert (
            answer(agent, running, command="id -un", user="nobody", working_dir="/")["stdout"]
            == "nobody\n"
        )


def test_what_cannot_be_run(agent: AgentProcess, running: dict[str, Any]) -> None:
    for request in ({"command": "no-such-program"}, {"command": "ls", "working_dir": "/nowhere"}):
        reply = ask(agent, running, **request)
        assert (reply.status_code, reply.json()["error"]) == (422, "exec_failed"), reply.text


def test_a_conversation(agent: AgentProcess, running: dict[str, Any]) -> None:
    converse(agent, running)


def test_a_terminal(agent: AgentProcess, running: dict[str, Any]) -> None:
    use_terminal(agent, running)


@pytest.mark.parametrize("how", ["leaves", "agent dies", "run ends"])
def test_nothing_of_it_is_left(agent: AgentProcess, running: dict[str, Any], how: str) -> None:
    mark = f"{running['id']} {how}"
    # Deaf, in a session of its own, and with its parent gone.
    script = f"trap '' HUP TERM; (setsid sh -c 'sleep 600; echo {mark}' &); echo ready; sleep 600"
    with opened(agent, running["id"], command=["sh", "-c", script]) as socket:
        heard(socket, until=b"ready")
        wait_until(lambda: len(living(mark)) >= 2, timeout_s=30)
        if how == "agent dies":
            agent.kill()
        elif how == "run ends":
            agent.client.stop(running["id"])
            assert heard(socket)[0] == {"exit_code": 137}
    wait_until(lambda: not living(mark), timeout_s=30, what=lambda: str(living(mark)))
    if how == "agent dies":
        agent.restart()
        assert agent.client.get(running["id"])["status"] == "running"


def test_what_it_leaves_behind_ends_with_it(agent: AgentProcess, running: dict[str, Any]) -> None:
    mark = f"left by {running['id']}"
    script = f"setsid sh -c 'sleep 600; echo {mark}' & echo {mark}"
    assert answer(agent, running, command=["sh", "-c", script])["exit_code"] == 0
    assert not living(mark)
