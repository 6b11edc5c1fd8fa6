"""What a container's config may say, and what the engine is asked for then."""

from __future__ import annotations

import json
import socket
import uuid
from base64 import b64encode
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from cnet.errors import ConfigError, ExecutionError, SpecError
from cnet.executors.base import Task
from cnet.executors.commands import LogLimits
from cnet.executors.container import creating
from cnet.executors.container.checks import resolved
from cnet.executors.container.config import ContainerConfig, HealthCheck, Volume
from cnet.executors.container.discovery import candidates
from cnet.executors.container.engine import Engine
from cnet.executors.container.health import check_of_image, watched
from cnet.executors.container.images import Images, registry_of, with_registry
from cnet.executors.container.ports import PortPublisher
from cnet.model.workload import HealthSpec, WorkloadSpec

LOGS = LogLimits(max_bytes=10_485_760, files=2)


def config(**fields: Any) -> ContainerConfig:
    return ContainerConfig.model_validate({"image": "a", **fields})


def task(given: ContainerConfig, ports: tuple[int, ...] = (), **spec: Any) -> Task:
    return Task(
        workload_id=str(uuid.uuid4()),
        attempt=2,
        spec=WorkloadSpec(name="n", type="container", **spec),
        config=given,
        node_id="here",
        ports=ports,
    )


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (80, ("127.0.0.1", 0, 80, "tcp")),
        ("80", ("127.0.0.1", 0, 80, "tcp")),
        ("8080:80", ("127.0.0.1", 8080, 80, "tcp")),
        ("8053:53/udp", ("127.0.0.1", 8053, 53, "udp")),
        ("0.0.0.0:8080:80/tcp", ("0.0.0.0", 8080, 80, "tcp")),
        ("[::1]:8080:80", ("::1", 8080, 80, "tcp")),
        ({"container_port": 80, "host_port": 8080}, ("127.0.0.1", 8080, 80, "tcp")),
    ],
)
def test_forms_of_a_port(port: Any, expected: tuple[str, int, int, str]) -> None:
    (found,) = config(ports=[port]).ports
    assert (found.host_ip, found.host_port, found.container_port, found.protocol) == expected


@pytest.mark.parametrize(
    "port", ["", ":80", "80:", "0", "65536", "80/icmp", "host:80:80", "1.2.3:1:1", -1, True, None]
)
def test_what_is_no_port(port: Any) -> None:
    with pytest.raises(ValidationError):
        config(ports=[port])


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ("/srv/a:/data", ("/srv/a", None, "/data", False)),
        ("/srv/a:/data:ro", ("/srv/a", None, "/data", True)),
        ("kept:/data:rw", (None, "kept", "/data", False)),
        ({"name": "kept", "container_path": "/data"}, (None, "kept", "/data", False)),
    ],
)
def test_forms_of_a_volume(volume: Any, expected: tuple[Any, ...]) -> None:
    (found,) = config(volumes=[volume]).volumes
    assert (found.host_path, found.name, found.container_path, found.read_only) == expected


@pytest.mark.parametrize(
    "volume",
    [
        "/data",
        "/a:/b:/c",
        "/a:/b:rx",
        ":/b",
        "a/b:/c",
        "/a:relative",
        "/a:/b/../../etc",
        "kept!:/b",
        {"container_path": "/b"},
        {"name": "a", "host_path": "/a", "container_path": "/b"},
        "/a\0:/b",
        "data://:/b",
        "data://a",
        "data://a/../b:/c",
        "data://a:/b:rw",
        {"data": "a", "container_path": "/b"},
        {"data": "data://a", "container_path": "/b", "read_only": False},
        {"data": "data://a", "name": "a", "container_path": "/b"},
    ],
)
def test_what_is_no_volume(volume: Any) -> None:
    with pytest.raises(ValidationError):
        config(volumes=[volume])


@pytest.mark.parametrize(
    "image",
    [
        "busybox",
        "busybox:1.36",
        "library/busybox",
        "registry.example:5000/team/app:v1.2-rc_3",
        "localhost/app",
        f"app@sha256:{'0' * 64}",
        f"ghcr.io/a/b:c@sha256:{'f' * 64}",
    ],
)
def test_names_of_images(image: str) -> None:
    assert ContainerConfig(image=image).image == image


@pytest.mark.parametrize("image", ["", "A", "a b", "a:", "a@", "-a", "a:b:c", "http://a/b", "a\n"])
def test_what_is_no_image(image: str) -> None:
    with pytest.raises(ValidationError):
        ContainerConfig(image=image)


def test_commands_are_lists_or_text() -> None:
    given = config(command="sh -c 'echo \"a b\"'", args=["x", 1, True], entrypoint="/init --quiet")
    assert given.command == ["sh", "-c", 'echo "a b"']
    assert given.args == ["x", "1", "true"]
    assert given.entrypoint == ["/init", "--quiet"]


def test_the_request_has_everything_that_was_said() -> None:
    given = config(
        command=["serve"],
        args=["--all"],
        env={"A": "1"},
        ports=["80", "81", "0.0.0.0:53:53/udp", "82:80"],
        volumes=["/srv:/data:ro", "kept:/kept"],
        network="front",
        labels={"team": "blue"},
        user="1000:1000",
        init=True,
    )
    this = task(
        given,
        (20001, 20002, 53, 82),
        requirements={"cpu": 1.5, "memory": 2**26},
        limits={"cpu": 2, "pids": 9},
    )
    asked = creating.body(this, "mine", LOGS)
    host = asked["HostConfig"]
    assert creating.container_name(this) == f"cnet-{this.workload_id}.2"
    assert (asked["Cmd"], asked["User"]) == (["serve", "--all"], "1000:1000")
    assert "Entrypoint" not in asked and "WorkingDir" not in asked
    assert {"A=1", "CNET_NODE_ID=here", f"CNET_RUN_ID={this.run_id}"} <= set(asked["Env"])
    assert asked["Labels"] == {
        "team": "blue",
        "cnet.workload_id": this.workload_id,
        "cnet.workload_name": "n",
        "cnet.attempt": "2",
        "cnet.node_id": "here",
        "cnet.instance": "mine",
    }
    assert host["PortBindings"] == {
        "80/tcp": [
            {"HostIp": "127.0.0.1", "HostPort": "20001"},
            {"HostIp": "127.0.0.1", "HostPort": "82"},
        ],
        "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "20002"}],
        "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}],
    }
    assert [(it["Type"], it["Source"], it["Target"], it["ReadOnly"]) for it in host["Mounts"]] == [
        ("bind", "/srv", "/data", True),
        ("volume", "kept", "/kept", False),
    ]
    assert (host["CpuShares"], host["NanoCpus"], host["PidsLimit"]) == (1536, 2_000_000_000, 9)
    assert host["Memory"] == host["MemorySwap"] == 2**26
    assert (host["NetworkMode"], host["Init"]) == ("front", True)


def test_nothing_is_limited_that_was_not_asked_for() -> None:
    this = task(config())
    asked = creating.body(this, "mine", LOGS)
    assert not {"Memory", "CpuShares", "NanoCpus", "PidsLimit"} & asked["HostConfig"].keys()
    assert "Cmd" not in asked and "NetworkMode" not in asked["HostConfig"]
    assert creating.enforced(this, {}) == {}


def test_what_the_engine_cannot_limit_is_told() -> None:
    this = task(config(), requirements={"memory": 2**26}, limits={"cpu": 1})
    assert creating.enforced(this, {"MemoryLimit": False, "CpuCfsQuota": True}) == {
        "memory": "none",
        "cpu": "engine",
    }


def test_the_endpoint_is_the_first_tcp_port() -> None:
    publisher = PortPublisher()
    given = config(ports=["53/udp", "80"])
    assert publisher.endpoint(task(given, (1, 2))) == "http://127.0.0.1:2"
    assert publisher.endpoint(task(config(ports=["53/udp"]), (1,))) is None
    everywhere = config(ports=["0.0.0.0:8080:80"])
    assert publisher.endpoint(task(everywhere, (8080,))) == "http://localhost:8080"
    six = config(ports=["[::1]:8080:80"])
    assert publisher.endpoint(task(six, (8080,))) == "http://[::1]:8080"


def test_folders_are_those_they_really_are(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "real").mkdir(parents=True)
    outside.mkdir()
    (inside / "link").symlink_to(inside / "real")
    (inside / "escape").symlink_to(outside)

    def found(path: Path | str, *roots: Path) -> str | None:
        volume = Volume(host_path=str(path), container_path="/x")
        return resolved([volume], roots)[0].host_path

    assert found(inside / "link", inside) == str(inside / "real")
    assert found(inside, inside) == str(inside)
    for path in ("escape", "../out", "nothing", "real/" + "x" * 300):
        with pytest.raises(SpecError, match=r"config\.volumes"):
            found(f"{inside}/{path}", inside)
    with pytest.raises(SpecError, match=r"docker\.volume_roots"):
        found(inside)
    named = Volume(name="kept", container_path="/x")
    assert resolved([named], []) == [named]


@pytest.mark.parametrize(
    ("text", "data", "inside"),
    [
        ("data://shapes:/m.onnx", "data://shapes", "/m.onnx"),
        ("data://a:b/c d/e:/x:ro", "data://a:b/c d/e", "/x"),
    ],
)
def test_stored_data_are_volumes(text: str, data: str, inside: str) -> None:
    (volume,) = config(volumes=[text]).volumes
    assert (volume.data, volume.container_path) == (data, inside)
    assert resolved([volume], []) == [volume]


# --- where the engine and the credentials are ----------------------------------------------------


def test_what_is_said_comes_before_what_is_found(tmp_path: Path) -> None:
    env = {"DOCKER_HOST": "tcp://127.0.0.1:2375", "HOME": str(tmp_path)}
    assert urls("unix:///a.sock", env) == ["unix:///a.sock"]
    assert urls(None, env) == ["tcp://127.0.0.1:2375"]


def urls(configured: str | None, env: dict[str, str]) -> list[str]:
    return [address.url for address in candidates(configured, env)]


def test_sockets_that_are_there_are_found(tmp_path: Path) -> None:
    (tmp_path / "podman").mkdir()
    with socket.socket(socket.AF_UNIX) as mine, socket.socket(socket.AF_UNIX) as other:
        mine.bind(str(tmp_path / "docker.sock"))
        other.bind(str(tmp_path / "podman/podman.sock"))
        env = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path / "nobody")}
        found = [address for address in urls(None, env) if str(tmp_path) in address]
    assert found == [f"unix://{tmp_path}/docker.sock", f"unix://{tmp_path}/podman/podman.sock"]


@pytest.mark.anyio
async def test_an_environment_for_others_is_an_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://somewhere")
    engine = Engine(None, label="x")
    async with anyio.create_task_group() as group:
        await group.start(engine.run)
        assert engine.absence is not None and engine.absence.startswith("DOCKER_HOST: ")
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "address", ["", "/a.sock", "unix://a", "tcp://host", "tcp://h:x", "ssh://h"]
)
def test_an_address_that_cannot_be_used_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"docker\.host: .* neither unix:///path nor tcp://"):
        candidates(address, {})


@pytest.mark.parametrize(
    ("image", "registry", "full"),
    [
        ("busybox", "https://index.docker.io/v1/", "docker.io/library/busybox"),
        ("team/app:1", "https://index.docker.io/v1/", "docker.io/team/app:1"),
        ("ghcr.io/a/b", "ghcr.io", "ghcr.io/a/b"),
        ("localhost/b", "localhost", "localhost/b"),
        ("reg:5000/b", "reg:5000", "reg:5000/b"),
    ],
)
def test_the_registry_of_an_image(image: str, registry: str, full: str) -> None:
    assert (registry_of(image), with_registry(image)) == (registry, full)


def test_credentials_are_those_of_the_registry(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    packed = b64encode(b"me:pass:word").decode()
    auths = {"ghcr.io": {"auth": packed}, "reg:5000": {"identitytoken": "t"}, "quay.io": {}}
    file.write_text(json.dumps({"auths": auths}))
    images = Images(Engine("unix:///nobody", label="x"), file)
    assert images.credentials("ghcr.io/a/b") == {"username": "me", "password": "pass:word"}
    assert images.credentials("reg:5000/b") == {"identitytoken": "t"}
    assert images.credentials("quay.io/b") is None
    assert images.credentials("busybox") is None


@pytest.mark.parametrize(
    "content", [None, "no JSON", "[]", "{}", '{"auths": {"ghcr.io": {"auth": "%"}}}']
)
def test_a_file_of_credentials_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "config.json"
    if content is not None:
        file.write_text(content)
    images = Images(Engine("unix:///nobody", label="x"), file)
    with pytest.raises(ExecutionError, match=r"docker\.registry_auth_file: .*config\.json"):
        images.credentials("ghcr.io/a")


def test_the_same_port_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="twice"):
        config(ports=["8080:80", "8080:81"])
    assert len(config(ports=["8080:80", "8080:80/udp", "80", "80"]).ports) == 4


# --- health checks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({"test": "curl -f x || exit 1"}, ["/bin/sh", "-c", "curl -f x || exit 1"]),
        ({"command": ["a", 1]}, ["a", "1"]),
        ({"test": ["CMD", "a", "b"]}, ["a", "b"]),
        ({"test": ["CMD-SHELL", "a b"]}, ["/bin/sh", "-c", "a b"]),
    ],
)
def test_forms_of_a_health_check(given: dict[str, Any], command: list[str]) -> None:
    check = config(healthcheck={**given, "interval": "1m30s", "timeout": 2}).healthcheck
    assert isinstance(check, HealthCheck)
    assert (check.test, check.interval, check.timeout) == (command, 90.0, 2.0)
    health = watched(check, HealthSpec(failures=7))
    assert (health.interval_s, health.timeout_s) == (90.0, 2.0)
    assert (health.failures, health.ready_timeout_s) == (7, 60)


def test_http_asks_the_first_port_that_is_published() -> None:
    check = config(healthcheck={"http": "/h"}, ports=["53/udp", "8080"]).healthcheck
    assert isinstance(check, HealthCheck) and check.port == 8080


@pytest.mark.parametrize("given", ["none", {"disable": True}, {"test": ["NONE"]}])
def test_no_health_check_at_all(given: Any) -> None:
    check = config(healthcheck=given).healthcheck
    assert check is not None and check.disable


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"test": []},
        {"test": "a", "tcp": 1},
        {"test": "a", "disable": True},
        {"http": "no-slash", "port": 80},
        {"http": "/"},
        {"tcp": 0},
        {"test": "a", "interval": "soon"},
        {"test": "a", "interval": 0},
        {"test": "a", "retries": 0},
        {"test": "a", "port": 80},
        "sometimes",
    ],
)
def test_what_is_no_health_check(given: Any) -> None:
    with pytest.raises(ValidationError):
        config(healthcheck=given)


def test_the_health_check_of_an_image() -> None:
    given = {"Test": ["CMD-SHELL", "a b"], "Interval": 2_000_000_000, "Retries": 5}
    check = check_of_image({"Config": {"Healthcheck": given, "Shell": ["/bin/ash", "-ec"]}})
    assert check is not None and check.test == ["/bin/ash", "-ec", "a b"]
    assert (check.interval, check.timeout, check.retries) == (2.0, None, 5)
    for nothing in ({}, {"Config": None}, {"Config": {"Healthcheck": {"Test": ["NONE"]}}}):
        assert check_of_image(nothing) is None


@pytest.mark.parametrize(
    ("given", "policy", "attempts"),
    [("no", "never", 3), ("always", "always", 3), ("on-failure:5", "on_failure", 5)],
)
def test_restart_policies_of_engines(given: str, policy: str, attempts: int) -> None:
    restart = config(restart_policy=given).restart
    assert restart is not None and (restart.policy, restart.attempts) == (policy, attempts)
    assert config().restart is None
