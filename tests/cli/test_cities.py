"""The four cities as a person uses them: everything is asked of jiangsu."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cnet.cli.main import main
from tests.cli.conftest import Cnet, Result
from tests.support.agents import alive, wait_until
from tests.support.cities import NAMES, ROOT, Cities, processes_in, running_cities


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cities]:
    with running_cities(tmp_path_factory.mktemp("cities")) as cities:
        yield cities


@pytest.fixture
def at(
    cities: Cities,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Callable[[str], Cnet]:
    """`at("jiangsu")(*arguments)`: `cnet` talking to that agent."""
    for name in list(os.environ):
        if name.startswith("CNET_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def to(city: str) -> Cnet:
        def call(*arguments: str) -> Result:
            capfdbinary.readouterr()
            code = main(["--agent", cities.urls[city], *arguments])
            out, err = capfdbinary.readouterr()
            return Result(code, out.decode(), err.decode())

        return call

    return to


@pytest.fixture
def cnet(at: Callable[[str], Cnet]) -> Cnet:
    return at("jiangsu")


def used(cnet: Cnet, city: str) -> dict[str, Any]:
    found: dict[str, Any] = cnet("node", "describe", "--json", city).json["used"]
    return found


def test_links_are_as_the_files_say(cities: Cities, cnet: Cnet) -> None:
    status = cnet("cluster", "status", "--json", "--dir", str(cities.folder))
    assert status.code == 0
    linked = {each["node_id"]: (each["parent"], each["peers"]) for each in status.json["agents"]}
    assert linked == {
        "jiangsu": (None, []),
        "nanjing": ("jiangsu", ["changzhou", "suqian"]),
        "suqian": (None, ["changzhou", "nanjing"]),
        "changzhou": (None, ["nanjing", "suqian"]),
    }


def test_the_root_draws_everybody(cnet: Cnet) -> None:
    lines = cnet("nodes").out.splitlines()
    assert [line.partition("  ")[0] for line in lines[1:]] == [
        *("jiangsu (this agent)", "└── nanjing", "changzhou", "suqian")
    ]
    flat = {line.split()[0]: line for line in cnet("nodes", "--table").out.splitlines()[1:]}
    assert flat["nanjing"].split()[1:4] == ["child", "jiangsu", "active"]


def test_work_goes_down_and_is_followed_from_the_root(cnet: Cnet) -> None:
    done = cnet("run", "--name", "far", "--cpu", "1", "--follow", "--", "echo", "hello from afar")
    assert done.code == 0, done.err
    assert done.out.splitlines()[1:] == ["hello from afar"]
    assert cnet("logs", "far").out == "hello from afar\n"
    described = cnet("describe", "--json", "far").json
    assert (described["node_id"], described["owner"]) == ("nanjing", "jiangsu")
    assert cnet("rm", "far").code == 0
    assert cnet("describe", "far").code == 3


def test_what_plan_says_is_what_run_does(cnet: Cnet) -> None:
    options = ("--cpu", "1", "--node", "suqian")
    plan = cnet("plan", "--json", *options, "--", "sleep", "600").json
    assert plan["node"] == "suqian"
    assert {each["node_id"] for each in plan["rejections"]} == {"jiangsu", "nanjing", "changzhou"}
    workload = cnet("run", "--json", "--name", "pinned", *options, "--", "sleep", "600").json
    assert workload["node_id"] == "suqian"
    assert alive(workload["process_pid"])
    wait_until(lambda: used(cnet, "suqian")["cpu"] == 1)
    assert "pinned: running" in cnet("why", "pinned").out
    assert cnet("stop", "pinned").code == 0
    assert not alive(workload["process_pid"])
    wait_until(lambda: used(cnet, "suqian")["cpu"] == 0)
    assert cnet("rm", "pinned").code == 0


def test_what_fits_nowhere_is_explained(cnet: Cnet) -> None:
    never = cnet("plan", "--cpu", "100", "--", "true")
    assert never.code == 1
    assert "fits no known node" in never.out
    assert all(city in never.out for city in NAMES)
    assert cnet("run", "--cpu", "100", "--", "true").code == 1


def test_a_drained_node_takes_nothing_new(cnet: Cnet) -> None:
    assert cnet("node", "drain", "nanjing").code == 0
    options = ("--cpu", "1", "--affinity", "tier=core")
    wait_until(lambda: cnet("node", "describe", "--json", "nanjing").json["status"] == "draining")
    plan = cnet("plan", *options, "--", "true")
    assert plan.code == 1
    assert "draining" in plan.out
    waiting = cnet("run", "--json", "--detach", "--name", "waiter", *options, "--", "true").json
    assert waiting["status"] == "pending"
    assert "draining" in cnet("why", "waiter").out
    assert cnet("node", "undrain", "nanjing").code == 0
    wait_until(lambda: cnet("describe", "--json", "waiter").json["status"] == "completed")
    assert cnet("rm", "waiter").code == 0


def test_labels_of_a_far_node_steer_work(cnet: Cnet) -> None:
    assert "disk=nvme" in cnet("node", "label", "changzhou", "disk=nvme").out
    options = ("--cpu", "1", "--affinity", "disk=nvme")
    wait_until(lambda: cnet("plan", *options, "--", "true").code == 0)
    done = cnet("run", "--json", "--wait", *options, "--", "true").json_lines[-1]
    assert done["node_id"] == "changzhou"
    assert cnet("rm", done["id"]).code == 0
    assert "disk" not in cnet("node", "label", "changzhou", "disk-").out


def test_a_service_is_asked_through_the_root(
    cities: Cities, cnet: Cnet, at: Callable[[str], Cnet]
) -> None:
    service = cnet("run", "--json", "--cascade", "face", "--name", "faces", "--cpu", "1").json
    assert service["node_id"] == "nanjing"
    assert service["endpoint"].startswith(f"{cities.urls['jiangsu']}/services/")
    photograph = str(ROOT / "examples" / "assets" / "astronaut.jpg")
    found = cnet("predict", "--json", "faces", photograph)
    assert found.code == 0, found.err
    assert found.json["count"] == 1
    # the agent that runs it, and one that only has a peer which does
    url = f"{cities.urls['nanjing']}/services/faces"
    assert at("nanjing")("predict", "--json", url, photograph).json["count"] == 1
    assert cnet("rm", "-f", "faces").code == 0


def test_scripts_work_from_anywhere(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CNET_")}
    environ |= {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}

    def script(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        argv = ["sh", str(ROOT / name), "--dir", str(tmp_path / "cluster"), *options]
        return subprocess.run(
            argv, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=100
        )

    if not (ROOT / ".venv" / ".runtime").exists() or not sys.prefix.startswith(str(ROOT)):
        pytest.skip("the scripts use the clone's own .venv, and this is another one")
    try:
        started = script("start_cluster.sh", "--free-ports")
        assert started.returncode == 0, started.stderr
        assert "└── nanjing" in started.stdout
    finally:
        stopped = script("stop_cluster.sh")
    assert stopped.returncode == 0, stopped.stderr
    assert sorted(stopped.stdout.rstrip("\n").removeprefix("ended: ").split(", ")) == sorted(NAMES)
    wait_until(lambda: not processes_in(tmp_path), what=lambda: "\n".join(processes_in(tmp_path)))
