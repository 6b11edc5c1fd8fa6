"""An engine that is spoken to by TLS on a port of this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnet._support.ports import free_ports
from tests.containers.working import ROOM, agent_with, ended, output, sleeper, spec
from tests.support.agents import AgentProcess, start_agent, wait_until
from tests.support.engine import Engine, missing


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ca.pem`, and for both sides `cert.pem` and `key.pem`; `others.pem` vouches for nobody."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    for name in ("ca", "others"):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}-key.pem", "-out", f"{name}.pem")
    request = ("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=engine")
    openssl(*request, "-keyout", "key.pem", "-out", "request.pem")
    (folder / "more").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ("x509", "-req", "-days", "2", "-in", "request.pem", "-extfile", "more")
    openssl(*signed, "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-out", "cert.pem")
    return folder


@pytest.fixture(scope="module")
def engine(certificates: Path) -> Iterator[tuple[Engine, str]]:
    """One that wants certificates, and its address."""
    if (why_not := missing()) is not None:
        pytest.skip(why_not)
    (port,) = free_ports(1)
    address = f"tcp://127.0.0.1:{port}"
    files = {"tlscacert": "ca.pem", "tlscert": "cert.pem", "tlskey": "key.pem"}
    arguments = [f"--{name}={certificates / file}" for name, file in files.items()]
    running = Engine(more=("-H", address, "--tlsverify", *arguments))
    try:
        running.start()
        running.import_busybox()
        yield running, address
    finally:
        running.discard()


def of_config(certificates: Path, address: str, **changes: Any) -> dict[str, Any]:
    tls = {"ca_file": "ca.pem", "cert_file": "cert.pem", "key_file": "key.pem"}
    paths = {name: str(certificates / file) for name, file in tls.items()}
    return {"host": address, "tls": {"enabled": True, **paths, **changes}}


def test_all_of_it_works(tmp_path: Path, engine: tuple[Engine, str], certificates: Path) -> None:
    docker = of_config(certificates, engine[1])
    with agent_with(tmp_path, engine[0], docker=docker) as agent:
        made = ended(agent.client, agent.client.submit(spec("echo", "hello")))
        assert (made["status"], output(agent.client, made)) == ("completed", ["hello"])
        running = agent.client.submit(sleeper(name="r"))
        given = "x" * 300_000
        said = agent.client.exec(running["id"], ["cat"], stdin=given)
        assert (said["exit_code"], said["stdout"]) == (0, given)
        assert agent.client.usage(running["id"])["processes"] >= 1


def test_by_the_environment(tmp_path: Path, engine: tuple[Engine, str], certificates: Path) -> None:
    environ = {
        "DOCKER_HOST": engine[1],
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(certificates),
    }
    agent = start_agent(tmp_path, environ=environ, docker={"enabled": True}, resources=ROOM)
    try:
        made = ended(agent.client, agent.client.submit(spec("echo", "hello")))
        assert made["status"] == "completed", made
        agent.stop()
    finally:
        agent.discard()


def absence(agent: AgentProcess) -> str:
    plan = agent.client.plan(spec("true"))
    return str(plan)


@pytest.mark.parametrize("wrong", ["ca_file", "none"])
def test_an_engine_that_is_not_trusted(
    tmp_path: Path, engine: tuple[Engine, str], certificates: Path, wrong: str
) -> None:
    docker = of_config(certificates, engine[1], ca_file=str(certificates / "others.pem"))
    if wrong == "none":
        docker["tls"] = {
            "enabled": True,
            "ca_file": str(certificates / "ca.pem"),
        }  # shows nothing
    with agent_with(tmp_path, engine[0], docker=docker) as agent:
        wait_until(lambda: "no executor for container" in absence(agent), timeout_s=30)
        (node,) = agent.client.nodes()["nodes"]
        assert "container" not in node["kinds"]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    tls = {"enabled": True, "ca_file": str(tmp_path / "nothing.pem")}
    docker = {"host": "tcp://127.0.0.1:1", "tls": tls}
    with pytest.raises(AssertionError, match=r"docker\.tls: .*nothing\.pem: No such file"):
        start_agent(tmp_path, docker=docker, resources=ROOM)
