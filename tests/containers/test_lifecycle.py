"""Containers from submit to delete, by an agent on a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cnet._support.ports import free_ports
from cnet.client import AgentClient
from tests.containers.working import MIB, ROOM, agent_with, ended, output, sleeper, spec
from tests.support.agents import AgentProcess, start_agent, wait_until
from tests.support.engine import IMAGE, Engine

WEB = {"image": IMAGE, "command": "httpd -f -p 80 -h /www", "ports": [80]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder that containers may be given, one that they may not, and a link between them."""
    tmp_path = tmp_path_factory.mktemp("folders")
    allowed, forbidden = tmp_path / "allowed", tmp_path / "forbidden"
    allowed.mkdir()
    forbidden.mkdir()
    (allowed / "way-out").symlink_to(forbidden)
    return {"allowed": allowed, "forbidden": forbidden}


@pytest.fixture(scope="module")
def shared_agent(
    tmp_path_factory: pytest.TempPathFactory, shared_engine: Engine, folders: dict[str, Path]
) -> Iterator[AgentProcess]:
    docker = {"volume_roots": [str(folders["allowed"])]}
    with agent_with(tmp_path_factory.mktemp("agent"), shared_engine, docker=docker) as running:
        yield running


@pytest.fixture
def agent(shared_agent: AgentProcess, engine: Engine) -> Iterator[AgentProcess]:
    """One for all tests; none may leave anything."""
    yield shared_agent
    client = shared_agent.client
    for workload in client.list():
        client.delete(workload["id"])
    assert not any(client.resources()["used"].values())


@pytest.fixture
def client(agent: AgentProcess) -> AgentClient:
    return agent.client


def inspect(engine: Engine, workload: dict[str, Any]) -> Any:
    return engine.ask("GET", f"/containers/{workload['container_id']}/json")


def only_node(client: AgentClient) -> Any:
    (node,) = client.nodes()["nodes"]
    return node


# --- running -------------------------------------------------------------------------------------


def test_a_web_server_answers_at_its_port_and_as_a_service(
    client: AgentClient, engine: Engine
) -> None:
    web = client.submit({"name": "web", "type": "container", "config": WEB, "stop_grace_s": 0})
    assert web["status"] == "running", web
    assert web["endpoint"].startswith("http://127.0.0.1:")
    (port,) = web["ports"]
    assert (port["container_port"], port["protocol"]) == (80, "tcp")
    assert web["endpoint"].endswith(f":{port['host_port']}")
    wait_until(lambda: answers(web["endpoint"]), timeout_s=30)
    by_name = httpx.get(f"{client.url}/services/web/nothing.html", timeout=30)
    assert by_name.status_code == 404 and b"404 Not Found" in by_name.content
    assert web["process_pid"] > 0 and Path(f"/proc/{web['process_pid']}").exists()
    client.delete(web["id"])
    assert engine.names() == set()
    assert not answers(web["endpoint"])


def test_the_seeds_container_from_submit_to_delete(agent: AgentProcess, engine: Engine) -> None:
    client = agent.client
    body = {  # seed 002, but for the image and its program
        "name": "test-container",
        "type": "container",
        "requirements": {"cpu": 1.0, "memory": 536870912},
        "config": {
            "image": IMAGE,
            "command": ["sh"],
            "args": ["-c", "echo serving; echo hello >/www/index.html; httpd -f -p 80 -h /www"],
            "ports": [80],
            "healthcheck": {"http": "/", "interval": 1},
        },
    }
    reply = httpx.post(f"{agent.url}/api/workloads", json=body, timeout=120)
    assert reply.status_code == 201, reply.text
    made = reply.json()
    assert made["status"] == "running", made
    used = client.resources()["used"]
    assert (used["cpu"], used["memory"], used["gpu"]) == (1.0, 536870912, 0)
    for url in (made["endpoint"], f"{agent.url}/services/test-container/index.html"):
        assert httpx.get(url, timeout=30).text == "hello\n"
    assert client.logs(made["id"])["logs"] == ["serving"]
    assert client.exec(made["id"], ["cat", "/www/index.html"])["stdout"] == "hello\n"
    assert client.stop(made["id"])["workload"]["status"] == "stopped"
    assert not any(client.resources()["used"].values()) and engine.names() == set()
    assert httpx.get(f"{agent.url}/services/test-container/", timeout=30).status_code == 404
    client.delete(made["id"])
    assert client.list() == []


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == 404
    except httpx.TransportError:
        return False


def test_it_is_named_labelled_and_limited(client: AgentClient, engine: Engine) -> None:
    made = client.submit(
        sleeper(
            requirements={"cpu": 0.5, "memory": 64 * MIB},
            limits={"cpu": 0.25, "pids": 50},
            config={"labels": {"team": "blue"}},
        )
    )
    details = inspect(engine, made)
    assert details["Name"] == f"/cnet-{made['id']}.1"
    labels = details["Config"]["Labels"]
    assert labels["cnet.workload_id"] == made["id"] and labels["cnet.attempt"] == "1"
    assert labels["cnet.node_id"] == made["node_id"] and labels["team"] == "blue"
    host = details["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (64 * MIB, 64 * MIB)
    assert (host["NanoCpus"], host["CpuShares"], host["PidsLimit"]) == (250_000_000, 512, 50)
    assert made["limits"] == {"memory": "engine", "cpu": "engine", "pids": "engine"}
    assert client.resources()["used"]["memory"] == 64 * MIB
    used = client.usage(made["id"])
    assert used["processes"] >= 1 and used["rss_bytes"] > 0


def test_usage_is_that_of_all_that_runs_in_it(client: AgentClient) -> None:
    body = spec(
        "sh",
        "-c",
        f"{WEB['command']} & while :; do :; done & while :; do :; done",
        config={"ports": [80]},
        stop_grace_s=0,
    )
    made = client.submit(body)
    wait_until(lambda: answers(made["endpoint"]), timeout_s=30)

    def used() -> dict[str, Any]:
        return client.usage(made["id"])

    wait_until(lambda: used()["cpu_s"] > 1, timeout_s=60)
    # The server has a process for each request, which ends some time after its answer.
    wait_until(lambda: used()["processes"] == 3, timeout_s=60, what=lambda: str(used()))
    first = used()
    assert first["rss_bytes"] > 0, first
    assert first["received_bytes"] > 0 and first["sent_bytes"] > 0, first
    for _ in range(20):
        answers(made["endpoint"])
    wait_until(lambda: used()["received_bytes"] >= first["received_bytes"] + 20 * 100, timeout_s=30)
    alone = client.submit(sleeper(name="alone", config={"network": "none"}, stop_grace_s=0))
    assert client.usage(alone["id"])["received_bytes"] is None


def test_what_is_said_of_it_reaches_the_program(client: AgentClient) -> None:
    made = client.submit(
        spec(
            config={
                "entrypoint": ["sh", "-c"],
                "command": ["id -un; ls -d $PWD; echo $A $B $CNET_WORKLOAD_NAME $0", "zero"],
                "env": {"A": "one", "CNET_NODE_ID": "overruled"},
                "secret_env": {"B": "hidden"},
                "working_dir": "/www",
                "user": "guest",
            },
            name="told",
        )
    )
    done = ended(client, made)
    assert (done["status"], done["exit_code"]) == ("completed", 0)
    assert output(client, done) == ["guest", "/www", "one hidden told zero"]
    assert done["config"]["secret_env"] == {"B": "***"} and "hidden" not in str(done)
    assert "container_id" not in done


def test_text_is_split_and_arguments_are_appended(client: AgentClient) -> None:
    made = client.submit(spec(config={"command": "echo 'a  b'", "args": ["c", 4]}))
    assert output(client, ended(client, made)) == ["a  b c 4"]


def test_an_exit_code_is_told_and_the_container_goes(client: AgentClient, engine: Engine) -> None:
    done = ended(client, client.submit(spec("sh", "-c", "echo why >&2; exit 7")))
    assert (done["status"], done["status_reason"], done["exit_code"]) == (
        "failed",
        "exit_nonzero",
        7,
    )
    assert done["log_tail"] == ["why"]
    assert engine.names() == set()
    assert not any(client.resources()["used"].values())


def test_memory_is_a_hard_limit_and_its_kill_is_named(client: AgentClient) -> None:
    """Every time: an engine alone misses some of them."""
    hungry = spec("dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1")
    for _ in range(10):
        done = ended(client, client.submit({**hungry, "requirements": {"memory": 16 * MIB}}))
        assert (done["status"], done["status_reason"]) == ("failed", "out_of_memory"), done


def test_stopping_and_starting_again(client: AgentClient, engine: Engine) -> None:
    made = client.submit(sleeper(config={"ports": ["80", "53/udp"]}))
    ports = [port["host_port"] for port in made["ports"]]
    assert len(set(ports)) == 2
    stopped = client.stop(made["id"])["workload"]
    assert (stopped["status"], stopped["status_reason"]) == ("stopped", "stopped_by_user")
    assert engine.names() == set()
    again = client.restart(made["id"])
    assert again["status"] == "running" and again["attempt"] == 2
    assert engine.names() == {f"cnet-{made['id']}.2"}


def test_one_that_does_not_listen_is_killed_after_its_grace(client: AgentClient) -> None:
    made = client.submit(spec("sleep", "600", stop_grace_s=1))  # process 1 hears no SIGTERM
    stopped = client.stop(made["id"])["workload"]
    assert (stopped["status"], stopped["exit_code"]) == ("stopped", 137)


def test_the_restart_policy_starts_another(client: AgentClient, engine: Engine) -> None:
    policy = {"policy": "on_failure", "attempts": 2, "backoff_s": 0}
    done = ended(client, client.submit(spec("sh", "-c", "echo try; exit 3", restart=policy)))
    assert (done["status_reason"], done["attempt"]) == ("crash_loop", 3)
    assert output(client, done) == ["try"] * 3
    assert engine.names() == set()


# --- output --------------------------------------------------------------------------------------


def test_output_is_whole_and_in_order(client: AgentClient) -> None:
    script = (
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; "
        "head -c 40000 /dev/zero | tr '\\0' x; echo; printf 'no newline \\377'"
    )
    lines = output(client, ended(client, client.submit(spec("sh", "-c", script))))
    assert lines[:3000] == [f"line {number}" for number in range(3000)]
    assert lines[3000] == "x" * 40000
    assert lines[3001:] == ["no newline \ufffd"]


def test_output_is_followed_as_it_comes(client: AgentClient) -> None:
    script = "echo first; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo last"
    made = client.submit(spec("sh", "-c", script, stop_grace_s=0))
    wait_until(lambda: output(client, made) == ["first"], timeout_s=30)
    stream = client.follow_logs(made["id"], lines=0)
    assert next(stream) == b"first"
    client.stop(made["id"])
    assert b"".join(stream) == b""


def test_logs_are_rotated(tmp_path: Path, engine: Engine) -> None:
    limits = {"max_bytes": 8192, "files": 2}
    with agent_with(tmp_path, engine, workload_logs=limits) as agent:
        script = "i=1000; while [ $i -lt 5000 ]; do echo number $i; i=$((i+1)); done"
        made = ended(agent.client, agent.client.submit(spec("sh", "-c", script)))
        lines = output(agent.client, made)
        assert lines[-1] == "number 4999"
        assert 8192 // 12 <= len(lines) <= 2 * 8192 // 12
        assert lines[1:] == [f"number {number}" for number in range(5001 - len(lines), 5000)]


# --- files and networks --------------------------------------------------------------------------


def test_folders_and_named_volumes(
    client: AgentClient, engine: Engine, folders: dict[str, Path]
) -> None:
    inside = folders["allowed"] / "data"
    inside.mkdir()
    (inside / "in").write_text("from the node")
    volumes = [f"{inside}:/rw", {"host_path": str(inside), "container_path": "/ro",
                                 "read_only": True}, "cnet-test-volume:/kept"]  # fmt: skip
    script = "cat /ro/in; echo; echo out > /rw/out; echo kept > /kept/it; echo no > /ro/no"
    done = ended(client, client.submit(spec("sh", "-c", script, config={"volumes": volumes})))
    lines = output(client, done)  # of two streams, which the engine reads each for itself
    assert "from the node" in lines
    assert any("Read-only file system" in line for line in lines)
    assert (inside / "out").read_text() == "out\n" and not (inside / "no").exists()
    again = ended(client, client.submit(spec("cat", "/kept/it", config={"volumes": volumes})))
    assert output(client, again) == ["kept"]
    engine.ask("DELETE", "/volumes/cnet-test-volume")


def test_without_a_network_there_is_none(client: AgentClient) -> None:
    script = "ls /sys/class/net"
    done = ended(client, client.submit(spec("sh", "-c", script, config={"network": "none"})))
    assert output(client, done) == ["lo"]


# --- what cannot be done -------------------------------------------------------------------------


def refused(agent: AgentProcess, body: dict[str, Any]) -> tuple[int, str, str]:
    """Status, code and sentence of a submit that must not leave anything."""
    answer = httpx.post(f"{agent.url}/api/workloads", json=body, timeout=60)
    assert agent.client.list() == [], answer.text
    said = answer.json()
    return answer.status_code, said["error"], said["details"]


@pytest.mark.parametrize(
    ("config", "field", "hint"),
    [
        ({}, "config.image", "required"),
        ({"image": "UPPER CASE"}, "config.image", "no name of an image"),
        ({"image": IMAGE, "command": "echo 'open"}, "config.command", "quotation"),
        ({"image": IMAGE, "ports": ["a:b"]}, "config.ports.0", "container_port"),
        ({"image": IMAGE, "ports": [70000]}, "config.ports.0.container_port", "65535"),
        ({"image": IMAGE, "ports": [80], "network": "host"}, "config", "cannot be published"),
        ({"image": IMAGE, "network": "nowhere"}, "config.network", "bridge"),
        ({"image": IMAGE, "volumes": ["relative/x:/y"]}, "config.volumes.0", "absolute"),
        ({"image": IMAGE, "volumes": ["/etc:/etc"]}, "config.volumes", "volume_roots"),
        ({"image": IMAGE, "labels": {"cnet.workload_id": "x"}}, "config.labels", "cnet."),
        ({"image": IMAGE, "privileged": True}, "config.privileged", "unknown field"),
        ({"image": "cnet-test/none", "pull": "never"}, "config.image", "not on this node"),
        ({"image": IMAGE, "healthcheck": {}}, "config.healthcheck", "test, http and tcp"),
        ({"image": IMAGE, "healthcheck": {"http": "/"}}, "config", "healthcheck.port"),
        ({"image": IMAGE, "restart_policy": "often"}, "config.restart_policy", "pattern"),
        (
            {"image": IMAGE, "volumes": ["data://a:/b:rw"]},
            "config.volumes.0.container_path",
            "absolute",
        ),
    ],
)
def test_bad_configs_name_their_field(
    agent: AgentProcess, config: dict[str, Any], field: str, hint: str
) -> None:
    body = {"name": "bad", "type": "container", "config": config}
    status, _, details = refused(agent, body)
    assert status == 422
    assert details.startswith(f"{field}:") and hint in details


def test_no_way_out_of_the_allowed_folders(agent: AgentProcess, folders: dict[str, Path]) -> None:
    for path in ("way-out", "../forbidden", "missing"):
        volume = f"{folders['allowed']}/{path}:/data"
        status, _, details = refused(agent, spec("ls", config={"volumes": [volume]}))
        assert status == 422 and "docker.volume_roots" in details


def test_other_fields_that_containers_have_no_use_for(agent: AgentProcess) -> None:
    status, _, details = refused(agent, spec("ls", run_as="nobody"))
    assert status == 422 and details.startswith("run_as:")
    status, _, details = refused(agent, spec("ls", requirements={"memory": 1024}))
    assert status == 422 and details.startswith("requirements.memory:")


def test_a_port_that_is_taken_names_its_holder(agent: AgentProcess) -> None:
    (port,) = free_ports(1)
    holder = agent.client.submit(sleeper(config={"ports": [f"{port}:80"]}))
    answer = httpx.post(
        f"{agent.url}/api/workloads", json=sleeper(config={"ports": [f"{port}:81"]}), timeout=60
    )
    assert answer.status_code == 409 and answer.json()["error"] == "port_taken"
    assert holder["id"] in answer.json()["details"]
    assert [it["id"] for it in agent.client.list()] == [holder["id"]]


def test_a_missing_image_that_cannot_be_pulled(client: AgentClient, engine: Engine) -> None:
    """Nobody listens where it would be pulled from."""
    (port,) = free_ports(1)
    image = f"127.0.0.1:{port}/none:1"
    done = client.submit({"name": "no", "type": "container", "config": {"image": image}})
    assert (done["status"], done["status_reason"]) == ("failed", "image_pull_failed")
    assert image in done["status_detail"] and "refused" in done["status_detail"]
    always = client.submit(spec("ls", config={"image": IMAGE, "pull": "always"}))
    assert always["status_reason"] == "image_pull_failed"
    assert engine.names() == set()
    assert not any(client.resources()["used"].values())


def test_a_program_that_is_not_in_the_image(client: AgentClient, engine: Engine) -> None:
    done = client.submit(spec("no-such-program"))
    assert (done["status"], done["status_reason"]) == ("failed", "exec_failed")
    assert "no-such-program" in done["status_detail"]
    assert engine.names() == set()


def test_a_container_of_others_is_left_alone(client: AgentClient, engine: Engine) -> None:
    """Also when it has the name of ours: then that is what stands in the way."""
    workload_id = "0b87b2c0-3e6b-4b8f-9b7e-8f6f0c3d2a10"
    name = f"cnet-{workload_id}.1"
    theirs = {"Image": IMAGE, "Cmd": ["sleep", "600"]}
    foreign = engine.ask("POST", f"/containers/create?name={name}", json=theirs)["Id"]
    try:
        made = client.submit(sleeper(id=workload_id))
        assert (made["status"], made["status_reason"]) == ("failed", "start_failed")
        assert name in made["status_detail"]
        client.delete(workload_id)
        assert engine.names() == {name}
    finally:
        engine.ask("DELETE", f"/containers/{foreign}", params={"force": "1"})


def test_a_container_that_somebody_removes(client: AgentClient, engine: Engine) -> None:
    made = client.submit(sleeper())
    engine.ask("DELETE", f"/containers/{made['container_id']}", params={"force": "1"})
    done = ended(client, made)
    assert done["status"] == "failed"
    assert done["status_reason"] in {"container_removed", "exit_nonzero"}


def test_a_node_without_an_engine_says_so(tmp_path: Path) -> None:
    docker = {"host": f"unix://{tmp_path}/nobody.sock"}
    running = start_agent(tmp_path, resources=ROOM, docker=docker)
    try:
        assert "container" not in only_node(running.client)["kinds"]
        status, code, details = refused(running, sleeper())
        assert (status, code) == (503, "engine_unreachable")
        assert "nobody.sock" in details and "No such file" in details
    finally:
        running.stop()
