"""An agent whose bytes are in an object store: our own gateway over another store."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import yaml

from tests.api.node import Json, Node, process_spec, refused
from tests.gateway.gateways import KEY, SECRET, Gateway, keys_file, running, write_secret
from tests.support.agents import AgentProcess, start_agent, wait_until

pytest.importorskip("obstore", reason="the extra `s3` is not installed")

MIB = 1024**2


class Far:
    """The object store, which can be killed and come back at the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._options = ("--writable", "--keys-file", str(keys_file(folder)))
        self.gateway: Gateway = self._stack.enter_context(running(folder, *self._options))

    def __enter__(self) -> Far:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def kill(self) -> None:
        self.gateway.process.kill()
        self.gateway.process.wait()

    def back(self) -> None:
        port = self.gateway.port
        self.gateway = self._stack.enter_context(running(self._folder, *self._options, port=port))

    @property
    def files(self) -> int:
        """Number of files that take room there."""
        return sum(path.is_file() for path in (self.gateway.root / "blobs").rglob("*"))


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    with Far(tmp_path_factory.mktemp("far")) as far:
        yield far


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory, far: Far) -> Iterator[AgentProcess]:
    folder = tmp_path_factory.mktemp("agent")
    agent = start_agent(
        folder,
        environ={"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET},
        resources={"cpu": 4, "gpu": 0, "memory": 8 * 1024 * MIB, "storage": MIB},
        storage=storage(far),
    )
    yield agent
    agent.stop()


def storage(far: Far, **s3: object) -> Json:
    fields = {"endpoint": far.gateway.endpoint, "bucket": "cnet", "prefix": "a/b"}
    return {"type": "s3", "s3": {**fields, "allow_http": True, "max_bytes": 64 * MIB, **s3}}


def put(node: Node, key: str, data: bytes) -> httpx.Response:
    return node.http.post(
        "/api/workloads",
        data={"config": f'{{"data_key": "{key}", "access_mode": "readwrite"}}'},
        files={"file": ("f.bin", data)},
    )


def get(node: Node, key: str, **headers: str) -> httpx.Response:
    return node.http.get(f"/api/data/{key}/f.bin", headers=headers)


def ended(node: Node, body: Json) -> Json:
    return node.wait(body["id"], lambda it: it["status"] in {"completed", "failed", "stopped"})


def test_all_that_is_done_with_data(node: Node, far: Far) -> None:
    data = os.urandom(20 * MIB)  # more than the disk is given: it is not there
    before = far.files
    assert put(node, "k", data).status_code == 201
    assert far.files > before
    assert get(node, "k").content == data
    assert get(node, "k", Range="bytes=17000000-17000009").content == data[17_000_000:17_000_010]
    assert [each["data_key"] for each in node.json(node.http.get("/api/data"))["data"]] == ["k"]
    assert node.http.put("/api/data/k/f.bin", content=b"other").status_code == 200
    assert get(node, "k").content == b"other"
    assert node.used()["storage"] == 0
    blobs = node.agent.data_dir / "data" / "blobs"
    assert not [path for path in blobs.rglob("*") if path.is_file()]
    node.delete_all()
    wait_until(lambda: far.files == before, what=lambda: f"{far.files} files are left")
    refused(put(node, "big", bytes(65 * MIB)), 507, "quota_exceeded")


def test_a_fetch_and_a_gateway_use_the_same_store(node: Node) -> None:
    config = {
        "data_key": "k",
        "upload_method": "file",
        "filename": "f.bin",
        "content_base64": base64.b64encode(b"by the fetch").decode(),
    }
    body = node.submit({"name": "n", "type": "data", "config": config})
    assert ended(node, body)["status"] == "completed"
    assert get(node, "k").content == b"by the fetch"
    gateway = node.submit({"name": "gw", "type": "datagateway", "config": {"read_only": False}})
    assert gateway["status"] == "running", gateway
    url = f"{gateway['endpoint']}/cnet"
    assert httpx.get(f"{url}/k/f.bin", trust_env=False).content == b"by the fetch"
    data = os.urandom(MIB)
    assert httpx.put(f"{url}/free", content=data, trust_env=False).status_code == 200
    assert httpx.get(f"{url}/free", trust_env=False).content == data
    assert httpx.delete(f"{url}/free", trust_env=False).status_code == 204


def test_a_workload_uses_data(node: Node) -> None:
    assert put(node, "k", b"one\ntwo\n").status_code == 201
    spec = process_spec("wc", "-l", "words", config={"inputs": {"data://k/f.bin": "words"}})
    body = node.submit(spec)
    assert ended(node, body)["status"] == "completed"
    assert node.logs(body["id"]) == ["2 words"]


def test_the_secret_is_nowhere_to_be_seen(node: Node) -> None:
    assert put(node, "k", b"1").status_code == 201
    gateway = node.submit({"name": "gw", "type": "datagateway", "config": {}})
    for process in node.agent.processes():
        folder = Path(f"/proc/{process.pid}")
        assert SECRET.encode() not in (folder / "cmdline").read_bytes()
        if process.pid != node.agent.pid:
            assert SECRET.encode() not in (folder / "environ").read_bytes()
    said = node.http.get("/api/workloads").text + "".join(node.logs(gateway["id"]))
    assert SECRET not in said + node.agent.log()
    (file,) = node.agent.data_dir.rglob("s3.json")
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_object_store_is_away_for_a_while(node: Node, far: Far) -> None:
    """All is refused with the reason, nothing is lost, and the agent starts without it."""
    assert put(node, "k", b"kept").status_code == 201
    assert put(node, "old", b"to be removed").status_code == 201
    gateway = node.submit({"name": "gw", "type": "datagateway", "config": {}})
    url = f"{gateway['endpoint']}/cnet/k/f.bin"
    far.kill()
    refused(get(node, "k"), 503, "storage_unreachable", says="object store")
    assert "retry-after" in get(node, "k").headers
    refused(put(node, "new", b"1"), 503, "storage_unreachable")
    reply = node.http.put("/api/data/k/f.bin", content=b"other")
    refused(reply, 503, "storage_unreachable")
    away = httpx.get(url, trust_env=False)
    assert (away.status_code, "ServiceUnavailable" in away.text) == (503, True)
    config = {"data_key": "j", "upload_method": "file", "content": "text"}
    failed = ended(node, node.submit({"name": "n", "type": "data", "config": config}))
    assert (failed["status"], failed["status_reason"]) == ("failed", "storage_unreachable")
    assert node.http.delete("/api/data/old").status_code == 200
    node.agent.restart()
    with Node(node.agent) as again:
        node.http.base_url = again.http.base_url
    assert "object_store_unreachable" in node.agent.log()
    assert [each["data_key"] for each in node.json(node.http.get("/api/data"))["data"]] == ["k"]
    refused(get(node, "k"), 503, "storage_unreachable")
    far.back()
    assert get(node, "k").content == b"kept"
    assert httpx.get(url, trust_env=False).content == b"kept"
    assert put(node, "new", b"1").status_code == 201


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s3, _: s3.pop("bucket"), "storage.s3.bucket: must be given"),
        (
            lambda s3, folder: s3.update(
                bucket="no-such-bucket", credentials_file=str(credentials(folder, SECRET))
            ),
            "storage.s3.bucket: ",
        ),
        (lambda s3, _: s3.pop("allow_http"), "storage.s3.allow_http"),
        (lambda s3, _: s3.update(endpoint="far"), "storage.s3.endpoint: "),
        (lambda s3, _: s3.update(credentials_file="/none"), "storage.s3.credentials_file: "),
        (
            lambda s3, folder: s3.update(credentials_file=str(credentials(folder, "wrong-secret"))),
            "storage.s3.credentials_file: ",
        ),
    ],
)
def test_settings_that_are_wrong(
    tmp_path: Path, far: Far, change: Callable[[Json, Path], object], says: str
) -> None:
    if far.gateway.process.poll() is not None:
        far.back()
    settings = storage(far)
    change(settings["s3"], tmp_path)
    ended = start_with(tmp_path, settings)
    assert ended.returncode == 2
    assert says in ended.stderr and "Traceback" not in ended.stderr
    assert ended.stderr.startswith("error: ") or '"event"' in ended.stderr


def test_keys_from_a_file(tmp_path: Path, far: Far) -> None:
    if far.gateway.process.poll() is not None:
        far.back()
    given = storage(far, credentials_file=str(credentials(tmp_path, SECRET)))
    agent = start_agent(tmp_path, storage=given)
    try:
        with Node(agent) as node:
            assert put(node, "k", b"1").status_code == 201
            assert get(node, "k").content == b"1"
        agent.terminate()
        parted = start_with(tmp_path, {"type": "sqlite"})
        assert parted.returncode == 2
        assert "storage.type: this store has files in s3://cnet/a/b" in parted.stderr
        agent.restart()
    finally:
        agent.stop()


def credentials(folder: Path, secret: str) -> Path:
    text = f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {secret}\n"
    return write_secret(folder / "credentials", text)


def start_with(folder: Path, given: Json) -> subprocess.CompletedProcess[str]:
    """An agent that is expected to end by itself."""
    config = folder / "wrong.yaml"
    config.write_text(yaml.safe_dump({"storage": given}))
    command = [sys.executable, "-m", "cnet", "agent", "--config", str(config), "--port", "0"]
    command += ["--data-dir", str(folder / "data")]
    unset = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    env = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=env, cwd=folder
    )
