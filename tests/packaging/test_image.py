"""The Dockerfile and the compose file do what docs/install.md says, on an engine of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packaging.building import BASE, IMAGE, ROOT, Docker, build, why_not
from tests.support.agents import wait_until
from tests.support.engine import Engine

pytestmark = pytest.mark.timeout(900)

HEALTHY_WITHIN_S = 180.0
CITIES = {"jiangsu", "nanjing", "suqian", "changzhou"}
PEERS = CITIES - {"jiangsu"}
SEES = {"jiangsu": CITIES, "nanjing": CITIES, "suqian": PEERS, "changzhou": PEERS}
"""A peer shows what is below it, not its parent."""
PROJECT = "cities"


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """With the image built."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    engine = Engine()
    try:
        engine.start()
        docker = Docker(engine)
        build(docker, tmp_path_factory.mktemp("image"))
        yield docker
    finally:
        engine.discard()


def healthy(docker: Docker, container: str) -> bool:
    state = json.loads(docker.run("inspect", "--format", "{{json .State}}", container))
    assert state["Running"], docker.run("logs", container)
    return bool(state["Health"]["Status"] == "healthy")


def test_the_image_is_as_the_page_says(docker: Docker) -> None:
    image = json.loads(docker.run("image", "inspect", IMAGE))[0]
    config = image["Config"]
    assert config["User"] == "cnet"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Volumes"] == {"/var/lib/cnet": {}}
    assert config["Healthcheck"]["Test"][0] == "CMD-SHELL"
    base = json.loads(docker.run("image", "inspect", BASE))[0]
    print(f"{(image['Size'] - base['Size']) / 1e6:.0f} MB on a base of {base['Size'] / 1e6:.0f} MB")
    inside = ("run", "--rm", "--network", "none", "--entrypoint", "sh", IMAGE, "-c")
    assert docker.run(*inside, "id -u").strip() == "10001"
    assert docker.run(*inside, "touch /opt/cnet/x 2>/dev/null || echo refused").strip() == "refused"
    assert docker.run(*inside, "ls /opt/cnet/bin | grep -x -e pip -e hatchling || true") == ""


def test_an_agent_in_a_container(docker: Docker) -> None:
    volume = ("--volume", "one:/var/lib/cnet")
    without = docker.ask("run", "--rm", *volume, IMAGE)
    assert without.returncode == 2 and "cnet init" in without.stdout, without.stdout
    docker.run("run", "--rm", *volume, IMAGE, "init")
    docker.run("run", "--detach", "--name", "one", "--init", *volume, IMAGE)
    try:
        wait_until(lambda: healthy(docker, "one"), timeout_s=HEALTHY_WITHIN_S)
        sum_ = ("run", "--name", "sum", "--follow", "--", "python3", "-c", "print(6 * 7)")
        assert "42" in docker.run("exec", "one", "cnet", *sum_).splitlines()
        docker.run("exec", "one", "cnet", "run", "--name", "lasting", "--", "sleep", "1000")
        docker.run("stop", "--time", "60", "one")
        assert docker.run("inspect", "--format", "{{.State.ExitCode}}", "one").strip() == "0"
        docker.run("start", "one")
        wait_until(lambda: healthy(docker, "one"), timeout_s=HEALTHY_WITHIN_S)
        known = docker.run("exec", "one", "cnet", "--json", "ps", "--all")
        assert _statuses(known) == {"sum": "completed", "lasting": "stopped"}
    finally:
        docker.run("rm", "--force", "one")


def _statuses(listing: str) -> dict[str, str]:
    items: list[dict[str, Any]] = json.loads(listing)["workloads"]
    return {item["name"]: item["status"] for item in items}


def test_the_four_cities_see_each_other(docker: Docker, tmp_path: Path) -> None:
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    for service in compose["services"].values():
        service.pop("build", None)
        if "ports" in service:  # others may listen at those
            service["ports"] = ["127.0.0.1::8080"]
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(compose))
    shutil.copytree(ROOT / "configs", tmp_path / "configs")

    def ask(*words: str) -> str:
        project = ("--project-name", PROJECT, "--file", str(tmp_path / "compose.yaml"))
        return docker.run(*project, *words, program="docker-compose", cwd=tmp_path)

    def cnet(city: str, *words: str) -> str:
        return docker.run("exec", f"{PROJECT}_{city}_1", "cnet", *words)

    ask("up", "--detach")
    try:
        for city in CITIES:
            wait_until(
                lambda city=city: healthy(docker, f"{PROJECT}_{city}_1"),
                timeout_s=HEALTHY_WITHIN_S,
            )
            wait_until(
                lambda city=city: _seen(cnet(city, "--json", "nodes")) == SEES[city],
                timeout_s=60,
                what=lambda city=city: cnet(city, "nodes"),
            )
        far = ("run", "--name", "far", "--cpu", "2", "--follow", "--", "python3", "-c")
        assert "42" in cnet("jiangsu", *far, "print(6 * 7)").splitlines()
        assert _statuses(cnet("jiangsu", "--json", "ps", "--all")) == {"far": "completed"}
    finally:
        ask("down", "--volumes")


def _seen(listing: str) -> set[str]:
    nodes: list[dict[str, Any]] = json.loads(listing)["nodes"]
    return {node["node_id"] for node in nodes if node["status"] == "active"}
