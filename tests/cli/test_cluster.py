"""`cnet cluster` with agents that have no links: what is started, found again, and ended."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnet._support.files import FileLock
from cnet.cli.local import free_ports
from cnet.cli.main import main
from cnet.client import AgentClient
from tests.cli.conftest import Cnet, Result
from tests.support.agents import alive, wait_until
from tests.support.cities import processes_in
from tests.support.traffic import model

MIB = 1024**2

Cluster = Callable[..., Result]


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """Two agents, `a` and `b`."""
    folder = tmp_path / "configs"
    folder.mkdir()
    for name, port in zip("ab", free_ports(2), strict=True):
        settings = {
            "agent": {"node_id": name, "port": port},
            "resources": {"cpu": 1, "gpu": 0, "memory": 256 * MIB, "storage": 256 * MIB},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Cnet:
    """`cnet(*arguments)` in this process, without anything of the user's."""
    for name in list(os.environ):
        if name.startswith("CNET_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))

    def run(*arguments: str) -> Result:
        capfdbinary.readouterr()
        code = main(arguments)
        out, err = capfdbinary.readouterr()
        return Result(code, out.decode(), err.decode())

    return run


@pytest.fixture
def cluster(call: Cnet, tmp_path: Path, configs: Path) -> Iterator[Cluster]:
    """`cluster("up", …)` in a folder of its own; at the end nothing of it may be left."""
    folder = tmp_path / "cluster"

    def run(command: str, *arguments: str) -> Result:
        of_up = ("--config-dir", str(configs)) if command == "up" else ()
        return call("cluster", command, "--dir", str(folder), *of_up, *arguments)

    yield run
    run("down")
    wait_until(lambda: not processes_in(folder), what=lambda: "\n".join(processes_in(folder)))


def by_name(result: Result) -> dict[str, dict[str, Any]]:
    return {each["node_id"]: each for each in result.json["agents"]}


def test_up_status_down(cluster: Cluster) -> None:
    assert cluster("status").code == 1
    up = cluster("up", "--json")
    assert up.code == 0, up.err
    assert sorted(up.json["started"]) == ["a", "b"]
    agents = by_name(cluster("status", "--json"))
    assert [agents[name]["healthy"] for name in "ab"] == [True, True]
    assert {agents[name]["pid"] for name in "ab"} == {each["pid"] for each in up.json["agents"]}
    shown = cluster("status")
    assert shown.code == 0
    assert agents["a"]["url"] in shown.out
    down = cluster("down")
    assert down.code == 0
    assert sorted(down.out.rstrip("\n").removeprefix("ended: ").split(", ")) == ["a", "b"]
    assert not any(alive(each["pid"]) for each in agents.values())
    assert "no cluster is up" in cluster("down").out


def test_up_again_starts_only_what_is_missing(cluster: Cluster) -> None:
    first = by_name(cluster("up", "--json"))
    again = cluster("up")
    assert again.code == 0
    assert again.out.startswith("already up\n")
    os.kill(first["b"]["pid"], signal.SIGKILL)
    wait_until(lambda: not alive(first["b"]["pid"]))
    status = cluster("status")
    assert status.code == 1
    assert "not running" in status.out
    third = cluster("up", "--json")
    assert third.json["started"] == ["b"]
    agents = by_name(third)
    assert agents["a"]["pid"] == first["a"]["pid"]
    assert agents["b"]["pid"] != first["b"]["pid"]
    assert agents["b"]["url"] == first["b"]["url"]


def test_free_ports_stay_those_of_the_first_start(cluster: Cluster, configs: Path) -> None:
    ports = {yaml.safe_load(file.read_text())["agent"]["port"] for file in configs.iterdir()}
    first = by_name(cluster("up", "--free-ports", "--json"))
    taken = {int(each["url"].rpartition(":")[2]) for each in first.values()}
    assert not taken & ports
    assert by_name(cluster("up", "--free-ports", "--json")) == first


@pytest.mark.parametrize("dead", [False, True])
def test_down_stops_workloads_even_of_a_dead_agent(
    cluster: Cluster, call: Cnet, dead: bool
) -> None:
    agents = by_name(cluster("up", "--json"))
    ran = call("--agent", agents["b"]["url"], "run", "--json", "--", "sleep", "600")
    assert ran.code == 0, ran.err
    if dead:
        os.kill(agents["b"]["pid"], signal.SIGKILL)
    down = cluster("down")
    assert down.code == 0, down.err
    assert ("b does not answer" in down.err) is dead
    assert not alive(ran.json["process_pid"])


def test_down_ends_services_which_come_back_as_they_were(cluster: Cluster, tmp_path: Path) -> None:
    def template(number: int) -> dict[str, Any]:
        config = {"model_type": "custom", "model_path": model(tmp_path, number)}
        return {"type": "mlmodel", "config": config, "requirements": {"cpu": 0.1}}

    def told(client: AgentClient) -> dict[str, Any]:
        return {
            each["name"]: (
                each["autoscale"],
                each["traffic"],
                {version["version"]: version["replicas"] for version in each["versions"]},
            )
            for each in client.services.list()
        }

    with AgentClient(by_name(cluster("up", "--json"))["a"]["url"]) as client:
        client.services.create({"name": "canary", "template": template(0), "replicas": 2})
        client.services.update("canary", {"template": template(1), "weight": 10, "replicas": 1})
        scaled = {"name": "by-load", "template": template(0), "autoscale": {"min": 1, "max": 3}}
        client.services.create(scaled)
        client.services.create({"name": "none", "template": template(0), "replicas": 0})
        before = told(client)
    assert before["canary"][1:] == ({"v1": 9000, "v2": 1000}, {"v1": 2, "v2": 1})
    down = cluster("down")
    assert down.code == 0, down.err
    assert "scaling canary to 0" in down.err and "scaling by-load to 0" in down.err
    assert not processes_in(tmp_path / "cluster")
    up = cluster("up", "--json")
    assert up.code == 0, up.err
    with AgentClient(by_name(up)["a"]["url"]) as client:
        assert told(client) == before
        wait_until(
            lambda: {it["status"] for it in client.services.list()} == {"ready", "idle"},
            timeout_s=60,
            what=lambda: str(client.services.list()),
        )
    assert not (tmp_path / "cluster" / "scaled.json").exists()


def test_kept_workloads_run_on_and_are_taken_up_again(cluster: Cluster, call: Cnet) -> None:
    url = by_name(cluster("up", "--json"))["a"]["url"]
    ran = call("--agent", url, "run", "--json", "--name", "kept", "--", "sleep", "600").json
    assert cluster("down", "--keep-workloads").code == 0
    assert alive(ran["process_pid"])
    assert by_name(cluster("up", "--json"))["a"]["workloads"] == 1
    again = call("--agent", url, "describe", "--json", "kept").json
    assert (again["status"], again["process_pid"]) == ("running", ran["process_pid"])


def test_if_one_fails_to_start_none_is_left(
    cluster: Cluster, tmp_path: Path, configs: Path
) -> None:
    in_the_way = tmp_path / "cluster" / "data" / "b"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where a folder should be")
    up = cluster("up")
    assert up.code == 1
    assert f"error: the agent of b ended at once with code 2; its log is {tmp_path}" in up.err
    assert f"agent.data_dir: {in_the_way}" in up.err
    assert cluster("status", "--json").json["agents"] == []
    assert processes_in(tmp_path / "cluster") == []
    failed = json.loads(cluster("up", "--json").err)
    assert failed["error"] == "cluster_failed"
    assert any("agent.data_dir" in line for line in failed["log_tail"])


def test_a_taken_port_is_named_with_its_holder(cluster: Cluster, configs: Path) -> None:
    port = yaml.safe_load((configs / "b.yaml").read_text())["agent"]["port"]
    with socket.create_server(("127.0.0.1", port)):
        up = cluster("up")
    assert up.code == 1
    assert f"agent.port: {port}, where b is to listen, is held by process" in up.err
    assert f"(pid {os.getpid()})" in up.err
    assert cluster("status", "--json").json["agents"] == []


def test_a_strangers_process_under_the_pid_of_an_agent_is_left_alone(
    cluster: Cluster, tmp_path: Path
) -> None:
    agents = by_name(cluster("up", "--json"))
    record = tmp_path / "cluster" / "run" / "a.json"
    written = json.loads(record.read_text())
    record.write_text(json.dumps(written | {"pid": os.getpid()}))
    assert by_name(cluster("status", "--json"))["a"]["pid"] is None
    record.write_text(json.dumps(written))
    assert by_name(cluster("status", "--json"))["a"]["pid"] == agents["a"]["pid"]


def test_only_one_command_at_a_time(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    lock = FileLock(tmp_path / "cluster" / "lock")
    assert lock.acquire() is None
    try:
        up = cluster("up")
    finally:
        lock.release()
    assert up.code == 1
    assert f"at work in {tmp_path / 'cluster'} (pid {os.getpid()})" in up.err


def test_settings_of_this_environment_reach_no_agent(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNET_AGENT__NODE_ID", "everybody")
    agents = by_name(cluster("up", "--json"))
    assert [agents[name]["healthy"] for name in "ab"] == [True, True]
