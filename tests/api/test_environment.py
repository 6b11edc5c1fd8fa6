"""What a process finds around it: environment, secrets, devices, folder, user."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import psutil
import pytest

from tests.api.node import Json, Node, process_spec, refused

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may run as somebody else")


def _environ(body: Json) -> dict[str, str]:
    return psutil.Process(body["pid"]).environ()


def test_environment_is_what_was_asked_for_and_little_else(node: Node) -> None:
    body = node.process("sleep", "60", name="mine", config={"env": {"GREETING": "hello wörld"}})
    found = _environ(body)
    assert found["GREETING"] == "hello wörld"
    assert (found["CNET_NODE_ID"], found["CNET_WORKLOAD_NAME"]) == ("nanjing", "mine")
    assert found["CNET_WORKLOAD_ID"] == body["id"]
    # the agent's own environment holds what is not the workload's business
    assert "CNET_TEST_AGENT" not in found and "XDG_CONFIG_HOME" not in found


def test_a_secret_reaches_the_process_and_nobody_else(node: Node) -> None:
    secret = secrets.token_hex(16)
    with node.events() as events:
        next(events)
        reply = node.http.post(
            "/api/workloads",
            json=process_spec("sleep", "60", config={"secret_env": {"PASSWORD": secret}}),
        )
        body = reply.json()
        seen = [reply.text]
        for event in events:
            seen.append(str(event))
            if event["event"] == "workload" and event["data"]["status"] == "running":
                break
    assert _environ(body)["PASSWORD"] == secret
    assert body["config"]["secret_env"] == body["metadata"]["secret_env"] == {"PASSWORD": "***"}
    path = f"/api/workloads/{body['id']}"
    routes = ("/api/workloads", path, f"{path}/logs", "/api/resources", "/api/nodes")
    seen += [node.http.get(route).text for route in routes]
    everybody = psutil.process_iter(["cmdline"])
    argvs = [" ".join(process.info["cmdline"] or ()) for process in everybody]
    assert any("sleep 60" in argv for argv in argvs)
    for text in (*seen, *argvs, node.agent.log()):
        assert secret not in text
    _assert_private(node.agent.data_dir)
    node.http.delete(path)
    assert secret not in node.agent.log()


def test_a_wrong_secret_is_not_repeated(node: Node) -> None:
    secret = secrets.token_hex(16)
    spec = process_spec("sleep", "60", config={"secret_env": {"A": [secret], "B=": secret}})
    body = refused(node.http.post("/api/workloads", json=spec), 422, "invalid_field")
    assert secret not in str(body)
    assert secret not in node.agent.log()


def test_each_gets_its_own_devices(node: Node) -> None:
    first = node.process("sleep", "60", requirements={"gpu": 1})
    second = node.process("sleep", "60", requirements={"gpu": 1})
    none = node.process("sleep", "60")
    third = node.process("sleep", "60", requirements={"gpu": 1})
    assert (first["gpu_devices"], second["gpu_devices"], none["gpu_devices"]) == ([0], [1], [])
    assert _environ(first)["CUDA_VISIBLE_DEVICES"] == "0"
    assert _environ(second)["CUDA_VISIBLE_DEVICES"] == "1"
    assert _environ(none)["CUDA_VISIBLE_DEVICES"] == ""
    assert (third["status"], third["gpu_devices"]) == ("pending", [])
    node.stop(first["id"])
    placed = node.wait_status(third["id"], "running")
    assert placed["gpu_devices"] == [0]
    assert _environ(placed)["CUDA_VISIBLE_DEVICES"] == "0"


def test_working_directory(node: Node, tmp_path: Path) -> None:
    body = node.process("pwd", config={"working_dir": str(tmp_path)})
    node.wait_status(body["id"], "completed")
    assert node.logs(body["id"]) == [str(tmp_path)]
    default = node.process("pwd")
    node.wait_status(default["id"], "completed")
    assert node.logs(default["id"]) == [str(node.agent.folder)]


def test_there_is_nothing_to_read_on_stdin(node: Node) -> None:
    body = node.process("cat")
    assert node.wait_status(body["id"], "completed")["exit_code"] == 0


@as_root
def test_as_another_user(node: Node) -> None:
    body = node.process("sleep", "60", run_as="nobody", config={"working_dir": "/"})
    assert body["status"] == "running", body
    process = psutil.Process(body["pid"])
    assert process.username() == "nobody"
    assert 0 not in process.uids() and 0 not in process.gids()
    assert "Groups:\t0" not in Path(f"/proc/{process.pid}/status").read_text()


def test_a_memory_limit_is_told_and_kept(node: Node) -> None:
    """Over its memory it is killed, and says so."""
    script = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    body = node.process("python3", "-S", "-c", script, requirements={"memory": 64 * 1024**2})
    assert "memory" in body["limits"]
    ended = node.wait_status(body["id"], "failed")
    if body["limits"]["memory"].startswith("cgroup"):
        assert ended["status_reason"] == "out_of_memory"
        assert "memory limit" in ended["status_detail"]
    assert node.used()["memory"] == 0


def _assert_private(data_dir: Path) -> None:
    """Nobody else may look into the folder that holds state and run directories."""
    assert data_dir.stat().st_mode & 0o077 == 0
