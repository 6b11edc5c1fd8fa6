"""Agents as a user starts them: options, single-dash options, tokens, killed and restarted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnet._support.ports import free_ports
from cnet.client import AgentClient, JsonObject
from cnet.errors import AuthError
from tests.support.agents import AgentProcess, start_agent, wait_until


@pytest.fixture
def clean_environ(tmp_path: Path) -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CNET_")}
    return environ | {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}


def cnet(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cnet", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_single_dash_config_as_in_the_seeds(tmp_path: Path, clean_environ: dict[str, str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"agent: {{node_id: seed, port: 0, data_dir: {tmp_path / 'data'}}}\n")
    program = Path(sys.executable).with_name("cnet-agent")
    url_file = tmp_path / "url"
    process = subprocess.Popen(
        [program, "-config", str(config), "-url-file", str(url_file), "-log-level=warn"],
        env=clean_environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until(lambda: url_file.exists() or process.poll() is not None, timeout_s=30)
        url = url_file.read_text().strip()
        with AgentClient(url) as client:
            assert client.health()["node_id"] == "seed"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert f"cnet agent seed listening on {url}" in out
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--port", "70000"], 2, "port"),
        (["--log-level", "loud"], 2, "log-level"),
        (["--config", "/nowhere.yaml"], 2, "/nowhere.yaml"),
        (["--address", "0.0.0.0"], 2, "cnet init"),
    ],
)
def test_unusable_options_are_refused_with_a_sentence(
    tmp_path: Path, clean_environ: dict[str, str], arguments: list[str], code: int, complaint: str
) -> None:
    folder = str(tmp_path / "data")
    done = cnet(clean_environ, "agent", "--port", "0", "--data-dir", folder, *arguments)
    assert done.returncode == code, done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(tmp_path: Path, clean_environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cnet(
            clean_environ, "agent", "--port", str(port), "--data-dir", str(tmp_path / "data")
        )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: agent.port: {port} is in use on 127.0.0.1;")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def guarded(tmp_path: Path, clean_environ: dict[str, str]) -> Iterator[AgentProcess]:
    """An agent on all addresses, with the token that `cnet init` made."""
    assert cnet(clean_environ, "init").returncode == 0
    token = (tmp_path / "xdg" / "cnet" / "token").read_text().strip()
    running = start_agent(tmp_path, token=token, agent={"address": "0.0.0.0"})
    yield running
    running.stop()


def test_token_of_init_opens_a_guarded_agent(
    guarded: AgentProcess, tmp_path: Path, clean_environ: dict[str, str]
) -> None:
    url = f"http://127.0.0.1:{guarded.url.rpartition(':')[2]}"
    assert cnet(clean_environ, "--agent", url, "ps").returncode == 0
    stranger = clean_environ | {"XDG_CONFIG_HOME": str(tmp_path / "elsewhere")}
    done = cnet(stranger, "--agent", url, "ps")
    assert done.returncode == 5
    assert done.stderr.startswith("error: ")
    wrong = cnet(stranger | {"CNET_TOKEN": "wrong"}, "--agent", url, "run", "--", "true")
    assert wrong.returncode == 5
    assert guarded.token is not None
    given = stranger | {"CNET_TOKEN": guarded.token}
    assert cnet(given, "--agent", url, "ps").returncode == 0
    with AgentClient(url) as client, pytest.raises(AuthError):
        client.list()
    assert guarded.token not in guarded.log()


def test_waiting_outlives_a_killed_and_restarted_agent(tmp_path: Path) -> None:
    agent = start_agent(tmp_path, agent={"port": free_ports(1)[0]})
    try:
        marker = tmp_path / "go"
        script = f"until [ -e {marker} ]; do sleep 0.05; done; exit 3"
        workload = agent.client.submit(
            {"name": "w", "type": "process", "config": {"command": "sh", "args": ["-c", script]}}
        )
        looked = threading.Event()
        seen: list[JsonObject] = []

        def has_ended(now: JsonObject) -> bool:
            looked.set()
            return "exit_code" in now

        with AgentClient(agent.url) as patient:
            waiter = threading.Thread(
                target=lambda: seen.append(
                    patient.wait_for(workload["id"], until=has_ended, timeout=60)
                )
            )
            waiter.start()
            assert looked.wait(60)
            agent.kill()
            agent.restart()
            assert agent.client.get(workload["id"])["process_pid"] == workload["process_pid"]
            marker.touch()
            waiter.join(60)
        assert [each["exit_code"] for each in seen] == [3]
    finally:
        agent.stop()


def test_support_notices_what_an_agent_leaves_behind(tmp_path: Path) -> None:
    """The check that the other tests rely on can fail."""
    agent = start_agent(tmp_path)
    stray = subprocess.Popen(
        ["sleep", "600"], env=os.environ | {"CNET_TEST_AGENT": agent.mark}, cwd="/"
    )
    try:
        assert stray.pid in {process.pid for process in agent.processes()}
    finally:
        stray.kill()
        stray.wait()
    agent.stop()
    assert agent.processes() == []
