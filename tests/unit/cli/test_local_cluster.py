"""Configuration files as members of a cluster: ports, addresses, who is to see whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import yaml

from cnet.cli.local import free_ports
from cnet.cli.local.members import Member, expected_views, read_members
from cnet.cli.local.scaled import scale_back, scale_down
from cnet.client import AgentClient
from cnet.errors import ConfigError, NotFoundError

CONFIGS = Path(__file__).parents[3] / "configs"
CITIES = {"jiangsu": 8080, "nanjing": 8081, "suqian": 8082, "changzhou": 8083}


def written(folder: Path, **files: object) -> Path:
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


def of(members: list[Member], node_id: str) -> Member:
    return next(member for member in members if member.node_id == node_id)


def test_the_four_cities_are_those_of_the_seeds() -> None:
    members = read_members(CONFIGS)
    assert {member.node_id: member.port for member in members} == CITIES
    room = {member.node_id: member.settings.resources for member in members}
    assert (room["jiangsu"].cpu, room["jiangsu"].gpu, room["jiangsu"].memory) == (0.5, 0, 2**29)
    assert (room["nanjing"].cpu, room["nanjing"].gpu, room["nanjing"].memory) == (8, 1, 2**34)
    assert room["suqian"] == room["changzhou"]
    assert all(member.settings.is_loopback for member in members)
    assert len({member.settings.data_dir for member in members}) == 4
    assert of(members, "nanjing").settings.parent.address == "localhost:8080"


def test_who_sees_whom() -> None:
    assert expected_views(read_members(CONFIGS)) == {
        "jiangsu": {"nanjing", "suqian", "changzhou"},
        "nanjing": {"jiangsu", "suqian", "changzhou"},
        "suqian": {"nanjing", "changzhou"},
        "changzhou": {"nanjing", "suqian"},
    }


def test_grandchildren_are_seen_and_agents_elsewhere_are_not_waited_for(tmp_path: Path) -> None:
    def agent(node_id: str, port: int, **more: object) -> dict[str, object]:
        return {"agent": {"node_id": node_id, "port": port}, **more}

    def below(port: int) -> dict[str, object]:
        return {"enabled": True, "address": f"http://127.0.0.1:{port}"}

    folder = written(
        tmp_path,
        a=agent("a", 9001, peers={"enabled": True, "addresses": ["10.1.2.3:9002", "[::1]:9009"]}),
        b=agent("b", 9002, parent=below(9001)),
        c=agent("c", 9003, parent=below(9002), peers={"enabled": False, "addresses": ["a:1"]}),
    )
    views = expected_views(read_members(folder))
    assert views == {"a": {"b", "c"}, "b": {"a", "c"}, "c": {"b"}}


def test_moved_agents_find_each_other(tmp_path: Path) -> None:
    ports = dict(zip(CITIES, free_ports(4), strict=True))
    members = read_members(CONFIGS, data_dir=tmp_path, ports=ports)
    assert {member.node_id: member.port for member in members} == ports
    assert expected_views(members) == expected_views(read_members(CONFIGS))
    nanjing = of(members, "nanjing")
    assert nanjing.settings.data_dir == tmp_path / "nanjing"
    assert urlsplit(f"//{nanjing.settings.parent.address}").port == ports["jiangsu"]
    assert set(nanjing.overrides) == {
        "agent.data_dir",
        "agent.port",
        "parent.address",
        "peers.addresses",
    }


def test_two_agents_may_change_places() -> None:
    swapped = CITIES | {"suqian": 8083, "changzhou": 8082}
    members = read_members(CONFIGS, ports=swapped)
    assert of(members, "nanjing").settings.peers.addresses == ["localhost:8083", "localhost:8082"]
    assert expected_views(members) == expected_views(read_members(CONFIGS))


def test_settings_of_the_environment_are_not_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNET_AGENT__PORT", "9999")
    assert {member.port for member in read_members(CONFIGS)} == set(CITIES.values())


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "no configuration"),
        ({"a": {"agent": {"port": 9001}}}, r"a\.yaml: agent\.node_id must be given"),
        ({"a": {"agent": {"node_id": "a", "port": 0}}}, r"a\.yaml: agent\.port must be given"),
        ({"a": {"agent": {"prot": 1}}}, r"a\.yaml: .*prot"),
        (
            {"a": {"agent": {"node_id": "x", "port": 1}}, "b": {"agent": {"node_id": "x"}}},
            r"b\.yaml: agent\.node_id 'x' is that of .*a\.yaml",
        ),
        (
            {"a": {"agent": {"node_id": "x"}}, "b": {"agent": {"node_id": "y"}}},
            r"b\.yaml: agent\.port 8080 is that of .*a\.yaml",
        ),
    ],
)
def test_what_is_no_cluster_is_refused_naming_the_file(
    tmp_path: Path, files: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_members(written(tmp_path, **files))


class KilledError(Exception):
    """The command line ends here."""


class Services:
    """Services of an agent `a`, as far as scaling goes."""

    def __init__(self, **replicas: int) -> None:
        self.services = self
        self.replicas = replicas
        self.bounds: dict[str, Any] = {}
        self.requests_left = -1

    def list(self) -> list[Any]:
        return [self.get(name) for name in self.replicas]

    def get(self, name: str) -> Any:
        if name not in self.replicas:
            raise NotFoundError(f"no service {name!r}")
        count = self.replicas[name]
        version = {"version": "v1", "weight": 100, "replicas": count}
        known = {"name": name, "id": name, "owner": "a", "replicas": count}
        return known | {"autoscale": self.bounds.get(name), "versions": [version]}

    def scale(self, name: str, wish: Any, *, wait: bool) -> None:
        assert not wait
        if self.requests_left == 0:
            raise KilledError
        self.requests_left -= 1
        if "autoscale" in wish:
            self.bounds[name] = wish["autoscale"]
        self.replicas[name] = wish.get("replicas", self.replicas[name])


def test_what_changed_since_it_was_scaled_down_is_left_alone(tmp_path: Path) -> None:
    services = Services(same=2, other=2, gone=2)
    agent = cast("AgentClient", services)
    told: list[str] = []
    scale_down(tmp_path, "a", agent, told.append)
    scale_down(tmp_path, "a", agent, told.append)  # the first one had not come to its end
    assert services.replicas == {"same": 0, "other": 0, "gone": 0} and len(told) == 3
    services.replicas = {"same": 0, "other": 5}
    scale_back(tmp_path, "b", agent, told.append)
    assert services.replicas == {"same": 0, "other": 5}
    scale_back(tmp_path, "a", agent, told.append)
    assert services.replicas == {"same": 2, "other": 5}
    assert told[3:] == [
        "scaling same to 2 again",
        "gone is not scaled as before: no service 'gone'",
    ]
    assert list(tmp_path.iterdir()) == []


def test_bounds_by_load_outlive_a_down_and_an_up_that_are_killed_amid_it(tmp_path: Path) -> None:
    services, bounds = Services(busy=2), {"min": 1, "max": 5}
    services.bounds["busy"] = bounds
    agent = cast("AgentClient", services)
    for step in (scale_down, scale_back):
        services.requests_left = 1
        with pytest.raises(KilledError):
            step(tmp_path, "a", agent, lambda _: None)
        services.requests_left = -1
        step(tmp_path, "a", agent, lambda _: None)
        if step is scale_down:
            assert (services.replicas, services.bounds) == ({"busy": 0}, {"busy": None})
    assert (services.replicas, services.bounds) == ({"busy": 2}, {"busy": bounds})
