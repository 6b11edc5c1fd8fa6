"""Commands inside containers, by all ways that lead there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.working import agent_with, sleeper, spec
from tests.support.agents import AgentProcess, wait_until
from tests.support.engine import Engine
from tests.support.execs import answer, ask, converse, heard, living, opened, use_terminal


@pytest.fixture(scope="module")
def shared_agent(
    tmp_path_factory: pytest.TempPathFactory, shared_engine: Engine
) -> Iterator[AgentProcess]:
    with agent_with(tmp_path_factory.mktemp("agent"), shared_engine) as running:
        yield running


@pytest.fixture
def running(shared_agent: AgentProcess, engine: Engine) -> Iterator[dict[str, Any]]:
    """A container that runs."""
    client = shared_agent.client
    made = client.submit(sleeper(config={"env": {"COLOUR": "blue"}}))
    assert made["status"] == "running", made
    yield made
    client.delete(made["id"])


def test_the_answer_has_all_that_was_said(
    shared_agent: AgentProcess, running: dict[str, Any]
) -> None:
    said = answer(
        shared_agent,
        running,
        command="sh -c 'echo $COLOUR $A; cat; echo no >&2; exit 3'",
        env={"A": "b c"},
        stdin="given\n",
    )
    assert said == {
        "exit_code": 3,
        "stdout": "blue b c\ngiven\n",
        "stderr": "no\n",
        "cut_off": False,
    }
    placed = answer(
        shared_agent, running, command=["sh", "-c", "pwd; id -un"], working_dir="/tmp", user="guest"
    )
    assert placed["stdout"] == "/tmp\nguest\n"
    assert answer(shared_agent, running, command=["sh", "-c", "kill -9 $$"])["exit_code"] == 137
    long = answer(shared_agent, running, command=["dd", "if=/dev/zero", "bs=1M", "count=2"])
    assert len(long["stdout"]) == 1024 * 1024 and long["cut_off"]


def test_a_conversation_over_a_websocket(
    shared_agent: AgentProcess, running: dict[str, Any]
) -> None:
    converse(shared_agent, running)


def test_a_terminal(shared_agent: AgentProcess, running: dict[str, Any]) -> None:
    use_terminal(shared_agent, running)


@pytest.mark.parametrize("tty", [False, True])
def test_whoever_leaves_takes_the_command_along(
    shared_agent: AgentProcess, running: dict[str, Any], tty: bool
) -> None:
    mark = f"echo {running['id']} {tty}"
    script = f"trap '' HUP TERM; {mark}; sleep 600 & wait; {mark}"
    command = ["sh", "-c", script]
    with opened(shared_agent, running["id"], command=command, tty=tty, stdin=True) as socket:
        heard(socket, until=running["id"].encode())
        assert living(mark)
    wait_until(lambda: not living(mark), timeout_s=30, what=lambda: str(living(mark)))
    assert shared_agent.client.usage(running["id"])["processes"] >= 1


def test_an_agent_that_dies_leaves_it_to_the_next(tmp_path: Path, engine: Engine) -> None:
    with agent_with(tmp_path, engine) as agent:
        made = agent.client.submit(sleeper())
        mark = f"echo {made['id']}"
        with opened(
            agent, made["id"], command=["sh", "-c", f"{mark}; sleep 600; {mark}"]
        ) as socket:
            heard(socket, until=made["id"].encode())
            agent.kill()
        assert living(mark)
        agent.restart()
        wait_until(lambda: not living(mark), timeout_s=30)
        assert agent.client.get(made["id"])["status"] == "running"


def test_it_ends_with_its_container(shared_agent: AgentProcess, running: dict[str, Any]) -> None:
    with opened(shared_agent, running["id"], command=["sleep", "600"]) as socket:
        assert json.loads(socket.recv(30)) == {"started": True}
        shared_agent.client.stop(running["id"])
        words, _, _ = heard(socket)
    assert words.get("exit_code") == 137 or words.get("error"), words


@pytest.mark.parametrize(
    ("request_", "status", "field"),
    [
        ({}, 422, "command"),
        ({"command": []}, 422, "command"),
        ({"command": "sh -c 'a"}, 422, "command"),
        ({"command": ["a\0b"]}, 422, "command"),
        ({"command": "ls", "env": {"a=b": "c"}}, 422, "env"),
        ({"command": "ls", "stdin": True}, 422, "stdin"),
        ({"command": "ls", "size": {"rows": 0}}, 422, "size.rows"),
        ({"command": "ls", "colour": "blue"}, 422, "colour"),
    ],
)
def test_bad_requests_name_their_field(
    shared_agent: AgentProcess, running: dict[str, Any], request_: Any, status: int, field: str
) -> None:
    reply = ask(shared_agent, running, **request_)
    assert (reply.status_code, reply.json()["field"]) == (status, field), reply.text


def test_what_cannot_be_run_says_so(
    shared_agent: AgentProcess, engine: Engine, running: dict[str, Any]
) -> None:
    absent = answer(shared_agent, running, command=["/no/such/program"])
    assert absent["exit_code"] in {126, 127} and "no such file" in absent["stdout"]
    unknown = ask(shared_agent, {"id": "00000000-0000-4000-8000-000000000000"}, command="ls")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "not_found")
    ended = shared_agent.client.submit(spec("true"))
    shared_agent.client.wait_for(ended["id"], timeout=60)
    over = ask(shared_agent, ended, command="ls")
    assert (over.status_code, over.json()["error"]) == (409, "wrong_state")
    with opened(shared_agent, ended["id"], command="ls") as socket:
        assert heard(socket)[0]["error"] == "wrong_state"
    with opened(shared_agent, running["id"], colour="blue") as socket:
        assert heard(socket)[0]["error"] == "invalid_field"
    with opened(shared_agent, running["id"], command="cat") as socket:
        socket.send(b"unasked")
        assert heard(socket)[0]["error"] == "malformed_body"
    shared_agent.client.delete(ended["id"])


def test_a_node_may_let_nobody(tmp_path: Path, engine: Engine) -> None:
    with agent_with(tmp_path, engine, agent={"allow_exec": False}) as agent:
        made = agent.client.submit(sleeper())
        reply = ask(agent, made, command="ls")
        assert (reply.status_code, reply.json()["error"]) == (403, "forbidden")
