"""The unit and the compose file, as far as they can be checked without an engine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "packaging" / "systemd"
FIRST_WITH_SUBGROUPS = 254


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return content


def configs() -> dict[str, dict[str, Any]]:
    """City → its configuration."""
    return {
        path.stem.removeprefix("config_"): yaml.safe_load(path.read_text())
        for path in (ROOT / "configs").glob("*.yaml")
    }


def test_the_compose_file_has_the_cities_with_their_links() -> None:
    """In place of `localhost` and a port stands the name of the service that has this port."""
    cities = {name: it for name, it in compose()["services"].items() if name != "token"}
    assert cities.keys() == configs().keys()
    at = {f"localhost:{it['agent']['port']}": f"{city}:8080" for city, it in configs().items()}
    for city, config in configs().items():
        service = cities[city]
        assert service["command"][-1] == f"/etc/cnet/config_{city}.yaml"
        assert service["ports"] == [f"127.0.0.1:{config['agent']['port']}:8080"]
        environment = service.get("environment", {})
        parent = config.get("parent", {}).get("address")
        assert environment.get("CNET_PARENT__ADDRESS") == at.get(parent)
        peers = [at[address] for address in config.get("peers", {}).get("addresses", [])]
        assert yaml.safe_load(environment.get("CNET_PEERS__ADDRESSES", "[]")) == peers


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is missing")
def test_compose_takes_the_file() -> None:
    argv = ["docker-compose", "--file", str(ROOT / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def verify(unit: Path) -> str:
    """What systemd finds wrong with a unit."""
    argv = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 and not done.stderr else done.stderr or "?"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("delegated", [False, True], ids=["alone", "with delegate.conf"])
def test_systemd_takes_the_unit(tmp_path: Path, delegated: bool) -> None:
    unit = tmp_path / "cnet-agent.service"
    # The program must be there, or the check is of nothing else.
    unit.write_text((UNITS / unit.name).read_text().replace("/opt/cnet/bin/cnet", "/bin/true"))
    if delegated:
        told = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True)
        version = re.search(r"systemd (\d+)", told.stdout)
        assert version is not None
        if int(version[1]) < FIRST_WITH_SUBGROUPS:
            pytest.skip(f"systemd {version[1]} does not know DelegateSubgroup")
        folder = tmp_path / f"{unit.name}.d"
        folder.mkdir()
        shutil.copy(UNITS / "delegate.conf", folder)
    assert verify(unit) == ""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_check_of_units_finds_a_mistake(tmp_path: Path) -> None:
    unit = tmp_path / "cnet-agent.service"
    content = (UNITS / unit.name).read_text().replace("/opt/cnet/bin/cnet", "/bin/true")
    unit.write_text(content.replace("KillMode=process", "KillMod=process"))
    assert "KillMod" in verify(unit)


def test_workloads_outlive_the_agent() -> None:
    assert "\nKillMode=process\n" in (UNITS / "cnet-agent.service").read_text()
